use steadfast_domain::{IdempotencyToken, Job, JobState, NewJob, QueueName, Tenant};
use tokio::time::Instant;

use super::StoreError;

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
