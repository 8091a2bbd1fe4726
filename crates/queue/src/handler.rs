//! The seam that every job kind implements: [`JobHandler`], and what an attempt may use.
//!
//! ```text
//!  RawJson ──▶ Typed ──(types by serde)──▶ TypedHandler     typed.rs: how most kinds are written
//!                └───── is a JobHandler, as a kind that wants the bytes is by itself
//! ```

mod payload;
mod reports;
mod typed;
mod unfinished;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use opentelemetry::trace::SpanBuilder;
use serde::Serialize;
use serde::de::DeserializeOwned;
use steadfast_domain::{Invalid, InvalidField, Job, KindName, RawJson, TraceParent, limits};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

pub(crate) use reports::Reports;
pub use typed::{Typed, TypedHandler};
pub use unfinished::Unfinished;

use crate::spans::{Span, Tracer};

/// Runs the jobs of one kind. A [`TypedHandler`] is the pleasant way to write one.
///
/// Execution is at least once: an attempt cut off by a crash runs again, so effects should be
/// idempotent, keyed by the job's id.
#[async_trait]
pub trait JobHandler: Send + Sync + 'static {
    /// Checks a payload when it is submitted; faults are answered 422 `invalid_job`. Must be quick, pure
    /// and free of I/O: it runs before every commit.
    fn check(&self, payload: &RawJson) -> Result<(), Vec<InvalidField>>;

    /// Runs one attempt. The future is dropped, and the attempt settled as failed with code `timeout`, when
    /// it has not returned [`CANCEL_GRACE`] after its time is up; a panic is caught and settled as failed
    /// with code `panic`. See [`JobContext::stopped`] for how to end early.
    async fn run(&self, context: JobContext) -> Result<Finish, Failure>;
}

/// How long an attempt that was told to stop (cancelled, timed out, lease lost) may take to return before
/// it is cut off, but after a lost lease no longer than the lease would have held: a tenth of it. A drain has
/// its own budget.
pub const CANCEL_GRACE: Duration = Duration::from_secs(5);

/// How an attempt ended, when it did not fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finish {
    /// The job is done.
    Completed(Option<RawJson>),
    /// It stopped on the way. The job is queued again at once with its attempt refunded and finds the
    /// checkpoint next time, unless it was stopped for good (cancelled) or by its timeout.
    Yield {
        /// What the next attempt is to find; an earlier one stays when `None`.
        checkpoint: Option<RawJson>,
    },
}

/// A failed attempt. Code and message are stored and shown to clients: nothing internal belongs in them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Failure {
    /// A stable word for programs.
    pub code: String,
    /// A sentence for people.
    pub message: String,
    /// Whether another attempt may do better.
    pub retryable: bool,
    /// Wait at least this long before it.
    pub retry_after: Option<Duration>,
}

impl From<Invalid> for Failure {
    /// Something the handler made breaks a limit, and would again: code `invalid_value`.
    fn from(invalid: Invalid) -> Self {
        Self::permanent("invalid_value", invalid.to_string())
    }
}

impl Failure {
    /// A failure that another attempt may not meet.
    pub fn retryable(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), retryable: true, retry_after: None }
    }

    /// A failure that every attempt would meet.
    pub fn permanent(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { retryable: false, ..Self::retryable(code, message) }
    }

    /// The same failure with a time before which another attempt is no use.
    pub fn after(self, delay: Duration) -> Self {
        Self { retry_after: Some(delay.min(limits::BACKOFF_MAX)), ..self }
    }
}

/// Why an attempt is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StopReason {
    /// A client cancelled the job: whatever it yields, it ends `cancelled`.
    Cancelled,
    /// The server is going down: checkpoint and return.
    Shutdown,
    /// The attempt's time is up.
    Timeout,
    /// The claim may be another's now: nothing this attempt reports will be taken.
    LeaseLost,
}

/// What one attempt knows and may use.
#[derive(Debug, Clone)]
pub struct JobContext {
    job: Arc<Job>,
    deadline: Instant,
    draining: watch::Receiver<bool>,
    stop: watch::Receiver<Option<StopReason>>,
    reports: Arc<Reports>,
    tracer: Tracer,
    /// The attempt's own span, where attempts are spans.
    span: Option<TraceParent>,
}

/// Why a checkpoint is not stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// It has no JSON form, or a larger one than [`limits::CHECKPOINT_BYTES_MAX`].
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The attempt is over or its claim is lost.
    #[error("the attempt's claim is lost")]
    ClaimLost,
    /// The store could not take it now; the attempt may go on and try again.
    #[error("the store is unavailable")]
    StoreUnavailable,
}

impl From<CheckpointError> for Failure {
    /// A checkpoint that is too large would be again; the others are worth another attempt, and what is said
    /// under a lost claim is not heard.
    fn from(error: CheckpointError) -> Self {
        match error {
            CheckpointError::Invalid(invalid) => invalid.into(),
            CheckpointError::ClaimLost => Self::retryable("claim_lost", error.to_string()),
            CheckpointError::StoreUnavailable => Self::retryable("store_unavailable", error.to_string()),
        }
    }
}

impl JobContext {
    pub(crate) fn new(
        job: Arc<Job>,
        deadline: Instant,
        draining: watch::Receiver<bool>,
        stop: watch::Receiver<Option<StopReason>>,
        reports: Arc<Reports>,
        (tracer, span): (Tracer, Option<TraceParent>),
    ) -> Self {
        Self { job, deadline, draining, stop, reports, tracer, span }
    }

    /// The job as it was claimed: `attempt` counts this one, `checkpoint` is what an earlier one left.
    pub fn job(&self) -> &Job {
        &self.job
    }

    /// The job's payload.
    pub fn payload(&self) -> &RawJson {
        static NO_PAYLOAD: std::sync::LazyLock<RawJson> = std::sync::LazyLock::new(RawJson::empty_object);
        self.job.payload.as_ref().unwrap_or(&NO_PAYLOAD)
    }

    /// The trace that the attempt is part of, as whoever it calls should be told by `traceparent`; `None` when there is
    /// none.
    pub fn trace_parent(&self) -> Option<&TraceParent> {
        self.span.as_ref().or(self.job.trace.as_ref())
    }

    /// Begins a span inside of the attempt's: for a call that the handler makes. It is none, and `described` is not
    /// called, where no traces are exported.
    pub fn begin_span(&self, described: impl FnOnce() -> SpanBuilder) -> Span {
        self.tracer.begin_inside(self.trace_parent(), described)
    }

    /// When this attempt's time is up.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether the server has begun to drain. Advice only: a long attempt may choose a good moment to
    /// checkpoint; it is told again, by [`stopped`](Self::stopped), when it must.
    pub fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Waits until the server begins to drain.
    pub async fn draining(&self) {
        let mut draining = self.draining.clone();
        if draining.wait_for(|draining| *draining).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Why this attempt is to stop, once it is.
    pub fn stop_reason(&self) -> Option<StopReason> {
        *self.stop.borrow()
    }

    /// Waits until this attempt is to stop, and says why. Return soon after it, with
    /// [`Finish::Yield`] if there is something left to do.
    pub async fn stopped(&self) -> StopReason {
        let mut stop = self.stop.clone();
        match stop.wait_for(Option::is_some).await.map(|reason| *reason) {
            Ok(Some(reason)) => reason,
            _ => std::future::pending().await,
        }
    }

    /// Reports progress: at most [`limits::PROGRESS_BYTES_MAX`] bytes of JSON. Cheap: the newest report wins, is
    /// written at a bounded rate, and may be lost.
    pub fn progress<T: Serialize + ?Sized>(&self, progress: &T) -> Result<(), Invalid> {
        let progress =
            RawJson::encode(progress)?.within("the progress report", limits::PROGRESS_BYTES_MAX)?;
        self.reports.progress(progress);
        Ok(())
    }

    /// Stores what the next attempt is to find if this one is cut off: at most [`limits::CHECKPOINT_BYTES_MAX`]
    /// bytes of JSON. Durable on `Ok`; costs a commit.
    pub async fn checkpoint<T: Serialize + ?Sized>(&self, checkpoint: &T) -> Result<(), CheckpointError> {
        let checkpoint =
            RawJson::encode(checkpoint)?.within("the checkpoint", limits::CHECKPOINT_BYTES_MAX)?;
        self.reports.checkpoint(checkpoint).await
    }

    /// What an earlier attempt left, if one did.
    ///
    /// # Errors
    /// When it is not a `T`. Retryable: while several versions of a program run, a newer one may have left it.
    pub fn last_checkpoint<T: DeserializeOwned>(&self) -> Result<Option<T>, Failure> {
        let read = |json: &RawJson| json.decode().map_err(|error| unreadable(&error));
        self.job.checkpoint.as_ref().map(read).transpose()
    }

    /// Ends the attempt here, with a checkpoint, when it has been told to stop. For a handler's loop, once a
    /// round: `context.yield_if_stopped(&cursor)?`.
    pub fn yield_if_stopped<T: Serialize + ?Sized>(&self, checkpoint: &T) -> Result<(), Unfinished> {
        self.stop_reason().map_or(Ok(()), |_| Err(Unfinished::leaving(checkpoint)))
    }

    /// Runs `work` beside the handler and to its end, also when the handler's future is dropped: for what must
    /// be cleared away even then, such as a process. An attempt that is cut off has ended when this has, too:
    /// work that takes longer than a second makes a hand-back wait until this process is gone.
    pub fn spawn_outliving<F>(&self, work: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        self.reports.spawn_outliving(work)
    }
}

fn unreadable(error: &serde_json::Error) -> Failure {
    Failure::retryable(
        "checkpoint_unreadable",
        format!("what an earlier attempt left cannot be read: {error}"),
    )
}

/// The kinds this server can run, by name.
#[derive(Clone, Default)]
pub struct Handlers(BTreeMap<KindName, Arc<dyn JobHandler>>);

impl Handlers {
    /// No kinds.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a kind; a kind added before under the same name is replaced.
    pub fn with(mut self, kind: KindName, handler: impl JobHandler) -> Self {
        self.0.insert(kind, Arc::new(handler));
        self
    }

    /// Adds the kind of a typed handler, under its own name; a kind added before under the same name is
    /// replaced.
    pub fn with_typed<H: TypedHandler>(self, handler: H) -> Self {
        const { assert!(KindName::is_valid(H::KIND), "KIND is 1 to 64 characters of a-z, 0-9, '.', '_' and '-'") };
        #[expect(clippy::expect_used, reason = "a program with another name does not compile")]
        let kind = KindName::new(H::KIND).expect("KIND was checked when this was compiled");
        self.with(kind, Typed(handler))
    }

    /// The handler of a kind.
    pub fn get(&self, kind: &KindName) -> Option<&Arc<dyn JobHandler>> {
        self.0.get(kind)
    }

    /// Every kind, sorted.
    pub fn kinds(&self) -> impl Iterator<Item = &KindName> {
        self.0.keys()
    }
}

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
