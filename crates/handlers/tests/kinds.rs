//! The built-in kinds run as a server runs them: by a worker pool, from a store.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use steadfast_domain::{BootId, Job, JobId, JobState, KindName, NewJob, QueueName, RawJson};
use steadfast_handlers::{HttpConfig, builtin};
use steadfast_lifecycle::{Phase, PhaseSender, Phases, Tasks, drain_channel, phases};
use steadfast_queue::admission::JobRates;
use steadfast_queue::metrics::PoolMetrics;
use steadfast_queue::pool::{PoolConfig, PoolQueue, PoolRuntimes};
use steadfast_queue::store::{QueueSpec, StoreLimits, Submission};
use steadfast_queue::{EventHub, JobStore, MemoryStore, WorkerPool};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::time::Instant;

const LOOPBACK: HttpConfig = HttpConfig { allow_private: false, allow_loopback: true };
const PATIENCE: Duration = Duration::from_secs(100);

/// One life of a server over a store that outlives it.
struct Life {
    store: Arc<dyn JobStore>,
    hub: Arc<EventHub>,
    sender: PhaseSender,
    phases: Phases,
    pool: WorkerPool,
    tasks: Tasks,
}

async fn memory_store() -> Arc<dyn JobStore> {
    let store = MemoryStore::new(StoreLimits::default());
    let queue = QueueSpec { name: QueueName::default_queue(), capacity_jobs: None, capacity_bytes: None };
    store.declare(&[queue]).await.unwrap();
    Arc::new(store)
}

impl Life {
    fn begin(store: &Arc<dyn JobStore>, config: HttpConfig) -> Self {
        let (sender, phases) = phases();
        sender.advance(Phase::Ready);
        let (hub, tasks) = (EventHub::new(Arc::clone(store)), Tasks::new());
        tasks.spawn("hub", Arc::clone(&hub).run(phases.clone()));
        let pool = WorkerPool::start(
            PoolConfig {
                concurrency: 4,
                lease: Duration::from_secs(30),
                boot: BootId::from_random(7),
                queues: vec![PoolQueue {
                    name: QueueName::default_queue(),
                    weight: 1,
                    concurrency: None,
                    rate_limit: None,
                }],
                settle_rates: Arc::default(),
                job_rates: Arc::new(JobRates::new([])),
                drain: drain_channel().0,
            },
            Arc::clone(store),
            builtin(config).unwrap(),
            Arc::clone(&hub),
            phases.clone(),
            PoolRuntimes { pool: Handle::current(), handlers: Handle::current() },
            PoolMetrics::register(&prometheus::Registry::new()).unwrap(),
        );
        Self { store: Arc::clone(store), hub, sender, phases, pool, tasks }
    }

    async fn submit(&self, kind: &str, payload: Value) -> JobId {
        let new = NewJob::new(KindName::new(kind).unwrap(), RawJson::encode(&payload).unwrap());
        let give_up_at = Instant::now() + PATIENCE;
        let submission = Submission { jobs: vec![new], key: None, give_up_at };
        self.store.submit(submission).await.unwrap()[0].job.id
    }

    async fn terminal(&self, id: JobId) -> Job {
        let until = Instant::now() + PATIENCE;
        self.hub.wait_terminal(id, until, &self.phases).await.unwrap().unwrap()
    }

    async fn job(&self, id: JobId) -> Job {
        self.store.get(&[id]).await.unwrap().remove(0).unwrap()
    }

    async fn end(self) {
        self.sender.advance(Phase::Cancelling);
        self.pool.idle().await;
        self.sender.advance(Phase::Stopped);
        self.pool.hand_back(Instant::now() + PATIENCE, Duration::ZERO).await;
        assert!(self.tasks.join(Instant::now() + PATIENCE).await.is_empty());
    }
}

fn value(json: Option<&RawJson>) -> Value {
    json.unwrap().decode().unwrap()
}

#[tokio::test]
async fn echo_returns_its_payload() {
    let life = Life::begin(&memory_store().await, HttpConfig::default());
    let id = life.submit("echo", json!({"a": [1, "é"]})).await;
    let job = life.terminal(id).await;
    assert_eq!((job.state, value(job.result.as_ref())), (JobState::Completed, json!({"a": [1, "é"]})));
    life.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_sleep_that_outlives_its_server_sleeps_only_the_rest() {
    let store = memory_store().await;
    let begun = Instant::now();
    let life = Life::begin(&store, HttpConfig::default());
    let id = life.submit("sleep", json!({"ms": 40_000})).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(life.job(id).await.state, JobState::Processing);
    life.end().await;

    let life = Life::begin(&store, HttpConfig::default());
    let waiting = life.job(id).await;
    let left = value(waiting.checkpoint.as_ref())["remaining_ms"].as_u64().unwrap();
    assert!((9_000..=10_000).contains(&left), "{left} ms are left");
    let job = life.terminal(id).await;
    assert_eq!((job.state, job.attempt), (JobState::Completed, 1));
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(40) && took < Duration::from_secs(42), "{took:?}");
    life.end().await;
}

#[tokio::test]
async fn a_delivery_completes_with_the_endpoints_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let endpoint = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = String::new();
        while !request.ends_with("{\"n\":1}") {
            let mut chunk = [0; 1_024];
            let read = stream.read(&mut chunk).await.unwrap();
            request.push_str(std::str::from_utf8(&chunk[..read]).unwrap());
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone").await.unwrap();
        request
    };
    let life = Life::begin(&memory_store().await, LOOPBACK);
    let id = life.submit("http", json!({"url": url, "body": {"n": 1}})).await;
    let (request, job) = tokio::join!(endpoint, life.terminal(id));
    assert_eq!(job.state, JobState::Completed);
    assert_eq!(value(job.result.as_ref())["body"], "done");
    assert!(request.contains(&format!("\r\nidempotency-key: {id}\r\n")), "{request}");
    assert!(request.contains("\r\nsteadfast-attempt: 1\r\n"), "{request}");
    life.end().await;
}

#[tokio::test]
async fn a_delivery_to_a_refused_address_is_dead_at_once() {
    let life = Life::begin(&memory_store().await, HttpConfig::default());
    for url in ["http://127.0.0.1:9/", "http://localhost:9/", "http://169.254.169.254/latest/meta-data"] {
        let id = life.submit("http", json!({"url": url})).await;
        let job = life.terminal(id).await;
        assert_eq!((job.state, job.attempt), (JobState::Dead, 1), "{url}");
        assert_eq!(job.errors[0].code, "address_denied", "{url}");
    }
    life.end().await;
}
