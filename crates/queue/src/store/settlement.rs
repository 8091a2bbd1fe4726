use std::time::Duration;

use steadfast_domain::{Event, Job, JobError, JobState, RawJson, Timestamp};

use super::{ClaimId, Speaker};

/// How one attempt ended.
#[derive(Debug, Clone)]
pub struct Settlement {
    /// Under which claim it ran.
    pub id: ClaimId,
    /// Who says so.
    pub by: Speaker,
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
        /// Not before this long from now; zero keeps its place in the queue.
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

impl End {
    /// What went wrong, if anything did.
    pub fn error(&self) -> Option<&Failed> {
        match self {
            Self::Retry { error, .. } | Self::Dead { error } => Some(error),
            Self::Completed { .. } | Self::Cancelled | Self::HandBack { .. } => None,
        }
    }

    /// What this end does to a job being processed. A cancel that was requested beats everything but success.
    pub fn event(&self, cancel_requested: bool) -> Event {
        match self {
            Self::Completed { .. } => Event::Complete,
            Self::Retry { .. } | Self::Dead { .. } | Self::HandBack { .. } if cancel_requested => {
                Event::Cancel
            }
            Self::Retry { .. } => Event::Retry,
            Self::Dead { .. } => Event::Die,
            Self::Cancelled => Event::Cancel,
            Self::HandBack { .. } => Event::HandBack,
        }
    }

    /// Whether a settlement that led to `state` may have been this one, so that it is a repeat. A result that
    /// comes after its attempt was handed back under the same token is not.
    pub fn may_lead_to(&self, state: JobState) -> bool {
        let leads = |requested| JobState::Processing.after(self.event(requested)) == Some(state);
        leads(false) || leads(true)
    }

    /// Writes into the job what this end changes beside its state, which will be `state`.
    pub fn record(self, job: &mut Job, state: JobState, now: Timestamp) {
        match &self {
            // A stop must not cost a job its turn: without a wait it keeps its place.
            Self::HandBack { after, .. } if after.is_zero() => {}
            Self::Retry { after, .. } | Self::HandBack { after, .. } if !state.is_terminal() => {
                job.run_at = now.plus(*after);
            }
            _ => {}
        }
        match self {
            Self::Completed { result } => job.result = result,
            Self::Retry { error, .. } | Self::Dead { error } => {
                job.push_error(JobError::new(job.attempt, now, &error.code, &error.message));
            }
            Self::Cancelled => {}
            Self::HandBack { checkpoint, .. } => {
                job.attempt -= 1;
                job.checkpoint = checkpoint.or(job.checkpoint.take());
            }
        }
    }
}

/// What becomes of a job whose claim is lost: its process died, or its lease lapsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interruption {
    count: u32,
    event: Event,
}

impl Interruption {
    /// The next interruption of `job`, of which `interruptions_max` are too many.
    pub fn of(job: &Job, cancel_requested: bool, interruptions_max: u32) -> Self {
        let count = job.interruptions + 1;
        let event = if cancel_requested {
            Event::Cancel
        } else if count >= interruptions_max {
            Event::Die
        } else {
            Event::HandBack
        };
        Self { count, event }
    }

    /// What it does to the job.
    pub fn event(&self) -> Event {
        self.event
    }

    /// Writes into the job what it changes beside its state: the attempt is refunded, the interruption
    /// counted. It keeps its place in the queue.
    pub fn record(self, job: &mut Job, now: Timestamp) {
        if self.event == Event::Die {
            let message = format!("interrupted {} times, which is the most allowed", self.count);
            job.push_error(JobError::new(job.attempt, now, INTERRUPTED, &message));
        }
        job.attempt -= 1;
        job.interruptions = self.count;
    }
}

/// The code of a job that is `dead` because its attempts were interrupted too often.
const INTERRUPTED: &str = "interrupted";
