use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use steadfast_domain::{BootId, Fence, Invalid, Job, JobId, KindName, QueueName, RawJson, WorkerName};

/// How long a suspect keeps the next one waiting when it does not end.
pub const SUSPECT_ALONE_FOR: Duration = Duration::from_secs(5);

/// Interruptions from which on a job is a suspect.
pub const SUSPECT_INTERRUPTIONS: u32 = 2;

/// A request for work.
#[derive(Debug, Clone)]
pub struct ClaimRequest {
    /// Who asks.
    pub owner: Owner,
    /// From where, what, and how much of each.
    pub wants: Vec<Want>,
    /// Jobs in all; at least 1.
    pub max: usize,
    /// How long the claims hold without a renewal.
    pub lease: Duration,
}

/// Who holds a claim.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Owner {
    /// A server process's own pool. A one-process store recovers the claims of earlier boots as it opens.
    Process(BootId),
    /// A remote worker; its leases keep their expiry across restarts.
    Worker(WorkerName),
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process(boot) => write!(f, "process:{boot}"),
            Self::Worker(name) => write!(f, "worker:{name}"),
        }
    }
}

/// As it writes itself.
impl FromStr for Owner {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if let Some(worker) = text.strip_prefix("worker:") {
            return WorkerName::new(worker).map(Self::Worker);
        }
        let boot = text.strip_prefix("process:").and_then(|hex| u128::from_str_radix(hex, 16).ok());
        let boot = boot.ok_or_else(|| Invalid::new("an owner is a process or a worker"))?;
        Ok(Self::Process(BootId::from_random(boot)))
    }
}

/// Who says something under a claim. Lease ids can be guessed: they name a job and a number that is counted up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Speaker {
    /// This process: it made the claim, or acts for whoever it made it for.
    Server,
    /// Somebody who named a lease. Only a worker's claim can be meant: of what processes run, outsiders hold nothing.
    Worker,
}

impl Speaker {
    /// Whether it may speak under a claim of `owner`.
    pub fn may_speak_for(self, owner: &Owner) -> bool {
        self == Self::Server || matches!(owner, Owner::Worker(_))
    }
}

/// One queue's part of a [`ClaimRequest`].
#[derive(Debug, Clone)]
pub struct Want {
    /// From which queue.
    pub queue: QueueName,
    /// Which kinds the owner can run; any if `None`. It is never given another.
    pub kinds: Option<Arc<[KindName]>>,
    /// Jobs from this queue before the others have had their shares.
    pub share: usize,
}

/// Names one claim. The public lease id encodes both halves, so no store needs an index on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClaimId {
    /// The claimed job.
    pub job: JobId,
    /// The claim's fencing token.
    pub fence: Fence,
}

/// A job taken to be run.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// The claim.
    pub id: ClaimId,
    /// The job: `processing`, with `attempt` counting this one.
    pub job: Job,
    /// How long the claim holds, counted from before the call; `Duration::MAX` where a process's claim
    /// cannot outlive it (one-process stores).
    pub valid_for: Duration,
}

/// One claim's heartbeat.
#[derive(Debug, Clone)]
pub struct Renewal {
    /// Which claim.
    pub id: ClaimId,
    /// Who renews it.
    pub by: Speaker,
    /// How long it is to hold from now.
    pub lease: Duration,
    /// What the handler reports.
    pub progress: Option<RawJson>,
    /// What the next attempt is to find if this one is lost.
    pub checkpoint: Option<RawJson>,
}

/// The answer to a [`Renewal`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renewed {
    /// How long the claim holds, counted from before the call.
    pub valid_for: Duration,
    /// Whether the attempt is to stop for good.
    pub cancel_requested: bool,
}

/// The claim is superseded, lapsed, was settled under another token, or is not the [`Speaker`]'s: whoever held it must
/// not speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the claim is lost")]
pub struct ClaimLost;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_reads_itself_back_and_nothing_else_is_one() {
        let boot = Owner::Process(BootId::from_random(0x0abc));
        let worker = Owner::Worker(WorkerName::new("process:host-1").unwrap());
        for owner in [boot, worker] {
            assert_eq!(owner.to_string().parse(), Ok(owner));
        }
        for bad in ["", "worker:", "process:", "process:xyz", "host-1"] {
            assert!(bad.parse::<Owner>().is_err(), "{bad}");
        }
    }
}
