use std::sync::Arc;

use serde::de::DeserializeOwned;
use steadfast_domain::{Invalid, RawJson, TraceParent, limits};
use steadfast_wire::JobDocument;
use tokio::time::Instant;

use super::Shared;
use super::held::Lease;

/// One run of one job, as the function that runs it sees it.
#[derive(Clone)]
pub struct Attempt {
    pub(super) lease: Arc<Lease>,
    pub(super) shared: Arc<Shared>,
}

/// How an attempt ended, when it did not fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finish {
    /// The job is done.
    Completed(Option<RawJson>),
    /// It stopped on the way: the job goes back to its queue at once, its attempt refunded, unless it was stopped for
    /// good (cancelled) or by its timeout.
    Yield {
        /// What the next attempt is to find; an earlier one stays when `None`.
        checkpoint: Option<RawJson>,
    },
}

/// A failed attempt. Code and message are stored and shown to clients.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Failure {
    /// A stable word for programs.
    pub code: String,
    /// A sentence for people.
    pub message: String,
    /// Whether another attempt may do better.
    pub retryable: bool,
}

impl Failure {
    /// A failure that another attempt may not meet.
    pub fn retryable(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), retryable: true }
    }

    /// A failure that every attempt would meet.
    pub fn permanent(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { retryable: false, ..Self::retryable(code, message) }
    }
}

/// Why an attempt is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stop {
    /// A client cancelled the job: whatever it yields, it ends `cancelled`.
    Cancelled,
    /// This worker is going down: return with what is left to do.
    Shutdown,
    /// The attempt's time is up.
    Timeout,
    /// The lease may be another's soon: nothing this attempt says will be taken.
    LeaseLost,
}

/// Why a checkpoint is not stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// It is larger than 64 KiB.
    #[error(transparent)]
    TooLarge(#[from] Invalid),
    /// The attempt's lease is lost, or about to be.
    #[error("the attempt's lease is lost")]
    LeaseLost,
}

impl Attempt {
    /// The job as it was taken: `attempt` counts this one.
    pub fn job(&self) -> &JobDocument {
        &self.lease.job
    }

    /// What an earlier attempt left for this one.
    pub fn last_checkpoint(&self) -> Option<&RawJson> {
        self.job().checkpoint.as_ref().filter(|checkpoint| checkpoint.as_str() != "null")
    }

    /// The job's payload as a `T`; a payload that is none is a permanent failure with code `invalid_payload`.
    pub fn payload<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        let text = self.job().payload.as_ref().map_or("null", RawJson::as_str);
        serde_json::from_str(text).map_err(|error| Failure::permanent("invalid_payload", error.to_string()))
    }

    /// The trace that the job is part of, as whoever the attempt calls should be told by `traceparent`; `None` when there
    /// is none.
    pub fn trace_parent(&self) -> Option<&TraceParent> {
        self.lease.trace_parent.as_ref()
    }

    /// When this attempt's time is up.
    pub fn deadline(&self) -> Instant {
        self.lease.deadline
    }

    /// Why this attempt is to stop, once it is.
    pub fn stop_reason(&self) -> Option<Stop> {
        self.lease.stop_reason()
    }

    /// Waits until this attempt is to stop, and says why. Return soon after it, with [`Finish::Yield`] if there is
    /// something left to do.
    pub async fn stopped(&self) -> Stop {
        self.lease.stopped().await
    }

    /// Shows progress: at most 4 KiB. The newest wins; it is sent with the next heartbeat, at most once a second, and
    /// may be lost.
    pub fn progress(&self, progress: RawJson) -> Result<(), Invalid> {
        let progress = progress.within("the progress report", limits::PROGRESS_BYTES_MAX)?;
        self.lease.reports.lock().progress = Some(progress);
        Ok(())
    }

    /// Stores what the next attempt is to find if this one is cut off: at most 64 KiB. Durable on `Ok`. While the
    /// server is away it waits, at most until the lease is lost.
    pub async fn checkpoint(&self, checkpoint: RawJson) -> Result<(), CheckpointError> {
        let checkpoint = checkpoint.within("the checkpoint", limits::CHECKPOINT_BYTES_MAX)?;
        let stored = self.lease.reports.lock().checkpoint(checkpoint);
        self.shared.wake_renewing.notify_one();
        tokio::select! {
            biased;
            stored = stored => stored.map_err(|_| CheckpointError::LeaseLost),
            () = self.lease.lost() => Err(CheckpointError::LeaseLost),
        }
    }
}
