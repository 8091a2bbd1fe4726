//! A server's inside, as the tests speak of it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use prometheus::Registry;
use steadfast_domain::{
    BootId, InvalidField, Job, JobId, JobState, KindName, NewJob, QueueName, RawJson, RetryPolicy,
};
use steadfast_lifecycle::{Phase, PhaseSender, Phases, Tasks, drain_channel, phases};
use steadfast_queue::admission::{AdmissionConfig, JobRates, QueueConfig, QueueMode, SettleRates};
use steadfast_queue::lease_desk::LeaseDeskConfig;
use steadfast_queue::metrics::{AdmissionMetrics, PoolMetrics};
use steadfast_queue::pool::{PoolConfig, PoolQueue, PoolRuntimes, StartRate};
use steadfast_queue::spans::Tracer;
use steadfast_queue::store::{JobCounts, JobStore, KindCounts, QueueSpec, StoreLimits, Submission};
use steadfast_queue::{
    Admission, EventHub, Failure, Finish, Handlers, JobContext, JobHandler, LeaseDesk, WorkerPool, run_upkeep,
};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::faulty_store::FaultyStore;

/// The longest any test waits for what must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);

type Run = Pin<Box<dyn Future<Output = Result<Finish, Failure>> + Send>>;

/// A handler made of a closure; it takes every payload.
pub(crate) struct Runs<F>(F);

#[async_trait]
impl<F> JobHandler for Runs<F>
where
    F: Fn(JobContext) -> Run + Send + Sync + 'static,
{
    fn check(&self, _payload: &RawJson) -> Result<(), Vec<InvalidField>> {
        Ok(())
    }

    async fn run(&self, context: JobContext) -> Result<Finish, Failure> {
        (self.0)(context).await
    }
}

/// A handler that runs this.
pub(crate) fn runs<F, R>(run: F) -> Runs<impl Fn(JobContext) -> Run + Send + Sync + 'static>
where
    F: Fn(JobContext) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Finish, Failure>> + Send + 'static,
{
    Runs(move |context| Box::pin(run(context)) as Run)
}

pub(crate) fn done() -> Result<Finish, Failure> {
    Ok(Finish::Completed(None))
}

pub(crate) fn kind(name: &str) -> KindName {
    KindName::new(name).unwrap()
}

pub(crate) fn queue(name: &str) -> QueueName {
    QueueName::new(name).unwrap()
}

pub(crate) fn json(text: &str) -> RawJson {
    RawJson::parse(text).unwrap()
}

/// A job of kind `work` that is tried again after exactly 1, 2, 4 … seconds.
pub(crate) fn work() -> NewJob {
    let mut job = NewJob::new(kind("work"), RawJson::empty_object());
    job.retry = RetryPolicy::DEFAULT.with_jitter(0.0).unwrap();
    job
}

pub(crate) fn work_in(name: &str) -> NewJob {
    NewJob { queue: queue(name), ..work() }
}

pub(crate) struct Given {
    pub(crate) limits: StoreLimits,
    pub(crate) concurrency: usize,
    pub(crate) lease: Duration,
    pub(crate) queues: Vec<PoolQueue>,
    pub(crate) handlers: Handlers,
    pub(crate) handlers_runtime: Option<Handle>,
}

/// A server with the queue `default`, whose jobs of kind `work` this handler runs.
pub(crate) fn given(handler: impl JobHandler) -> Given {
    Given {
        limits: StoreLimits::default(),
        concurrency: 4,
        lease: Duration::from_secs(30),
        queues: vec![PoolQueue {
            name: QueueName::default_queue(),
            weight: 1,
            concurrency: None,
            rate_limit: None,
        }],
        handlers: Handlers::new().with(kind("work"), handler),
        handlers_runtime: None,
    }
}

impl Given {
    pub(crate) fn concurrency(self, concurrency: usize) -> Self {
        Self { concurrency, ..self }
    }

    pub(crate) fn lease(self, lease: Duration) -> Self {
        Self { lease, ..self }
    }

    pub(crate) fn queue(mut self, name: &str, weight: u32, concurrency: Option<usize>) -> Self {
        self.queues.push(PoolQueue { name: queue(name), weight, concurrency, rate_limit: None });
        self
    }

    /// Starts per second of a queue that was given before.
    pub(crate) fn rate_limit(mut self, name: &str, per_second: u64) -> Self {
        let queue = self.queues.iter_mut().find(|queue| queue.name.as_str() == name).unwrap();
        queue.rate_limit = StartRate::from_thousandths(per_second * 1_000);
        self
    }

    pub(crate) fn handlers_on(self, runtime: Handle) -> Self {
        Self { handlers_runtime: Some(runtime), ..self }
    }

    /// Everything but the pool, in [`Phase::Ready`].
    pub(crate) async fn without_pool(self) -> Inside {
        let store = FaultyStore::new(self.limits.clone());
        let specs: Vec<QueueSpec> = self
            .queues
            .iter()
            .map(|q| QueueSpec { name: q.name.clone(), capacity_jobs: None, capacity_bytes: None })
            .collect();
        store.declare(&specs).await.unwrap();
        let (sender, phases) = phases();
        sender.advance(Phase::Ready);
        let hub = EventHub::new(Arc::clone(&store) as Arc<dyn JobStore>);
        let tasks = Tasks::new();
        tasks.spawn("hub", Arc::clone(&hub).run(phases.clone()));
        tasks.spawn("upkeep", run_upkeep(Arc::clone(&store) as Arc<dyn JobStore>, phases.clone()));
        // Whoever listens listens before the test begins.
        tokio::task::yield_now().await;
        let registry = Registry::new();
        Inside {
            began: Instant::now(),
            pool_metrics: PoolMetrics::register(&registry).unwrap(),
            admission_metrics: AdmissionMetrics::register(&registry).unwrap(),
            settle_rates: Arc::default(),
            job_rates: Arc::new(JobRates::new(self.queues.iter().map(|queue| queue.name.clone()))),
            drain_ends: watch::Sender::new(None),
            mutations: Tasks::new(),
            given: self,
            store,
            sender,
            phases,
            hub,
            tasks,
            registry,
        }
    }

    pub(crate) async fn start(self) -> Server {
        let inside = self.without_pool().await;
        Server { pool: inside.pool(1), inside }
    }
}

/// A server's parts around the pool.
pub(crate) struct Inside {
    pub(crate) given: Given,
    pub(crate) store: Arc<FaultyStore>,
    pub(crate) sender: PhaseSender,
    pub(crate) phases: Phases,
    pub(crate) hub: Arc<EventHub>,
    pub(crate) tasks: Tasks,
    pub(crate) registry: Registry,
    pub(crate) settle_rates: Arc<SettleRates>,
    pub(crate) job_rates: Arc<JobRates>,
    pub(crate) began: Instant,
    pub(crate) drain_ends: watch::Sender<Option<Instant>>,
    pub(crate) mutations: Tasks,
    pool_metrics: PoolMetrics,
    admission_metrics: AdmissionMetrics,
}

impl Inside {
    pub(crate) fn pool(&self, boot: u128) -> WorkerPool {
        self.pool_in(boot, self.phases.clone())
    }

    /// A pool with a life of its own.
    pub(crate) fn pool_in(&self, boot: u128, phases: Phases) -> WorkerPool {
        let config = PoolConfig {
            concurrency: self.given.concurrency,
            lease: self.given.lease,
            boot: BootId::from_random(boot),
            queues: self.given.queues.clone(),
            settle_rates: Arc::clone(&self.settle_rates),
            job_rates: Arc::clone(&self.job_rates),
            tracer: Tracer::default(),
            drain: drain_channel().0,
        };
        let handlers = self.given.handlers_runtime.clone().unwrap_or_else(Handle::current);
        WorkerPool::start(
            config,
            Arc::clone(&self.store) as Arc<dyn JobStore>,
            self.given.handlers.clone(),
            Arc::clone(&self.hub),
            phases,
            PoolRuntimes { pool: Handle::current(), handlers },
            self.pool_metrics.clone(),
        )
    }

    pub(crate) fn admission(&self) -> Admission {
        let queues = self.given.queues.iter().map(|queue| QueueConfig {
            spec: QueueSpec { name: queue.name.clone(), capacity_jobs: None, capacity_bytes: None },
            mode: QueueMode::Push,
            kinds: None,
        });
        self.admission_for(queues.collect())
    }

    pub(crate) fn admission_for(&self, queues: Vec<QueueConfig>) -> Admission {
        let config = AdmissionConfig {
            payload_bytes_max: 1_000,
            request_timeout: Duration::from_secs(30),
            queues,
            settle_rates: Arc::clone(&self.settle_rates),
            job_rates: Arc::clone(&self.job_rates),
            drain_ends: self.drain_ends.subscribe(),
        };
        Admission::new(
            config,
            Arc::clone(&self.store) as Arc<dyn JobStore>,
            self.given.handlers.clone(),
            self.phases.clone(),
            self.mutations.clone(),
            self.admission_metrics.clone(),
        )
    }

    /// A lease desk at work, for the given queues as pull queues.
    pub(crate) fn desk(&self) -> Arc<LeaseDesk> {
        let queues = self.given.queues.iter().map(|queue| QueueConfig {
            spec: QueueSpec { name: queue.name.clone(), capacity_jobs: None, capacity_bytes: None },
            mode: QueueMode::Pull,
            kinds: None,
        });
        let admission = Arc::new(self.admission_for(queues.collect()));
        let config = LeaseDeskConfig {
            payload_bytes_max: 1_000,
            settle_rates: Arc::clone(&self.settle_rates),
            tracer: Tracer::default(),
        };
        let desk = LeaseDesk::new(config, admission, Arc::clone(&self.hub), self.pool_metrics.clone());
        self.tasks.spawn("lease desk", Arc::clone(&desk).run(self.phases.clone()));
        desk
    }

    pub(crate) async fn submit(&self, job: NewJob) -> JobId {
        let submission = Submission { jobs: vec![job], key: None, give_up_at: Instant::now() + PATIENCE };
        self.store.submit(submission).await.unwrap()[0].job.id
    }

    /// The job once it has ended.
    pub(crate) async fn ended(&self, id: JobId) -> Job {
        let (_sender, never) = phases();
        let until = Instant::now() + PATIENCE;
        let job = self.hub.wait_terminal(id, until, &never).await.unwrap().unwrap();
        assert!(job.state.is_terminal(), "{job:?}");
        job
    }

    /// The job once it is in this state.
    pub(crate) async fn reaches(&self, id: JobId, state: JobState) -> Job {
        let began = Instant::now();
        let mut job = self.store.job(id).await;
        while job.state != state {
            assert!(began.elapsed() < PATIENCE, "{job:?}");
            tokio::time::sleep(Duration::from_millis(1)).await;
            job = self.store.job(id).await;
        }
        job
    }

    /// What the store counted of all queues and kinds.
    pub(crate) async fn counts(&self) -> KindCounts {
        let mut counts = JobCounts::default();
        self.store.queues().await.unwrap().iter().for_each(|queue| counts.add(&queue.counts));
        counts.all()
    }

    /// The value of a metric with these labels; 0 when there is none.
    pub(crate) fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name);
        let metrics = family.into_iter().flat_map(|family| family.get_metric());
        let found = metrics.into_iter().filter(|metric| {
            labels.iter().all(|label| metric.get_label().iter().any(|pair| pair.value() == *label))
        });
        found.map(|m| m.get_counter().get_value() + m.get_gauge().get_value()).sum()
    }
}

/// A server's inside at work.
pub(crate) struct Server {
    pub(crate) pool: WorkerPool,
    pub(crate) inside: Inside,
}

impl std::ops::Deref for Server {
    type Target = Inside;

    fn deref(&self) -> &Inside {
        &self.inside
    }
}

/// Whether the future is still pending after everything else had its turn.
pub(crate) async fn is_pending<F: Future>(future: Pin<&mut F>) -> bool {
    tokio::select! {
        biased;
        _ = future => false,
        () = tokio::time::sleep(Duration::from_millis(1)) => true,
    }
}
