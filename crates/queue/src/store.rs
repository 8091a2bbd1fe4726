//! The seam that every store implements: [`JobStore`], and the values that cross it.

mod claim;
pub mod columns;
mod counts;
mod error;
mod hint;
mod limits;
mod outcome;
mod reading;
mod settlement;
mod submission;

use async_trait::async_trait;
use steadfast_domain::{Change, Job, JobId, QueueName};
use tokio::sync::broadcast;
use tokio::time::Instant;

pub use claim::{
    ClaimId, ClaimLost, ClaimRequest, Claimed, Owner, Renewal, Renewed, SUSPECT_ALONE_FOR,
    SUSPECT_INTERRUPTIONS, Speaker, Want,
};
pub use counts::{JobCounts, KindCounts, QueueCounts};
pub use error::StoreError;
pub use hint::{HINTS_MAX, Hint};
pub use limits::{Durability, QueueSpec, Retention, StoreLimits};
pub use outcome::{Cancel, Upkeep};
pub use reading::{ListQuery, Page, QueueStatus};
pub use settlement::{End, Failed, Interruption, Settlement};
pub use submission::{How, IdempotencyKey, KeyScope, Refusal, Submission, SubmitError, Submitted};

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
    /// [`SUSPECT_ALONE_FOR`]. One on its last chance ([`StoreLimits::is_last_chance`]) is alone from its start
    /// to its end, so that it can only be condemned for what it does itself.
    ///
    /// Never waits, for work or for anybody: with none ready it answers an empty list, and a job that another
    /// call holds at that very moment may be passed over.
    async fn claim(&self, request: ClaimRequest) -> Result<Vec<Claimed>, StoreError>;

    /// Heartbeat of claims. Progress: the newest wins, and may be lost. A checkpoint is durable on `Ok`.
    /// Never needs room. A process's claim is lost to [`Speaker::Worker`].
    async fn renew(&self, renewals: Vec<Renewal>) -> Result<Vec<Result<Renewed, ClaimLost>>, StoreError>;

    /// Records how attempts ended. Fenced, durable, and never in need of room. Idempotent: the job keeps
    /// its last settled token, and a repeat under it answers as the first did; an end of another kind under
    /// it is [`ClaimLost`], as a late result after a hand-back. A process's claim is lost to [`Speaker::Worker`],
    /// whatever token it names. With cancel requested,
    /// `Retry`, `Dead` and `HandBack` become `cancelled`. `HandBack` consumes no attempt and, as a lost
    /// claim, returns the job to `queued`: to its old place, or due after `after`.
    async fn settle(
        &self,
        settlements: Vec<Settlement>,
    ) -> Result<Vec<Result<Change, ClaimLost>>, StoreError>;

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

    /// Every declared queue, from counters, never by a scan. What this process counted of it ([`JobCounts`]) is of the
    /// same moment as what is stored, and has all that was answered before the call.
    async fn queues(&self) -> Result<Vec<QueueStatus>, StoreError>;

    /// Whether the store answers, for readiness. Costs no fsync.
    async fn check(&self) -> Result<(), StoreError>;

    /// Refuses new calls with [`StoreError::Closed`], finishes those inside a transaction, flushes and
    /// checkpoints, all before `deadline`. Idempotent. An error says that the last flush is in doubt.
    async fn close(&self, deadline: Instant) -> Result<(), StoreError>;
}
