//! Job kinds at work without a server: run by the real worker pool, from a memory store, in the test's own process.
//!
//! ```
//! use steadfast_queue::{Handlers, JobContext, TypedHandler, Unfinished};
//! use steadfast_testkit::handlers::given_handlers;
//!
//! struct Double;
//!
//! impl TypedHandler for Double {
//!     const KIND: &'static str = "double";
//!     type Payload = u32;
//!     type Output = u32;
//!
//!     async fn run(&self, n: u32, _context: JobContext) -> Result<u32, Unfinished> {
//!         Ok(2 * n)
//!     }
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! let crew = given_handlers(Handlers::new().with_typed(Double)).await;
//! let job = crew.run("double", &21).await;
//! assert_eq!(job.result.unwrap().as_str(), "42");
//! assert_eq!(crew.submit("double", &"x").await.unwrap_err()[0].pointer, "#/payload");
//! # });
//! ```
//!
//! Claims, yields, retries, timeouts, panics and stops are those of a server. In a test with paused time
//! (`#[tokio::test(start_paused = true)]`, with Tokio's feature `test-util`) their delays pass at once.

use std::sync::Arc;
use std::time::Duration;

use prometheus::Registry;
use serde::Serialize;
use steadfast_domain::{BootId, InvalidField, Job, JobId, KindName, NewJob, QueueName, RawJson};
use steadfast_lifecycle::{Phase, PhaseSender, Phases, Tasks, drain_channel, phases};
use steadfast_queue::admission::JobRates;
use steadfast_queue::metrics::PoolMetrics;
use steadfast_queue::pool::{PoolConfig, PoolQueue, PoolRuntimes};
use steadfast_queue::spans::Tracer;
use steadfast_queue::store::{QueueSpec, StoreLimits, Submission};
use steadfast_queue::{EventHub, Handlers, JobStore, MemoryStore, WorkerPool, run_upkeep};
use tokio::runtime::Handle;
use tokio::time::Instant;

/// How long a job may take to end, and a handler to stop, before the test fails.
const PATIENCE: Duration = Duration::from_secs(100);
/// Jobs that run at once.
const CONCURRENCY: usize = 4;

/// A worker pool with these handlers, at work on the queue `default` of a new memory store.
pub async fn given_handlers(handlers: Handlers) -> Crew {
    let store = MemoryStore::new(StoreLimits::default());
    let queue = QueueSpec { name: QueueName::default_queue(), capacity_jobs: None, capacity_bytes: None };
    store.declare(&[queue]).await.expect("the memory store declares a queue");
    let store: Arc<dyn JobStore> = Arc::new(store);
    let life = Life::begin(&store, &handlers);
    Crew { store, handlers, life: Some(life) }
}

/// Handlers at work, and what they work on.
pub struct Crew {
    store: Arc<dyn JobStore>,
    handlers: Handlers,
    life: Option<Life>,
}

impl Crew {
    /// Submits a job of this kind, as a client would: the payload is checked first.
    ///
    /// # Errors
    /// What the client would be told with 422 `invalid_job`.
    ///
    /// # Panics
    /// When nobody runs jobs of this kind.
    pub async fn submit<T: Serialize + ?Sized>(
        &self,
        kind: &str,
        payload: &T,
    ) -> Result<JobId, Vec<InvalidField>> {
        let kind = KindName::new(kind).expect("a kind");
        let payload = RawJson::encode(payload).expect("a payload has a JSON form");
        self.handlers.get(&kind).expect("a kind of these handlers").check(&payload)?;
        Ok(self.submit_job(NewJob::new(kind, payload)).await)
    }

    /// Submits a job with all that a submit can say, unchecked.
    pub async fn submit_job(&self, job: NewJob) -> JobId {
        let submission = Submission { jobs: vec![job], key: None, give_up_at: Instant::now() + PATIENCE };
        self.store.submit(submission).await.expect("there is room")[0].job.id
    }

    /// The job once it has ended.
    ///
    /// # Panics
    /// When that takes too long, or nobody is at work.
    pub async fn ended(&self, id: JobId) -> Job {
        let life = self.life.as_ref().expect("at work");
        let waited = life.hub.wait_terminal(id, Instant::now() + PATIENCE, &life.phases).await;
        let job = waited.expect("the memory store reads").expect("the job exists");
        assert!(job.state.is_terminal(), "not ended within {PATIENCE:?}: {job:?}");
        job
    }

    /// Submits a job whose payload must fit, and waits for its end.
    pub async fn run<T: Serialize + ?Sized>(&self, kind: &str, payload: &T) -> Job {
        let id = self.submit(kind, payload).await.expect("the payload fits");
        self.ended(id).await
    }

    /// The job as it is now.
    pub async fn job(&self, id: JobId) -> Job {
        let mut found = self.store.get(&[id]).await.expect("the memory store reads");
        found.remove(0).expect("the job exists")
    }

    /// Asks for the job's end, as a client's cancel does.
    pub async fn cancel(&self, id: JobId) {
        self.store.cancel(id).await.expect("the memory store cancels");
    }

    /// Ends the work as a drain does: nothing more is claimed, and who runs is told to stop. What was left undone
    /// waits in the store.
    ///
    /// # Panics
    /// When a handler does not stop, or nobody is at work.
    pub async fn stop(&mut self) {
        self.life.take().expect("at work").end().await;
    }

    /// Begins to work again, as the next process would.
    pub fn start_again(&mut self) {
        assert!(self.life.is_none(), "stop first");
        self.life = Some(Life::begin(&self.store, &self.handlers));
    }
}

/// One life of a process, as far as its jobs see it.
struct Life {
    sender: PhaseSender,
    phases: Phases,
    hub: Arc<EventHub>,
    pool: WorkerPool,
    tasks: Tasks,
}

impl Life {
    fn begin(store: &Arc<dyn JobStore>, handlers: &Handlers) -> Self {
        let (sender, phases) = phases();
        sender.advance(Phase::Ready);
        let (hub, tasks) = (EventHub::new(Arc::clone(store)), Tasks::new());
        tasks.spawn("hub", Arc::clone(&hub).run(phases.clone()));
        tasks.spawn("upkeep", run_upkeep(Arc::clone(store), phases.clone()));
        let queue =
            PoolQueue { name: QueueName::default_queue(), weight: 1, concurrency: None, rate_limit: None };
        let pool = WorkerPool::start(
            PoolConfig {
                concurrency: CONCURRENCY,
                lease: Duration::from_secs(30),
                boot: BootId::from_random(rand::random()),
                queues: vec![queue],
                settle_rates: Arc::default(),
                job_rates: Arc::new(JobRates::new([])),
                tracer: Tracer::default(),
                drain: drain_channel().0,
            },
            Arc::clone(store),
            handlers.clone(),
            Arc::clone(&hub),
            phases.clone(),
            PoolRuntimes { pool: Handle::current(), handlers: Handle::current() },
            PoolMetrics::register(&Registry::new()).expect("a registry of its own"),
        );
        Self { sender, phases, hub, pool, tasks }
    }

    async fn end(self) {
        self.sender.advance(Phase::Cancelling);
        let stopped = tokio::time::timeout(PATIENCE, self.pool.idle()).await;
        stopped.expect("every handler stops when it is told to");
        self.sender.advance(Phase::Stopped);
        self.pool.hand_back(Instant::now() + PATIENCE, Duration::ZERO).await;
        assert!(self.tasks.join(Instant::now() + PATIENCE).await.is_empty(), "every task ends");
    }
}
