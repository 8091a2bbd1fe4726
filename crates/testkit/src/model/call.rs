//! A call of the store, and what it answered.

use std::time::Duration;

use steadfast_domain::{Change, Job, JobId, NewJob};
use steadfast_queue::store::{
    Cancel, ClaimId, ClaimLost, Claimed, End, How, IdempotencyKey, Refusal, Renewal, Renewed, Speaker,
    Submitted, Want,
};

use super::step::{By, Ending, Span};
use crate::conformance::subject::{LONG, Subject, completed, dead, hand_back, retry, want_kinds, worker};

/// One call, ready to be made.
#[derive(Debug, Clone)]
pub(super) enum Call {
    Submit { jobs: Vec<NewJob>, key: Option<IdempotencyKey> },
    Claim { by: By, kinds: Vec<String>, max: usize, lease: Span },
    Settle { claim: ClaimId, end: Ending },
    Renew { claim: ClaimId, lease: Span },
    Cancel(JobId),
    Reopen(JobId),
    Pause(bool),
}

/// What it answered.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    Submit(Result<Vec<Submitted>, Refusal>),
    Claim(Vec<Claimed>),
    Settle(Result<Change, ClaimLost>),
    Renew(Result<Renewed, ClaimLost>),
    Cancel(Cancel),
    Reopen(Result<Change, Refusal>),
    Pause,
}

impl Call {
    pub(super) async fn make(&self, store: &Subject) -> Answer {
        match self {
            Self::Submit { jobs, key } => Answer::Submit(store.try_submit(jobs.clone(), key.clone()).await),
            Self::Claim { by, kinds, max, lease } => {
                let owner = match by {
                    By::Process => store.owner.clone(),
                    By::Worker => worker("w"),
                };
                Answer::Claim(store.claim_as(&owner, vec![wanted(kinds)], *max, lease_of(*by, *lease)).await)
            }
            Self::Settle { claim, end } => Answer::Settle(store.settle(*claim, end.end()).await),
            Self::Renew { claim, lease } => {
                let renewal = Renewal {
                    id: *claim,
                    by: Speaker::Server,
                    lease: lease.duration(),
                    progress: None,
                    checkpoint: None,
                };
                Answer::Renew(store.report(renewal).await)
            }
            Self::Cancel(id) => Answer::Cancel(store.cancel(*id).await),
            Self::Reopen(id) => Answer::Reopen(store.reopen(*id).await),
            Self::Pause(paused) => {
                store.pause("default", *paused).await;
                Answer::Pause
            }
        }
    }
}

impl Answer {
    /// A submission was accepted, and these are its jobs.
    pub(super) fn submitted(jobs: Vec<Job>) -> Self {
        Self::Submit(Ok(jobs.into_iter().map(|job| Submitted { job, how: How::Accepted }).collect()))
    }

    /// The call made this change of one job; `None` when it is no such call.
    pub(super) fn changed(call: &Call, change: Change) -> Option<Self> {
        match call {
            Call::Settle { .. } => Some(Self::Settle(Ok(change))),
            Call::Cancel(_) => Some(Self::Cancel(Cancel::Done(change))),
            Call::Reopen(_) => Some(Self::Reopen(Ok(change))),
            _ => None,
        }
    }
}

impl Ending {
    fn end(self) -> End {
        match self {
            Self::Completed => completed(),
            Self::Retry(after) => retry(after.duration()),
            Self::Dead => dead(),
            Self::Cancelled => End::Cancelled,
            Self::HandBack(after) => hand_back(after.duration()),
        }
    }
}

fn wanted(kinds: &[String]) -> Want {
    let kinds: Vec<&str> = kinds.iter().map(String::as_str).collect();
    want_kinds("default", &kinds)
}

/// A process renews what it holds, as far as its store lets claims lapse at all: none of its own do here.
fn lease_of(by: By, lease: Span) -> Duration {
    match by {
        By::Process => LONG,
        By::Worker => lease.duration(),
    }
}
