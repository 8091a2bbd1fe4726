//! The one door into the store: whatever changes a job on a client's behalf comes through [`Admission`].
//!
//! It never waits for room. Where there is none, the store says so inside its commit and the client is told
//! when to come back (ADR 0001, "Two limits"). Every mutation runs in a tracked task, so that a client that
//! goes away cancels nothing and a drain can wait for the last one.

mod checks;
mod config;
mod job_rates;
mod rate_meter;
mod rejection;
mod retry_after;
mod settle_rates;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use steadfast_domain::{Change, Job, JobId, KindName, NewJob, QueueName};
use steadfast_lifecycle::{Phase, Phases, Tasks};
use tokio::time::Instant;

pub use config::{AdmissionConfig, QueueConfig, QueueMode};
pub use job_rates::{JobRates, Rates};
pub use rejection::{Outcome, Rejection, Why};
pub use settle_rates::SettleRates;

use crate::handler::Handlers;
use crate::metrics::{AdmissionMetrics, OTHER};
use crate::store::{
    Cancel, Durability, How, IdempotencyKey, JobStore, Refusal, StoreError, Submission, SubmitError,
    Submitted,
};
use checks::Checks;
pub(crate) use checks::wall_clock;
pub(crate) use retry_after::RetryAfter;

/// How much longer than the request's own time its answer is waited for. The store withdraws at that time
/// what it has not begun; what it has begun it can often still finish and answer.
const COMMIT_GRACE: Duration = Duration::from_secs(1);

/// Decides what may enter the store.
///
/// Each change takes `holding`: whatever the caller has taken for it (its place among the requests, the memory
/// of its body), to be dropped when the store is done with the change. A client that goes away ends its request
/// but not its change, so what bounds the requests would not bound the changes.
pub struct Admission {
    pub(crate) desk: Arc<Desk>,
    pub(crate) mutations: Tasks,
    request_timeout: Duration,
}

/// What each mutation's task needs.
pub(crate) struct Desk {
    pub(crate) store: Arc<dyn JobStore>,
    pub(crate) phases: Phases,
    checks: Checks,
    retry_after: RetryAfter,
    pub(crate) job_rates: Arc<JobRates>,
    metrics: AdmissionMetrics,
}

impl Admission {
    /// Admission to `store`. `mutations` counts what is under way: a drain waits for it.
    pub fn new(
        config: AdmissionConfig,
        store: Arc<dyn JobStore>,
        handlers: Handlers,
        phases: Phases,
        mutations: Tasks,
        metrics: AdmissionMetrics,
    ) -> Self {
        let request_timeout = config.request_timeout;
        let checks = Checks::new(&config.queues, handlers, config.payload_bytes_max);
        let job_rates = Arc::clone(&config.job_rates);
        let retry_after = RetryAfter::new(config);
        let desk = Arc::new(Desk { store, phases, checks, retry_after, job_rates, metrics });
        Self { desk, mutations, request_timeout }
    }

    /// What an accepted job survives.
    pub fn durability(&self) -> Durability {
        self.desk.store.durability()
    }

    /// Who runs a queue's jobs; `None` of a queue that this process does not declare.
    pub fn queue_mode(&self, queue: &QueueName) -> Option<QueueMode> {
        self.desk.queue_mode(queue)
    }

    /// The label of a kind in metrics.
    pub fn kind_label<'a>(&'a self, kind: &'a KindName) -> &'a str {
        self.desk.checks.kind_label(kind)
    }

    /// What this process did with a queue's jobs lately; `None` of a queue that it does not declare.
    pub fn queue_rates(&self, queue: &QueueName) -> Option<Rates> {
        self.desk.job_rates.of(queue)
    }

    /// Whether new work is taken at all now: what a submit would be told before anything of it is looked at.
    pub fn open(&self) -> Result<(), Rejection> {
        self.desk.open()
    }

    /// Accepts 1 to 1,000 jobs, all or none. `Ok` is durable as [`durability`](Self::durability) says; a
    /// repeat under the same key answers as the first did.
    pub fn submit<H: Send + 'static>(
        &self,
        jobs: Vec<NewJob>,
        key: Option<IdempotencyKey>,
        holding: H,
    ) -> impl Future<Output = Result<Vec<Submitted>, Rejection>> + Send + use<'_, H> {
        let give_up_at = Instant::now() + self.request_timeout;
        let submission = Submission { jobs, key, give_up_at };
        self.run("submit", holding, |desk| async move { desk.submit(submission).await })
    }

    /// Takes a `dead` or `cancelled` job back to `queued`: needs room as a submit does, and is durable.
    pub async fn reopen(&self, id: JobId, holding: impl Send + 'static) -> Result<Change, Rejection> {
        self.run("reopen", holding, move |desk| async move { desk.reopen(id).await }).await
    }

    /// Ends a waiting job, or asks a running one to end. Durable and idempotent; allowed during a drain.
    pub async fn cancel(&self, id: JobId, holding: impl Send + 'static) -> Result<Cancel, Rejection> {
        self.run("cancel", holding, move |desk| async move {
            desk.started()?;
            desk.store.cancel(id).await.map_err(|error| desk.store_error(error))
        })
        .await
    }

    /// Pauses or resumes a queue. Durable and idempotent; allowed during a drain.
    pub async fn pause(
        &self,
        queue: &QueueName,
        paused: bool,
        holding: impl Send + 'static,
    ) -> Result<(), Rejection> {
        let queue = queue.clone();
        self.run("pause", holding, move |desk| async move {
            desk.started()?;
            match desk.store.pause(&queue, paused).await {
                Ok(true) => Ok(()),
                Ok(false) => Err(desk.nothing_done(Why::Refused(Refusal::QueueNotFound { queue }))),
                Err(error) => Err(desk.store_error(error)),
            }
        })
        .await
    }

    /// Runs a mutation to its end, whatever becomes of the caller, and waits for its answer as long as that
    /// makes sense. It is counted before it looks at the phase, so that a drain that has set the phase and then
    /// waits for the last mutation cannot miss one that got past it.
    pub(crate) fn run<T, F, H, M>(
        &self,
        name: &'static str,
        holding: H,
        mutation: M,
    ) -> impl Future<Output = Result<T, Rejection>> + Send + use<'_, T, F, H, M>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Rejection>> + Send + 'static,
        H: Send + 'static,
        M: FnOnce(Arc<Desk>) -> F,
    {
        let mutation = mutation(Arc::clone(&self.desk));
        let task = self.mutations.run(name, async move {
            let answer = mutation.await;
            drop(holding);
            answer
        });
        let task = tokio::time::timeout(self.request_timeout + COMMIT_GRACE, task);
        async move {
            match task.await {
                Ok(Ok(answer)) => answer,
                // The task panicked somewhere in the store: what it has done by then nobody knows.
                Ok(Err(_)) => Err(self.desk.in_doubt(Why::Internal)),
                Err(_) => Err(self.desk.in_doubt(Why::TimedOut)),
            }
        }
    }
}

impl Desk {
    async fn submit(&self, submission: Submission) -> Result<Vec<Submitted>, Rejection> {
        let queue = submission.jobs.first().map(|job| job.queue.clone());
        let answer = self.try_submit(submission).await;
        match &answer {
            Ok(submitted) => self.note_accepted(submitted),
            Err(rejection) => self.count_refused(queue.as_ref(), &rejection.why),
        }
        answer
    }

    async fn try_submit(&self, submission: Submission) -> Result<Vec<Submitted>, Rejection> {
        self.open()?;
        self.checks.check(&submission.jobs).map_err(|why| self.nothing_done(why))?;
        let _timer = self.metrics.submit_seconds.start_timer();
        self.store.submit(submission).await.map_err(|error| self.submit_error(error))
    }

    async fn reopen(&self, id: JobId) -> Result<Change, Rejection> {
        self.open()?;
        let answer = self.store.reopen(id).await.map_err(|error| self.submit_error(error));
        if let Err(rejection) = &answer {
            let queue = match &rejection.why {
                Why::Refused(Refusal::QueueFull { queue, .. } | Refusal::QueueBytesFull { queue, .. }) => {
                    Some(queue)
                }
                _ => None,
            };
            self.count_refused(queue, &rejection.why);
        }
        answer
    }

    /// Whether anything may change at all.
    pub(crate) fn started(&self) -> Result<(), Rejection> {
        match self.phases.current() {
            Phase::Starting => Err(self.nothing_done(Why::Starting)),
            _ => Ok(()),
        }
    }

    /// Whether new work is taken.
    fn open(&self) -> Result<(), Rejection> {
        match self.phases.current() {
            Phase::Starting => Err(self.nothing_done(Why::Starting)),
            phase if phase >= Phase::Draining => Err(self.nothing_done(Why::ShuttingDown(phase))),
            _ => Ok(()),
        }
    }

    fn submit_error(&self, error: SubmitError) -> Rejection {
        match error {
            SubmitError::Refused(refusal @ Refusal::KeyInFlight) => self.in_doubt(Why::Refused(refusal)),
            SubmitError::Refused(refusal) => self.nothing_done(Why::Refused(refusal)),
            SubmitError::Store(error) => self.store_error(error),
        }
    }

    pub(crate) fn store_error(&self, error: StoreError) -> Rejection {
        match error {
            StoreError::Unknown { .. } => self.in_doubt(Why::Store(error)),
            StoreError::TimedOut => self.nothing_done(Why::TimedOut),
            StoreError::Unavailable(_) | StoreError::Full | StoreError::Closed => {
                self.nothing_done(Why::Store(error))
            }
        }
    }

    pub(crate) fn nothing_done(&self, why: Why) -> Rejection {
        let retry_after = self.retry_after.after(&why);
        Rejection { why, outcome: Outcome::None, retry_after }
    }

    /// The names of the declared pull queues.
    pub(crate) fn pull_queues(&self) -> impl Iterator<Item = &QueueName> {
        self.checks.pull_queues()
    }

    /// Who runs a queue's jobs; `None` of a queue that this process does not declare.
    pub(crate) fn queue_mode(&self, queue: &QueueName) -> Option<QueueMode> {
        self.checks.mode(queue)
    }

    /// The labels of a job's queue and kind in metrics.
    pub(crate) fn labels<'a>(&self, job: &'a Job) -> [&'a str; 2] {
        [self.checks.queue_label(&job.queue), self.checks.kind_label(&job.kind)]
    }

    fn in_doubt(&self, why: Why) -> Rejection {
        Rejection { outcome: Outcome::Unknown, ..self.nothing_done(why) }
    }

    fn note_accepted(&self, submitted: &[Submitted]) {
        for Submitted { job, how } in submitted {
            if *how == How::Accepted {
                self.retry_after.accepted(&job.queue);
                self.job_rates.submitted(&job.queue);
            }
        }
    }

    fn count_refused(&self, queue: Option<&QueueName>, why: &Why) {
        let queue = queue.map_or(OTHER, |queue| self.checks.queue_label(queue));
        self.metrics.refused.with_label_values(&[queue, why.code()]).inc();
    }
}
