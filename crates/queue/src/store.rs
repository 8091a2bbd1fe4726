//! The seam that every store implements: [`JobStore`], and the values that cross it.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use steadfast_domain::{
    BootId, Change, Fence, IdempotencyToken, Job, JobId, JobState, KindName, NewJob, QueueName, RawJson,
    Tenant, Timestamp, WorkerName,
};
use tokio::sync::broadcast;
use tokio::time::Instant;

/// Where jobs live.
///
/// The store owns the clock: arguments are durations, except `give_up_at` and `deadline`, which are
/// moments of this process. Many calls may share one transaction: grouping is the store's business.
/// Dropping a future abandons the answer, never the work; jobs claimed for a caller that is gone return
/// to their queue, uncounted. Results follow the input's order, and one bad item never fails another.
///
/// Every implementation passes the conformance suite in `testkit`.
#[async_trait]
pub trait JobStore: Send + Sync + 'static {
    /// What `Ok` from [`submit`](Self::submit) means.
    fn durability(&self) -> Durability;

    /// What changed, after its commit. Lossy and bounded: a reader that lags looks at everything, and a
    /// reader that needs to be sure polls.
    fn hints(&self) -> broadcast::Receiver<Hint>;

    /// Makes these queues exist with these limits. Idempotent; the last writer wins; never touches
    /// whether a queue is paused. Durable on `Ok`.
    async fn declare(&self, queues: &[QueueSpec]) -> Result<(), StoreError>;

    /// Pauses or resumes a queue. Durable, and idempotent: when it returns, no later claim anywhere takes
    /// from a paused queue. `Ok(false)` when there is no such queue.
    async fn pause(&self, queue: &QueueName, paused: bool) -> Result<bool, StoreError>;

    /// Accepts 1 to 1,000 jobs, all or none: idempotency key, then unique keys, then room, in one atomic
    /// step. `Ok` means durable as [`durability`](Self::durability) says; `Refused` means that nothing
    /// was stored. A submission still waiting for its transaction at `give_up_at` is withdrawn
    /// ([`StoreError::TimedOut`]).
    ///
    /// With a key the jobs of a batch are one unit: a replay answers all of them. A submission whose every job
    /// was deduplicated made none: it leaves nothing behind, its key included. Of two jobs in one submission
    /// with the same unique key, the second is answered with the first.
    async fn submit(&self, submission: Submission) -> Result<Vec<Submitted>, SubmitError>;

    /// Takes a `dead` or `cancelled` job back to `queued` with attempts and interruptions from zero and its
    /// errors kept. Atomic and durable. Needs room as a submit does; refused with
    /// [`Refusal::State`] from any other state, [`Refusal::DeadlinePassed`] when it would only expire, and
    /// [`Refusal::UniqueKeyTaken`] when another live job has its key.
    async fn reopen(&self, id: JobId) -> Result<Change, SubmitError>;

    /// Takes ready, unpaused, unexpired jobs of the wanted kinds, in ready order: each want up to its share,
    /// then regardless of shares up to `max`. The claims survive this process; they need not survive a
    /// power loss. At most one job that was interrupted twice or more runs per owner at a time
    /// (DESIGN.md, "Interruptions"): fewest interruptions first, the next when it has ended or has run for
    /// [`SUSPECT_ALONE_FOR`]. Never waits for work: with none ready it answers an empty list.
    async fn claim(&self, request: ClaimRequest) -> Result<Vec<Claimed>, StoreError>;

    /// Heartbeat of claims. Progress: the newest wins, and may be lost. A checkpoint is durable on `Ok`.
    /// Never needs room.
    async fn renew(&self, renewals: Vec<Renewal>) -> Result<Vec<Result<Renewed, ClaimLost>>, StoreError>;

    /// Records how attempts ended. Fenced, durable, and never in need of room. Idempotent: the job keeps
    /// its last settled token, and a repeat under it answers as the first did; an end of another kind under
    /// it is [`ClaimLost`], as a late result after a hand-back. With cancel requested,
    /// `Retry`, `Dead` and `HandBack` become `cancelled`. `HandBack` consumes no attempt and, as a lost
    /// claim, returns the job to `queued` (due after `after`).
    async fn settle(&self, settlements: Vec<Settlement>) -> Result<Vec<Result<Change, ClaimLost>>, StoreError>;

    /// Ends an unclaimed job now. Of a claimed one the request is stored and its holder hinted; the
    /// holder's next [`renew`](Self::renew) tells it too. Atomic, durable, idempotent.
    async fn cancel(&self, id: JobId) -> Result<Cancel, StoreError>;

    /// One bounded step of housekeeping: recover lost claims, expire, promote what is due, prune what
    /// retention has passed. Touches at most about `rows_max` rows; safe on all replicas at once.
    async fn upkeep(&self, rows_max: usize) -> Result<Upkeep, StoreError>;

    /// Committed jobs with payload, result, checkpoint and history; `None` where there is none.
    async fn get(&self, ids: &[JobId]) -> Result<Vec<Option<Job>>, StoreError>;

    /// A page of jobs, newest first, without payload, result and checkpoint. Bounded: a filtered page
    /// examines at most [`limits::LIST_EXAMINED_MAX`](steadfast_domain::limits::LIST_EXAMINED_MAX) rows and
    /// may be short, with a `next`.
    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError>;

    /// Every declared queue, from counters, never by a scan.
    async fn queues(&self) -> Result<Vec<QueueStatus>, StoreError>;

    /// Whether the store answers, for readiness. Costs no fsync.
    async fn check(&self) -> Result<(), StoreError>;

    /// Refuses new calls with [`StoreError::Closed`], finishes those inside a transaction, flushes and
    /// checkpoints, all before `deadline`. Idempotent. An error says that the last flush is in doubt.
    async fn close(&self, deadline: Instant) -> Result<(), StoreError>;
}

/// How long a suspect keeps the next one waiting when it does not end.
pub const SUSPECT_ALONE_FOR: Duration = Duration::from_secs(5);
/// Interruptions from which on a job is a suspect.
pub const SUSPECT_INTERRUPTIONS: u32 = 2;
/// Hints a slow reader may fall behind before it must look at everything.
pub const HINTS_MAX: usize = 4_096;

/// What an accepted job survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Loss of power: it was fsynced.
    Fsync,
    /// What a PostgreSQL commit survives.
    Commit,
    /// Nothing: it is in this process's memory only.
    Memory,
}

impl Durability {
    /// The name used in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fsync => "fsync",
            Self::Commit => "commit",
            Self::Memory => "memory",
        }
    }
}

/// Limits every store keeps, over all its queues.
#[derive(Debug, Clone)]
pub struct StoreLimits {
    /// Jobs that are not terminal.
    pub capacity_jobs: u64,
    /// Bytes of their payloads.
    pub capacity_bytes: u64,
    /// A job interrupted this often is `dead` with code `interrupted`; at least 1.
    pub interruptions_max: u32,
    /// What is kept of terminal jobs.
    pub retention: Retention,
}

impl Default for StoreLimits {
    /// The defaults of API.md.
    fn default() -> Self {
        Self {
            capacity_jobs: 100_000,
            capacity_bytes: 1 << 30,
            interruptions_max: 5,
            retention: Retention::default(),
        }
    }
}

/// How long, and how many, terminal jobs are kept. Oldest go first, `dead` ones last.
#[derive(Debug, Clone)]
pub struct Retention {
    /// How long `completed`, `cancelled` and `expired` jobs are kept.
    pub keep: Duration,
    /// How long `dead` jobs are kept.
    pub keep_dead: Duration,
    /// Terminal jobs kept at most.
    pub jobs_max: u64,
    /// Bytes of terminal jobs' payloads and results kept at most.
    pub bytes_max: u64,
}

impl Default for Retention {
    /// The defaults of API.md.
    fn default() -> Self {
        let hour = Duration::from_secs(60 * 60);
        Self { keep: 24 * hour, keep_dead: 7 * 24 * hour, jobs_max: 1_000_000, bytes_max: 4 << 30 }
    }
}

/// One queue and its own limits; without one, only the store's apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueSpec {
    /// Its name.
    pub name: QueueName,
    /// Jobs of it that are not terminal.
    pub capacity_jobs: Option<u64>,
    /// Bytes of their payloads.
    pub capacity_bytes: Option<u64>,
}

/// Jobs to be accepted together or not at all.
#[derive(Debug, Clone)]
pub struct Submission {
    /// 1 to 1,000 jobs.
    pub jobs: Vec<NewJob>,
    /// Makes repeats of this submission answer as the first did.
    pub key: Option<IdempotencyKey>,
    /// When to withdraw it, if its transaction has not begun.
    pub give_up_at: Instant,
}

/// Names a submission: two with equal tenant, scope and token are one, if their bodies are equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// Whose key it is.
    pub tenant: Tenant,
    /// Which endpoint it was given to.
    pub scope: KeyScope,
    /// The client's own name for the submission.
    pub token: IdempotencyToken,
    /// SHA-256 of the request's body.
    pub fingerprint: [u8; 32],
}

/// The endpoint an idempotency key belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyScope {
    /// `POST /v1/jobs` and `POST /jobs`.
    Submit,
    /// `POST /v1/jobs/batch`.
    Batch,
}

/// A job a submission was answered with.
#[derive(Debug, Clone)]
pub struct Submitted {
    /// The job as it is now.
    pub job: Job,
    /// Why this one.
    pub how: How,
}

/// Why a submission was answered with a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// It was made now.
    Accepted,
    /// An earlier submission under the same idempotency key made it.
    Replayed,
    /// A live job has the same unique key.
    Deduplicated,
}

/// A request for work.
#[derive(Debug, Clone)]
pub struct ClaimRequest {
    /// Who asks.
    pub owner: Owner,
    /// From where, what, and how much of each.
    pub wants: Vec<Want>,
    /// Jobs in all; at least 1.
    pub max: usize,
    /// How long the claims hold without a renewal.
    pub lease: Duration,
}

/// Who holds a claim.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Owner {
    /// A server process's own pool. A one-process store recovers the claims of earlier boots as it opens.
    Process(BootId),
    /// A remote worker; its leases keep their expiry across restarts.
    Worker(WorkerName),
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process(boot) => write!(f, "process:{boot}"),
            Self::Worker(name) => write!(f, "worker:{name}"),
        }
    }
}

/// One queue's part of a [`ClaimRequest`].
#[derive(Debug, Clone)]
pub struct Want {
    /// From which queue.
    pub queue: QueueName,
    /// Which kinds the owner can run; any if `None`. It is never given another.
    pub kinds: Option<Arc<[KindName]>>,
    /// Jobs from this queue before the others have had their shares.
    pub share: usize,
}

/// Names one claim. The public lease id encodes both halves, so no store needs an index on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClaimId {
    /// The claimed job.
    pub job: JobId,
    /// The claim's fencing token.
    pub fence: Fence,
}

/// A job taken to be run.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// The claim.
    pub id: ClaimId,
    /// The job: `processing`, with `attempt` counting this one.
    pub job: Job,
    /// How long the claim holds, counted from before the call; `Duration::MAX` where a process's claim
    /// cannot outlive it (one-process stores).
    pub valid_for: Duration,
}

/// One claim's heartbeat.
#[derive(Debug, Clone)]
pub struct Renewal {
    /// Which claim.
    pub id: ClaimId,
    /// How long it is to hold from now.
    pub lease: Duration,
    /// What the handler reports.
    pub progress: Option<RawJson>,
    /// What the next attempt is to find if this one is lost.
    pub checkpoint: Option<RawJson>,
}

/// The answer to a [`Renewal`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renewed {
    /// How long the claim holds, counted from before the call.
    pub valid_for: Duration,
    /// Whether the attempt is to stop for good.
    pub cancel_requested: bool,
}

/// How one attempt ended.
#[derive(Debug, Clone)]
pub struct Settlement {
    /// Under which claim it ran.
    pub id: ClaimId,
    /// How it ended.
    pub end: End,
}

/// How an attempt ended. The caller has applied the retry policy: stores hold none.
#[derive(Debug, Clone)]
pub enum End {
    /// Well.
    Completed {
        /// What the handler returned.
        result: Option<RawJson>,
    },
    /// To be tried again.
    Retry {
        /// What went wrong.
        error: Failed,
        /// When: this long from now.
        after: Duration,
    },
    /// For good.
    Dead {
        /// What went wrong.
        error: Failed,
    },
    /// Stopped because a cancel was requested.
    Cancelled,
    /// Without a verdict: back to the queue, the attempt refunded.
    HandBack {
        /// What the next attempt is to find; an earlier checkpoint stays when `None`.
        checkpoint: Option<RawJson>,
        /// Not before this long from now.
        after: Duration,
    },
}

/// A failed attempt's code and message; the store adds the attempt's number and the time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// A stable word for programs.
    pub code: String,
    /// A sentence for people.
    pub message: String,
}

/// The claim is superseded, lapsed, or was settled under another token: whoever held it must not speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the claim is lost")]
pub struct ClaimLost;

/// What a cancel did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancel {
    /// The job is `cancelled` now.
    Done(Change),
    /// It is being processed; the request is stored.
    Requested,
    /// It had ended before.
    AlreadyTerminal(JobState),
    /// There is no such job.
    NotFound,
}

/// What one housekeeping step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Upkeep {
    /// Rows changed.
    pub changed: usize,
    /// Whether another step has work to do at once.
    pub more: bool,
    /// When the next scheduled or retryable job is due, or a deadline or lease ends, from now.
    pub next_due: Option<Duration>,
}

/// Something that a commit changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// A queue has ready work.
    Ready(QueueName),
    /// A job changed its state.
    Changed(Change),
    /// The holder of this claim is to stop for good.
    CancelRequested(ClaimId),
    /// A queue was declared, paused or resumed.
    Queues,
}

/// Which jobs a list holds.
#[derive(Debug, Clone, Default)]
pub struct ListQuery {
    /// Of this queue.
    pub queue: Option<QueueName>,
    /// In this state.
    pub state: Option<JobState>,
    /// Of this kind.
    pub kind: Option<KindName>,
    /// With this tag.
    pub tag: Option<(String, String)>,
    /// Rows: 1 to 1,000.
    pub limit: usize,
    /// Only jobs older than this one.
    pub before: Option<JobId>,
}

/// One page of a list.
#[derive(Debug, Clone)]
pub struct Page {
    /// Newest first, without payload, result and checkpoint.
    pub jobs: Vec<Job>,
    /// The next page's [`ListQuery::before`], while there may be more.
    pub next: Option<JobId>,
}

/// One queue's figures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueStatus {
    /// Its name.
    pub name: QueueName,
    /// Whether it is paused.
    pub paused: bool,
    /// Stored jobs by state, in the order of [`JobState::ALL`].
    pub depth: [u64; 8],
    /// Payload bytes of jobs that are not terminal.
    pub bytes: u64,
    /// Jobs that are not terminal, at most: the queue's own limit or the store's.
    pub capacity_jobs: u64,
    /// Their payload bytes, at most.
    pub capacity_bytes: u64,
    /// When the oldest ready job became due.
    pub oldest_ready_at: Option<Timestamp>,
    /// The store's clock as it answered.
    pub now: Timestamp,
}

impl QueueStatus {
    /// Stored jobs in `state`.
    pub fn depth_in(&self, state: JobState) -> u64 {
        self.depth[state as usize]
    }

    /// Jobs that are not terminal: what counts against the capacity.
    pub fn live(&self) -> u64 {
        JobState::ALL.into_iter().filter(|s| !s.is_terminal()).map(|s| self.depth_in(s)).sum()
    }
}

/// Why a submission was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The store decided against it. Nothing was stored.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store could not decide.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A decision against a submission or a reopening. Nothing was stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No room for so many jobs.
    #[error("queue {queue} is full: {depth} of {capacity} jobs")]
    QueueFull {
        /// The queue asked for.
        queue: QueueName,
        /// Live jobs, of the queue or of the whole store, whichever was full.
        depth: u64,
        /// How many there may be.
        capacity: u64,
    },
    /// No room for so many payload bytes.
    #[error("queue {queue} is full: {bytes} of {capacity} payload bytes")]
    QueueBytesFull {
        /// The queue asked for.
        queue: QueueName,
        /// Live payload bytes, of the queue or of the whole store, whichever was full.
        bytes: u64,
        /// How many there may be.
        capacity: u64,
    },
    /// More jobs or bytes than would fit into the empty queue: waiting does not help.
    #[error("the submission is larger than the whole capacity of queue {queue}: {capacity} {unit}")]
    LargerThanCapacity {
        /// The queue asked for.
        queue: QueueName,
        /// Its whole capacity.
        capacity: u64,
        /// `jobs` or `bytes`.
        unit: &'static str,
    },
    /// The queue was never declared.
    #[error("there is no queue {queue}")]
    QueueNotFound {
        /// The queue asked for.
        queue: QueueName,
    },
    /// The idempotency key was used with another body.
    #[error("the idempotency key was used with another body")]
    KeyMismatch,
    /// A submission with this key is being committed; how it ends is not known yet.
    #[error("a submission with this idempotency key is in flight")]
    KeyInFlight,
    /// The job to be reopened does not exist.
    #[error("there is no such job")]
    JobNotFound,
    /// The job to be reopened is in a state that does not allow it.
    #[error("the job is {}", .0.as_str())]
    State(JobState),
    /// The job to be reopened would only expire.
    #[error("the job's deadline has passed")]
    DeadlinePassed,
    /// Another live job has the unique key of the job to be reopened.
    #[error("another live job has the same unique key")]
    UniqueKeyTaken,
}

/// What a store answers when it could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It is away. Nothing happened.
    #[error("the store is unavailable")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
    /// Its disk is full. Nothing happened.
    #[error("the store's disk is full")]
    Full,
    /// The call waited for its transaction until its time was up. Nothing happened.
    #[error("the store did not begin in time")]
    TimedOut,
    /// It may have happened, whole or not at all; [`JobStore::get`] or the idempotency key tells.
    #[error("the outcome is unknown")]
    Unknown {
        /// The jobs that exist if it did.
        ids: Vec<JobId>,
    },
    /// The store was closed. Nothing happened.
    #[error("the store is closed")]
    Closed,
}

