use std::fmt;

use steadfast_client::history;
use steadfast_domain::{JobId, JobState};
use steadfast_wire::JobDocument;

use crate::gate::{Delivery, Fate};
use crate::stubborn::STUBBORN;

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Violation {
    /// One to a client, about what there is.
    Told(history::Violation),
    /// A job was delivered while it was being delivered.
    RanTwiceAtOnce {
        /// The job.
        job: JobId,
    },
    /// A job was delivered more often than its attempts and interruptions explain.
    RanTooOften {
        /// The job.
        job: JobId,
        /// Deliveries at the gate.
        deliveries: u32,
        /// Attempts and interruptions by the store's account.
        accounted: u32,
    },
    /// A job is `completed` and the gate never answered it.
    CompletedUnseen {
        /// The job.
        job: JobId,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Told(violation) => violation.fmt(f),
            Self::RanTwiceAtOnce { job } => write!(f, "ran twice at once: {job}"),
            Self::RanTooOften { job, deliveries, accounted } => {
                write!(f, "ran too often: {job} was delivered {deliveries} times, {accounted} accounted for")
            }
            Self::CompletedUnseen { job } => write!(f, "completed unseen: {job} never reached the gate"),
        }
    }
}

/// The kinds whose jobs are delivered to the gate.
const DELIVERED: [&str; 2] = ["http", STUBBORN];

/// How often a job ran, by the gate's account, against the store's: its own deliveries, and how often it was
/// handed back.
pub(super) fn of_runs(job: &JobDocument, own: &[&Delivery], handed_back: u32) -> Vec<Violation> {
    if !DELIVERED.contains(&job.kind.as_str()) {
        return Vec::new();
    }
    let mut violations = Vec::new();
    if own.iter().any(|delivery| delivery.overlaps) {
        violations.push(Violation::RanTwiceAtOnce { job: job.id });
    }
    let (runs, accounted) = (own.len() as u32, job.attempt + job.interruptions + handed_back);
    if runs > accounted {
        violations.push(Violation::RanTooOften { job: job.id, deliveries: runs, accounted });
    }
    let answered = own.iter().any(|delivery| delivery.fate == Fate::Answered);
    if job.state == JobState::Completed && !answered {
        violations.push(Violation::CompletedUnseen { job: job.id });
    }
    violations
}
