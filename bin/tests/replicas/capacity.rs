//! One capacity for all replicas: a flood through three of them at once fills it exactly, and never more.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use steadfast_client::{Client, Error};
use steadfast_domain::JobState;
use steadfast_testkit::gate::Gate;
use steadfast_testkit::harness::Server;
use steadfast_testkit::history::{Evidence, Expected, History, all_jobs, until_all_ended};
use steadfast_testkit::postgres::{Cluster, in_schema};
use steadfast_wire::ErrorCode;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::given::given_replica;

const REPLICAS: usize = 3;
const CAPACITY: usize = 1_000;
const CLIENTS_EACH: usize = 12;
/// Every third client submits so many at once: what does not fit whole is refused whole.
const BATCH: usize = 7;
/// Refusals that each client gets before it is sure that there is no room.
const REFUSALS_EACH: usize = 10;
/// Jobs that go through once results are let in, while the flood goes on.
const THROUGH: usize = 2 * CAPACITY;

#[tokio::test(flavor = "multi_thread")]
async fn three_replicas_flooded_at_once_never_hold_more_than_the_capacity() {
    let cluster = Cluster::shared().await;
    let schema = cluster.new_schema_name();
    let given = given_replica(in_schema(&cluster.url(), &schema)).capacity(CAPACITY);
    let mut servers = given.start_replicas(REPLICAS).await;
    let gate = Gate::closed().await;
    let history = Arc::new(History::new());
    let live = Live::watch(cluster, schema);

    let told = Flood { replicas: &servers, history: &history, payload: gate.payload() }.until_full().await;
    assert_eq!(history.accepted().len(), CAPACITY, "every place is taken while nothing settles: {told:?}");
    assert_eq!(live.now().await, CAPACITY, "as the database has it");

    gate.open();
    let flood = Flood { replicas: &servers, history: &history, payload: gate.payload() };
    flood.until_accepted(CAPACITY + THROUGH).await;
    for server in &servers {
        until_all_ended(&server.client()).await;
    }
    let (most, looks) = live.most().await;
    println!("{most} live jobs at most, in {looks} looks at the database");
    assert_eq!(most, CAPACITY, "the most that the database ever had");

    let (jobs, deliveries) = (all_jobs(&servers[0].client()).await, gate.deliveries());
    let evidence = Evidence { jobs: &jobs, deliveries: Some(&deliveries), handed_back: &[] };
    history.assert_kept(evidence, Expected::Ended);
    assert!(jobs.iter().all(|job| job.state == JobState::Completed && job.attempt == 1), "each ran once");
    for server in &mut servers {
        server.stop().await.expect_code(0);
    }
}

/// How many jobs the database says have not ended, looked at again and again.
struct Live {
    cluster: &'static Cluster,
    statement: String,
    most: watch::Receiver<(usize, usize)>,
    _looking: JoinSet<()>,
}

impl Live {
    fn watch(cluster: &'static Cluster, schema: String) -> Self {
        let statement = format!("select count(*) from {schema}.jobs where finished_at is null");
        let (sender, most) = watch::channel((0, 0));
        let mut looking = JoinSet::new();
        let again = statement.clone();
        looking.spawn(async move {
            loop {
                let now = count(cluster, &again).await;
                sender.send_modify(|(most, looks)| (*most, *looks) = ((*most).max(now), *looks + 1));
            }
        });
        Self { cluster, statement, most, _looking: looking }
    }

    async fn now(&self) -> usize {
        count(self.cluster, &self.statement).await
    }

    /// The most that any look found, and how many looks there were.
    async fn most(mut self) -> (usize, usize) {
        self.most.changed().await.expect("it is still looked at");
        *self.most.borrow()
    }
}

async fn count(cluster: &Cluster, statement: &str) -> usize {
    cluster.sql(statement).await.parse().expect("a count is a number")
}

/// Clients of every replica that submit as fast as they are answered.
struct Flood<'a> {
    replicas: &'a [Server],
    history: &'a Arc<History>,
    payload: Value,
}

impl Flood<'_> {
    /// Until each client has been refused often. How often in all.
    async fn until_full(&self) -> usize {
        let clients = self.start(|_, refused| refused >= REFUSALS_EACH);
        clients.join_all().await.into_iter().sum()
    }

    /// Until so many jobs in all have been accepted.
    async fn until_accepted(&self, count: usize) {
        let clients = self.start(move |accepted, _| accepted >= count);
        clients.join_all().await;
    }

    /// Each client ends when `enough` says so of all that was accepted and of its own refusals, which it
    /// returns.
    fn start(&self, enough: impl Fn(usize, usize) -> bool + Copy + Send + 'static) -> JoinSet<usize> {
        let accepted = Arc::new(AtomicUsize::new(self.history.accepted().len()));
        let mut clients = JoinSet::new();
        for number in 0..REPLICAS * CLIENTS_EACH {
            let client = self.replicas[number % REPLICAS].client();
            let (history, payload) = (Arc::clone(self.history), self.payload.clone());
            let accepted = Arc::clone(&accepted);
            let jobs = if (number / REPLICAS).is_multiple_of(3) { BATCH } else { 1 };
            clients.spawn(async move {
                let mut refused = 0;
                while !enough(accepted.load(Ordering::Relaxed), refused) {
                    match submit(&client, &history, &payload, jobs).await {
                        Ok(()) => drop(accepted.fetch_add(jobs, Ordering::Relaxed)),
                        Err(error) => {
                            assert_eq!(error.code(), Some(ErrorCode::QueueFull), "{error}");
                            refused += 1;
                        }
                    }
                }
                refused
            });
        }
        clients
    }
}

async fn submit(client: &Client, history: &History, payload: &Value, jobs: usize) -> Result<(), Error> {
    if jobs == 1 {
        history.submit(client, "http", payload).await.map(drop)
    } else {
        history.submit_batch(client, "http", payload, jobs).await.map(drop)
    }
}
