use std::fmt;

use steadfast_domain::{JobId, JobState};
use steadfast_wire::JobDocument;

use super::{Expected, Mark, Told};
use crate::gate::{Delivery, Fate};
use crate::stubborn::STUBBORN;

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Violation {
    /// A client was told 202, and the job is gone.
    Lost {
        /// Of which submit.
        mark: Mark,
        /// The job it was told of.
        job: JobId,
    },
    /// A client was told 202 for one job, and another exists under its mark as well.
    Doubled {
        /// Of which submit.
        mark: Mark,
        /// The job nobody was told of.
        job: JobId,
    },
    /// A client was told `"outcome":"none"`, and there is a job.
    LeftBehind {
        /// Of which submit.
        mark: Mark,
        /// The job.
        job: JobId,
    },
    /// A submit without a certain answer is there in part, or more than once.
    NotWhole {
        /// Which submit.
        mark: Mark,
        /// Its jobs in the store.
        found: usize,
        /// Its jobs as sent.
        sent: usize,
    },
    /// A job that no client of the test sent.
    Invented {
        /// The job.
        job: JobId,
    },
    /// A job is in a state it must not be in.
    WrongState {
        /// The job.
        job: JobId,
        /// Its state.
        state: JobState,
        /// What was expected of all jobs.
        expected: Expected,
    },
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
            Self::Lost { mark, job } => {
                write!(f, "lost: submit {mark} was told 202 for {job}, which is gone")
            }
            Self::Doubled { mark, job } => write!(f, "doubled: submit {mark} also made {job}"),
            Self::LeftBehind { mark, job } => {
                write!(f, "left behind: submit {mark} was told that nothing happened, and made {job}")
            }
            Self::NotWhole { mark, found, sent } => {
                write!(f, "not whole: submit {mark} had {sent} jobs, {found} are stored")
            }
            Self::Invented { job } => write!(f, "invented: nobody sent {job}"),
            Self::WrongState { job, state, expected } => {
                write!(f, "wrong state: {job} is {}, expected {expected:?}", state.as_str())
            }
            Self::RanTwiceAtOnce { job } => write!(f, "ran twice at once: {job}"),
            Self::RanTooOften { job, deliveries, accounted } => {
                write!(f, "ran too often: {job} was delivered {deliveries} times, {accounted} accounted for")
            }
            Self::CompletedUnseen { job } => write!(f, "completed unseen: {job} never reached the gate"),
        }
    }
}

/// What the store has under a mark, against what its sender was told.
pub(super) fn of_answer(mark: Mark, sent: usize, told: &Told, found: &[&JobDocument]) -> Vec<Violation> {
    let ids: Vec<JobId> = found.iter().map(|job| job.id).collect();
    match told {
        Told::Accepted(promised) => {
            let lost = promised.iter().filter(|id| !ids.contains(id));
            let doubled = ids.iter().filter(|id| !promised.contains(id));
            lost.map(|job| Violation::Lost { mark, job: *job })
                .chain(doubled.map(|job| Violation::Doubled { mark, job: *job }))
                .collect()
        }
        Told::Refused => ids.into_iter().map(|job| Violation::LeftBehind { mark, job }).collect(),
        Told::Unknown if ids.is_empty() || ids.len() == sent => Vec::new(),
        Told::Unknown => vec![Violation::NotWhole { mark, found: ids.len(), sent }],
    }
}

/// A job's state against what is expected of all.
pub(super) fn of_state(job: &JobDocument, expected: Expected) -> Option<Violation> {
    let allowed = match expected {
        Expected::Ended => job.state.is_terminal(),
        Expected::AtRest => job.state != JobState::Processing,
        Expected::Any => true,
    };
    (!allowed).then_some(Violation::WrongState { job: job.id, state: job.state, expected })
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
