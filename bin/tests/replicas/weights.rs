//! The weights of flooded queues, held by the real pool on every store, and by two pools on one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use prometheus::Registry;
use steadfast_domain::{BootId, InvalidField, KindName, NewJob, QueueName, RawJson};
use steadfast_lifecycle::{Phase, PhaseSender, drain_channel, phases};
use steadfast_queue::admission::{JobRates, SettleRates};
use steadfast_queue::metrics::{PoolMetrics, StoreMetrics};
use steadfast_queue::pool::{PoolConfig, PoolQueue, PoolRuntimes};
use steadfast_queue::spans::Tracer;
use steadfast_queue::store::{JobStore, QueueSpec, StoreLimits, Submission};
use steadfast_queue::{EventHub, Failure, Finish, Handlers, JobContext, JobHandler, MemoryStore, WorkerPool};
use steadfast_store_postgres::{PostgresConfig, PostgresStore};
use steadfast_store_sqlite::{SqliteConfig, SqliteStore};
use steadfast_testkit::postgres::Cluster;
use steadfast_testkit::within;
use tokio::runtime::Handle;
use tokio::time::Instant;

const WEIGHTS: [(&str, u32); 3] = [("heavy", 6), ("middle", 3), ("light", 1)];
/// Starts that are counted.
const STARTS: usize = 10_000;
/// What a queue's part of them may differ from its weight's.
const TOLERANCE: f64 = 0.05;
const BATCH: usize = 1_000;
/// All of them are commits of a database that shares its machine with other tests.
const STARTED_WITHIN: Duration = Duration::from_secs(600);

fn queue(name: &str) -> QueueName {
    QueueName::new(name).expect("a valid name")
}

fn kind() -> KindName {
    KindName::new("count").expect("a valid name")
}

/// A queue's part of the counted starts, by its weight.
fn fair(weight: u32) -> f64 {
    let weights: u32 = WEIGHTS.iter().map(|(_, weight)| weight).sum();
    STARTS as f64 * f64::from(weight) / f64::from(weights)
}

/// Counts the first starts by queue.
#[derive(Debug, Clone, Default)]
struct Counting(Arc<[AtomicUsize; WEIGHTS.len() + 1]>);

impl Counting {
    fn all(&self) -> usize {
        self.0[WEIGHTS.len()].load(Ordering::SeqCst)
    }

    fn of(&self, queue: usize) -> usize {
        self.0[queue].load(Ordering::SeqCst)
    }
}

#[async_trait]
impl JobHandler for Counting {
    fn check(&self, _payload: &RawJson) -> Result<(), Vec<InvalidField>> {
        Ok(())
    }

    async fn run(&self, context: JobContext) -> Result<Finish, Failure> {
        let index = WEIGHTS.iter().position(|(name, _)| *name == context.job().queue.as_str());
        if self.0[WEIGHTS.len()].fetch_add(1, Ordering::SeqCst) < STARTS {
            self.0[index.expect("one of the queues")].fetch_add(1, Ordering::SeqCst);
        }
        Ok(Finish::Completed(None))
    }
}

/// Queues with twice as many jobs each as their parts of the starts that are counted.
async fn flood(store: &dyn JobStore) {
    let spec =
        |(name, _): &(&str, u32)| QueueSpec { name: queue(name), capacity_jobs: None, capacity_bytes: None };
    store.declare(&WEIGHTS.iter().map(spec).collect::<Vec<_>>()).await.expect("the store takes queues");
    for (name, weight) in WEIGHTS {
        let job = NewJob { queue: queue(name), ..NewJob::new(kind(), RawJson::empty_object()) };
        for _ in 0..(2.0 * fair(weight) / BATCH as f64) as usize {
            let give_up_at = Instant::now() + Duration::from_secs(600);
            let submission = Submission { jobs: vec![job.clone(); BATCH], key: None, give_up_at };
            store.submit(submission).await.expect("room");
        }
    }
}

/// A pool of its own for each of the stores, which hold the same jobs.
struct Replica {
    _pool: WorkerPool,
    _phase: PhaseSender,
}

fn replica(store: Arc<dyn JobStore>, boot: u128, handler: Counting) -> Replica {
    let (phase, phases) = phases();
    phase.advance(Phase::Ready);
    let pool_queue = |(name, weight): &(&str, u32)| PoolQueue {
        name: queue(name),
        weight: *weight,
        concurrency: None,
        rate_limit: None,
    };
    let config = PoolConfig {
        concurrency: 64,
        lease: Duration::from_secs(30),
        boot: BootId::from_random(boot),
        queues: WEIGHTS.iter().map(pool_queue).collect(),
        settle_rates: Arc::new(SettleRates::new()),
        job_rates: Arc::new(JobRates::new([])),
        tracer: Tracer::default(),
        drain: drain_channel().0,
    };
    let here = Handle::current();
    let pool = WorkerPool::start(
        config,
        Arc::clone(&store),
        Handlers::new().with(kind(), handler),
        EventHub::new(store),
        phases,
        PoolRuntimes { pool: here.clone(), handlers: here },
        PoolMetrics::register(&Registry::new()).expect("a new registry"),
    );
    Replica { _pool: pool, _phase: phase }
}

async fn assert_weights_hold(stores: Vec<Arc<dyn JobStore>>) {
    flood(stores[0].as_ref()).await;
    let counting = Counting::default();
    let began = Instant::now();
    let _replicas: Vec<Replica> =
        (1..).zip(&stores).map(|(boot, store)| replica(Arc::clone(store), boot, counting.clone())).collect();
    let started = within(STARTED_WITHIN, async || (counting.all() >= STARTS).then_some(())).await;
    assert!(started.is_some(), "{} starts within {STARTED_WITHIN:?}", counting.all());
    let took = began.elapsed();
    let counts: Vec<usize> = (0..WEIGHTS.len()).map(|queue| counting.of(queue)).collect();
    println!("{counts:?} in {took:?}");
    for ((name, weight), count) in WEIGHTS.into_iter().zip(counts) {
        let off = count as f64 / fair(weight) - 1.0;
        assert!(off.abs() <= TOLERANCE, "{name}: {count} starts, {:+.1}% of its part", 100.0 * off);
    }
}

fn metrics() -> StoreMetrics {
    StoreMetrics::register(&Registry::new()).expect("a new registry")
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_hold_in_memory() {
    assert_weights_hold(vec![Arc::new(MemoryStore::new(StoreLimits::default()))]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_hold_on_sqlite() {
    let dir = tempfile::tempdir().expect("a directory for the file");
    let config = SqliteConfig { path: dir.path().join("jobs.db"), limits: StoreLimits::default() };
    assert_weights_hold(vec![Arc::new(SqliteStore::open(config, metrics()).expect("a new file"))]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_hold_on_postgres_in_one_replica_and_in_two() {
    for replicas in [1, 2] {
        let url = Cluster::shared().await.new_schema();
        let mut stores: Vec<Arc<dyn JobStore>> = Vec::new();
        for _ in 0..replicas {
            let url = url.parse().expect("the cluster's URL");
            let config = PostgresConfig { url, listen_url: None, limits: StoreLimits::default() };
            stores.push(Arc::new(PostgresStore::open(config, metrics()).await.expect("a new schema")));
        }
        assert_weights_hold(stores).await;
    }
}
