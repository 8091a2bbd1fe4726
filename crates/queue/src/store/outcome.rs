use std::time::Duration;

use steadfast_domain::{Change, JobState};

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
