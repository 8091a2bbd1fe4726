//! The database dies under load and comes back, five times: what was told 202 is kept, doubt is said, and the
//! replicas go on by themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use steadfast_client::Client;
use steadfast_domain::JobId;
use steadfast_testkit::gate::Gate;
use steadfast_testkit::harness::{Memory, Server};
use steadfast_testkit::history::{Evidence, Expected, History, Told, all_jobs, until_all_ended};
use steadfast_testkit::postgres::Cluster;
use steadfast_testkit::{eventually, within};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::given::given_replica;

const KILLS: usize = 5;
const REPLICAS: usize = 2;
const CLIENTS: usize = 12;
/// Accepted jobs between two kills, at least.
const BETWEEN: usize = 200;
/// And then the kill comes so much later, at most: into the middle of whatever goes on.
const LATER_MAX: Duration = Duration::from_millis(20);
/// How long the database is away, at most.
const AWAY_MAX: Duration = Duration::from_millis(500);
/// What a client waits after a failure, so that an outage is no busy loop.
const PAUSE: Duration = Duration::from_millis(20);
/// The promise is two seconds; a busy machine may take ten times as long.
const RECOVERY_WITHIN: Duration = Duration::from_secs(20);
/// Short, so that what an outage interrupts goes on soon.
const LEASE: Duration = Duration::from_secs(2);
/// What a replica's memory may grow by from its first outage to the end.
const GROWTH_MAX: usize = 48 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn five_kills_of_the_database_lose_nothing_and_stop_nobody() {
    let mut cluster = Cluster::start().await;
    let given = given_replica(cluster.new_schema())
        .flag("--lease", format!("{}s", LEASE.as_secs()))
        // An outage during an attempt is no crash of a job's own making.
        .flag("--interruptions-max", "100");
    let mut servers = given.start_replicas(REPLICAS).await;
    let gate = Gate::closed().await;
    gate.open();
    let history = Arc::new(History::new());
    let load = Load::start(&servers, &history, &gate);

    let mut memory = Vec::new();
    for _ in 0..KILLS {
        load.until_accepted_more(BETWEEN).await;
        tokio::time::sleep(LATER_MAX.mul_f64(rand::random())).await;
        cluster.kill().await;
        tokio::time::sleep(AWAY_MAX.mul_f64(rand::random())).await;
        cluster.restart().await;
        until_all_accept(&servers, &history).await;
        memory.push(servers.iter().map(|server| server.memory_bytes(Memory::Resident)).collect::<Vec<_>>());
    }
    load.end().await;

    let client = servers[0].client();
    until_all_ended(&client).await;
    let unknown = history.count(|told| *told == Told::Unknown);
    println!("{} jobs accepted, {unknown} answers unknown; memory {memory:?}", history.accepted().len());
    let (jobs, deliveries) = (all_jobs(&client).await, gate.deliveries());
    let given_back: Vec<JobId> = servers.iter().flat_map(stopped).collect();
    let evidence = Evidence { jobs: &jobs, deliveries: Some(&deliveries), handed_back: &given_back };
    history.assert_kept(evidence, Expected::Ended);
    for (first, last) in memory[0].iter().zip(&memory[KILLS - 1]) {
        assert!(*last < first + GROWTH_MAX, "memory is flat: {memory:?}");
    }
    for server in &mut servers {
        server.stop().await.expect_code(0);
    }
}

/// The jobs whose attempts a server stopped as it could not renew their leases, by its log. It gives them back when
/// the database is there again, and their runs are in no job's account.
fn stopped(server: &Server) -> Vec<JobId> {
    let events = server.log().events("an attempt was stopped: its lease was not renewed in time");
    let job = |event: &Value| event["job_id"].as_str().and_then(|job| job.parse().ok());
    events.iter().map(|event| job(event).expect("the event names the job")).collect()
}

/// Waits until every replica accepts jobs and is ready again, and says how long that took.
async fn until_all_accept(servers: &[Server], history: &History) {
    let begun = Instant::now();
    for server in servers {
        let client = server.client();
        let again = within(RECOVERY_WITHIN.saturating_sub(begun.elapsed()), async || {
            history.submit(&client, "echo", &json!({})).await.ok()?;
            client.ready().await.ok()
        });
        assert!(again.await.is_some(), "not within {RECOVERY_WITHIN:?}\n{}", server.output());
    }
    println!("accepting again {:?} after the database", begun.elapsed());
}

/// How a client submits.
#[derive(Clone, Copy)]
enum Submits {
    /// Under a key, until it is accepted.
    Keyed,
    Single,
    Batch,
}

const SUBMITS: [Submits; 3] = [Submits::Keyed, Submits::Single, Submits::Batch];
const BATCH: usize = 5;

/// How many jobs were accepted: 0 when the answer was another.
async fn submit(client: &Client, history: &History, how: Submits, delivery: &Value) -> usize {
    match how {
        Submits::Keyed => {
            history.submit_until_accepted(client, "http", delivery, |_| {}).await;
            1
        }
        Submits::Single => history.submit(client, "http", delivery).await.map_or(0, |_| 1),
        Submits::Batch => {
            history.submit_batch(client, "echo", &json!({}), BATCH).await.map_or(0, |ids| ids.len())
        }
    }
}

/// Clients that submit as fast as they are answered, and go on when the database is away.
struct Load {
    accepted: Arc<AtomicUsize>,
    ended: watch::Sender<bool>,
    clients: JoinSet<()>,
}

impl Load {
    fn start(servers: &[Server], history: &Arc<History>, gate: &Gate) -> Self {
        let (accepted, ended) = (Arc::new(AtomicUsize::new(0)), watch::Sender::new(false));
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let client = servers[number % servers.len()].client();
            let (history, accepted, ended) = (Arc::clone(history), Arc::clone(&accepted), ended.subscribe());
            let delivery = gate.payload();
            clients.spawn(async move {
                while !*ended.borrow() {
                    let jobs = submit(&client, &history, SUBMITS[number / REPLICAS % 3], &delivery).await;
                    if jobs == 0 {
                        tokio::time::sleep(PAUSE).await;
                    }
                    accepted.fetch_add(jobs, Ordering::Relaxed);
                }
            });
        }
        Self { accepted, ended, clients }
    }

    async fn until_accepted_more(&self, jobs: usize) {
        let before = self.accepted.load(Ordering::Relaxed);
        eventually("the load goes on", async || {
            (self.accepted.load(Ordering::Relaxed) >= before + jobs).then_some(())
        })
        .await;
    }

    async fn end(self) {
        self.ended.send_replace(true);
        self.clients.join_all().await;
    }
}
