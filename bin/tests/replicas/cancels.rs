//! Cancels that come through another replica, and cancels that race the end of their jobs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rand::Rng;
use serde_json::json;
use steadfast_client::{Client, Error, SubmitOptions, Submitted};
use steadfast_domain::{IdempotencyToken, JobId, JobState, RawJson, Version};
use steadfast_testkit::eventually;
use steadfast_testkit::gate::{Fate, Gate};
use steadfast_testkit::harness::{Given, Keep, given_server};
use steadfast_testkit::history::{History, all_jobs};
use steadfast_testkit::postgres::Cluster;
use steadfast_wire::{ErrorCode, JobDocument, SubmitRequest};
use tokio::task::JoinSet;
use tokio::time::Instant;

const RACES: usize = 1_000;
const RACERS: usize = 16;
/// Fewer than racers: some jobs are still queued when they are cancelled.
const CONCURRENCY: usize = 8;
/// Jobs run, and cancels come, after up to so long.
const SPREAD_MS: u64 = 8;
/// As long as an answer may be held.
const WAIT: Duration = Duration::from_secs(30);
/// The promise is a second; a busy machine may take ten times as long.
const STOPS_WITHIN: Duration = Duration::from_secs(10);

fn given() -> Given {
    given_server(env!("CARGO_BIN_EXE_steadfast"))
}

async fn on_postgres() -> Given {
    given().store(Keep::Postgres(Cluster::shared().await.new_schema()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_through_another_replica_stops_the_attempt_soon() {
    // No heartbeat is due in this test, and no progress is written: only what the other replica says can tell.
    let given = on_postgres().await.flag("--lease", "1h");
    let (gate, history) = (Gate::closed().await, History::new());
    let mut first = given.clone().start().await;
    let job = history.submit(&first.client(), "http", &gate.payload()).await.expect("room").id;
    gate.until_held(1).await;
    let mut second = given.start().await;
    let asked = Instant::now();
    let answered = second.client().cancel(job).await.expect("it is there");
    // The attempt may be over before the answer is.
    assert!(answered.cancel_requested || answered.state == JobState::Cancelled, "{answered:?}");
    let ended = second.client().job_when_ended(job, STOPS_WITHIN).await.expect("it is there");
    println!("cancelled through another replica in {:?}", asked.elapsed());
    assert_eq!(ended.state, JobState::Cancelled, "{ended:?}");
    // The gate sees the end of a connection in its own time.
    let abandoned = async || (gate.deliveries()[0].fate == Fate::Abandoned).then_some(());
    eventually("its delivery was cut off", abandoned).await;
    for server in [&mut first, &mut second] {
        server.stop().await.expect_code(0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_and_an_end_have_one_winner_on_sqlite() {
    race(given()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_and_an_end_have_one_winner_on_postgres() {
    race(on_postgres().await).await;
}

/// Races cancels against the ends of their jobs, and holds every answer against what the store has in the end.
async fn race(given: Given) {
    let mut server = given.concurrency(CONCURRENCY).start().await;
    let next = Arc::new(AtomicUsize::new(0));
    let mut racers = JoinSet::new();
    for _ in 0..RACERS {
        let (client, next) = (server.client(), Arc::clone(&next));
        racers.spawn(async move {
            let mut told = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= RACES {
                    return told;
                }
                told.push(one_race(&client, number).await);
            }
        });
    }
    let told: Vec<Race> = racers.join_all().await.into_iter().flatten().collect();
    let jobs: BTreeMap<JobId, JobDocument> =
        all_jobs(&server.client()).await.into_iter().map(|job| (job.id, job)).collect();
    assert_eq!((told.len(), jobs.len()), (RACES, RACES));
    let mut met = BTreeMap::new();
    for race in &told {
        let job = &jobs[&race.job];
        race.assert_agrees_with(job);
        *met.entry((race.told.name(), job.state.as_str())).or_insert(0) += 1;
    }
    println!("{met:?}");
    let answers = ["cancelled", "cancel_requested", "state_conflict"];
    assert!(answers.iter().all(|answer| met.keys().any(|(told, _)| told == answer)), "no race: {met:?}");
    server.stop().await.expect_code(0);
}

/// What the clients of one job were told.
#[derive(Debug)]
struct Race {
    job: JobId,
    told: Told,
    /// The answer that was held for the job's end.
    waited: JobDocument,
}

/// The answer to a cancel.
#[derive(Debug)]
enum Told {
    Cancelled,
    Requested,
    Conflict(JobState),
}

impl Told {
    fn name(&self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::Requested => "cancel_requested",
            Self::Conflict(_) => "state_conflict",
        }
    }
}

impl Race {
    #[track_caller]
    fn assert_agrees_with(&self, job: &JobDocument) {
        assert!(job.state.is_terminal(), "{self:?} {job:?}");
        match self.told {
            Told::Cancelled => assert_eq!(job.state, JobState::Cancelled, "{self:?} {job:?}"),
            // It was asked to stop, and may have been quicker.
            Told::Requested => {
                assert!(matches!(job.state, JobState::Cancelled | JobState::Completed), "{self:?} {job:?}");
            }
            Told::Conflict(state) => assert_eq!(job.state, state, "{self:?} {job:?}"),
        }
        // One durable change after its acceptance: its end.
        assert_eq!(job.version, Version(2), "{self:?} {job:?}");
        let waited = &self.waited;
        let same = (waited.id, waited.state, waited.version, waited.finished_at);
        assert_eq!(same, (job.id, job.state, job.version, job.finished_at), "{self:?} {job:?}");
    }
}

/// A submit that waits for the end, one under the same key that tells which job it is, and the cancel.
async fn one_race(client: &Client, number: usize) -> Race {
    let (run, after) = {
        let mut random = rand::rng();
        (random.random_range(0..SPREAD_MS), Duration::from_millis(SPREAD_MS).mul_f64(random.random()))
    };
    let job = SubmitRequest {
        kind: "sleep".to_owned(),
        payload: Some(RawJson::encode(&json!({ "ms": run })).expect("a JSON value is a payload")),
        ..SubmitRequest::default()
    };
    let cancel = async {
        let submitted = submit(client, &job, number, None).await;
        tokio::time::sleep(after).await;
        (submitted.job.id, told(client.cancel(submitted.job.id).await))
    };
    let (waited, (id, told)) = tokio::join!(submit(client, &job, number, Some(WAIT)), cancel);
    Race { job: id, told, waited: waited.job }
}

fn told(answer: Result<JobDocument, Error>) -> Told {
    match answer {
        Ok(job) if job.state == JobState::Cancelled => Told::Cancelled,
        Ok(job) => {
            assert!(job.cancel_requested, "{job:?}");
            Told::Requested
        }
        Err(error) => {
            assert_eq!(error.code(), Some(ErrorCode::StateConflict), "{error}");
            let state = error.problem().and_then(|problem| problem.state.as_deref());
            Told::Conflict(JobState::parse(state.expect("a conflict names the state")).expect("a state"))
        }
    }
}

/// Submits under the race's key, again while another submit under it is in flight.
async fn submit(client: &Client, job: &SubmitRequest, number: usize, wait: Option<Duration>) -> Submitted {
    let key = IdempotencyToken::new(&format!("race-{number}")).expect("a valid key");
    let options = SubmitOptions { key: Some(key), wait, ..SubmitOptions::default() };
    eventually("the key is taken", async || match client.submit(job, &options).await {
        Ok(submitted) => Some(submitted),
        Err(error) => {
            assert_eq!(error.code(), Some(ErrorCode::IdempotencyInFlight), "{error}");
            None
        }
    })
    .await
}
