//! SIGKILL at random moments: what was told 202 is there after every start, and ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use steadfast_client::{Client, Error, SubmitOptions};
use steadfast_domain::{IdempotencyToken, JobId};
use steadfast_testkit::gate::Gate;
use steadfast_testkit::harness::{Server, given_server};
use steadfast_testkit::history::{Evidence, Expected, History, all_jobs, until_all_ended};
use steadfast_testkit::{eventually, within};
use steadfast_wire::{ErrorCode, SubmitRequest};
use tokio::sync::watch;
use tokio::task::JoinSet;

const PROGRAM: &str = env!("CARGO_BIN_EXE_steadfast");
const KILLS: usize = 100;
const CLIENTS: usize = 16;
/// The kill comes after so many answers in one life of the server, at most.
const ANSWERS_MAX: usize = 120;
/// And then so much later, at most: into the middle of whatever goes on.
const LATER_MAX: Duration = Duration::from_micros(2_000);

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_kills_under_flood_lose_nothing() {
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    let gate = Gate::closed().await;
    gate.open();
    let history = Arc::new(History::new());
    let mut server = given_server(PROGRAM).start().await;
    for _ in 0..KILLS {
        let flood = Flood::start(&server.client(), &history, &gate);
        let answers = random.random_range(1..=ANSWERS_MAX);
        flood.until_answered(answers).await;
        tokio::time::sleep(LATER_MAX.mul_f64(random.random())).await;
        server.kill().await;
        flood.end().await;
        gate.until_held(0).await;
        server.start_again().await;
    }
    let client = server.client();
    until_all_ended(&client).await;
    let (jobs, deliveries) = (all_jobs(&client).await, gate.deliveries());
    assert!(history.accepted().len() > KILLS, "the flood went through");
    let evidence = Evidence { jobs: &jobs, deliveries: Some(&deliveries), handed_back: &[] };
    history.assert_kept(evidence, Expected::Ended);
    server.stop().await.expect_code(0);
}

/// A new one each time, unless one is given to repeat a failure. Shown when the test fails.
fn seed() -> u64 {
    let given = std::env::var("STEADFAST_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(rand::random);
    println!("STEADFAST_TEST_SEED={seed}");
    seed
}

/// Clients that submit as fast as they are answered, until the server is gone.
struct Flood {
    answered: Arc<AtomicUsize>,
    clients: JoinSet<()>,
}

impl Flood {
    fn start(client: &Client, history: &Arc<History>, gate: &Gate) -> Self {
        let answered = Arc::new(AtomicUsize::new(0));
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let (client, history, answered) = (client.clone(), Arc::clone(history), Arc::clone(&answered));
            let delivery = gate.payload();
            clients.spawn(async move {
                // Every kind of submit, at once: single and batched, quick and delivered.
                while match number % 4 {
                    0 => history.submit_batch(&client, "echo", &json!({ "n": number }), 5).await.is_ok(),
                    1 => history.submit(&client, "http", &delivery).await.is_ok(),
                    _ => history.submit(&client, "echo", &json!({ "n": number })).await.is_ok(),
                } {
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        Self { answered, clients }
    }

    async fn until_answered(&self, count: usize) {
        eventually("the flood is under way", async || {
            (self.answered.load(Ordering::Relaxed) >= count).then_some(())
        })
        .await;
    }

    async fn end(self) {
        self.clients.join_all().await;
    }
}

/// Who submits under the one key at the same moment.
const SUBMITTERS: usize = 200;

#[tokio::test(flavor = "multi_thread")]
async fn one_key_makes_one_job_across_a_kill() {
    let mut server = given_server(PROGRAM).start().await;
    let (life, lives) = watch::channel(server.client());
    let mut submitters = JoinSet::new();
    let answered = Arc::new(AtomicUsize::new(0));
    for _ in 0..SUBMITTERS {
        submitters.spawn(submit_in_both_lives(server.client(), lives.clone(), Arc::clone(&answered)));
    }
    eventually("the key is taken", async || (answered.load(Ordering::Relaxed) > 0).then_some(())).await;
    server.kill().await;
    server.start_again().await;
    life.send(server.client()).expect("the submitters wait for the next life");

    let ids: Vec<JobId> = submitters.join_all().await.into_iter().flatten().collect();
    assert!(ids.len() >= SUBMITTERS);
    let job = assert_only_job(&server).await;
    assert!(ids.iter().all(|id| *id == job), "every answer names the one job {job}: {ids:?}");
}

/// One try before the kill, whatever comes of it, and as many after the restart as it takes. The ids that
/// it was answered with.
async fn submit_in_both_lives(
    first: Client,
    mut lives: watch::Receiver<Client>,
    answered: Arc<AtomicUsize>,
) -> Vec<JobId> {
    let mut ids = Vec::new();
    if let Ok(id) = submit_with_the_key(&first).await {
        ids.push(id);
        answered.fetch_add(1, Ordering::Relaxed);
    }
    lives.changed().await.expect("there is a next life");
    let second = lives.borrow_and_update().clone();
    let id = eventually("an answer in the second life", async || match submit_with_the_key(&second).await {
        Ok(id) => Some(id),
        Err(error) => {
            assert_eq!(error.code(), Some(ErrorCode::IdempotencyInFlight), "{error}");
            None
        }
    });
    ids.push(id.await);
    ids
}

async fn submit_with_the_key(client: &Client) -> Result<JobId, Error> {
    let job = SubmitRequest { kind: "echo".into(), ..SubmitRequest::default() };
    let key = IdempotencyToken::new("the-one").expect("a valid key");
    let options = SubmitOptions { key: Some(key), ..SubmitOptions::default() };
    client.submit(&job, &options).await.map(|submitted| submitted.job.id)
}

async fn assert_only_job(server: &Server) -> JobId {
    let jobs = all_jobs(&server.client()).await;
    assert_eq!(jobs.len(), 1, "{jobs:?}");
    let ended = within(Duration::from_secs(10), async || {
        let job = server.client().job(jobs[0].id).await.ok()?;
        job.state.is_terminal().then_some(())
    });
    assert!(ended.await.is_some(), "it ends");
    jobs[0].id
}
