use std::time::Duration;

use steadfast_domain::{InvalidField, KindName, QueueName};
use steadfast_lifecycle::Phase;

use crate::store::{Refusal, StoreError};

/// A request that was not done, or not known to be done.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub struct Rejection {
    /// Why not.
    #[source]
    pub why: Why,
    /// Whether it may have happened all the same.
    pub outcome: Outcome,
    /// When to come back, 50 ms to 60 s: set for whatever is answered 429 or 503.
    pub retry_after: Option<Duration>,
}

/// What a rejected request left behind (DESIGN.md, P3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing: it did not happen and will not.
    None,
    /// It happened whole or not at all; the same idempotency key finds out.
    Unknown,
}

/// Why a request was rejected.
#[derive(Debug, thiserror::Error)]
pub enum Why {
    /// The server is not ready yet.
    #[error("the server is starting")]
    Starting,
    /// The server takes nothing new any more.
    #[error("the server is shutting down ({})", .0.as_str())]
    ShuttingDown(Phase),
    /// The job of this index breaks a rule; the pointers are relative to that job (`#/payload/url`).
    #[error("job {1} is not valid")]
    InvalidJob(Vec<InvalidField>, usize),
    /// Nobody runs this kind in this queue.
    #[error("queue {queue} does not accept jobs of kind {kind}")]
    UnknownKind {
        /// The kind asked for.
        kind: KindName,
        /// The queue asked for.
        queue: QueueName,
        /// Which job of the submission.
        index: usize,
    },
    /// The payload is larger than any may be.
    #[error("the payload has {bytes} bytes: at most {bytes_max} are allowed")]
    PayloadTooLarge {
        /// How many it has.
        bytes: usize,
        /// How many it may have.
        bytes_max: usize,
        /// Which job of the submission.
        index: usize,
    },
    /// The store decided against it.
    #[error(transparent)]
    Refused(Refusal),
    /// The store could not decide.
    #[error(transparent)]
    Store(StoreError),
    /// The server was too slow.
    #[error("the server did not answer in time")]
    TimedOut,
    /// A fault of the server; its log says which.
    #[error("internal error")]
    Internal,
}

impl Why {
    /// The problem code of API.md, "Errors".
    pub fn code(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::ShuttingDown(_) => "shutting_down",
            Self::InvalidJob(..) => "invalid_job",
            Self::UnknownKind { .. } => "unknown_kind",
            Self::PayloadTooLarge { .. } => "payload_too_large",
            Self::Refused(refusal) => refusal_code(refusal),
            Self::Store(StoreError::Full) => "store_full",
            Self::Store(_) => "store_unavailable",
            Self::TimedOut => "timed_out",
            Self::Internal => "internal",
        }
    }
}

fn refusal_code(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::QueueFull { .. } => "queue_full",
        Refusal::QueueBytesFull { .. } => "queue_bytes_full",
        Refusal::LargerThanCapacity { .. } => "payload_too_large",
        Refusal::QueueNotFound { .. } => "queue_not_found",
        Refusal::KeyMismatch => "idempotency_mismatch",
        Refusal::KeyInFlight => "idempotency_in_flight",
        Refusal::JobNotFound => "job_not_found",
        Refusal::State(_) | Refusal::DeadlinePassed | Refusal::UniqueKeyTaken => "state_conflict",
    }
}
