use std::fmt;

use steadfast_domain::{JobId, JobState};
use steadfast_wire::JobDocument;

use super::{Expected, Mark, Told};

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
    /// A job that no client of this history sent.
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
