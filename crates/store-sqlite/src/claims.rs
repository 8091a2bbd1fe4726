use std::collections::{BTreeSet, HashMap};

use steadfast_domain::{Fence, JobId, Timestamp};
use steadfast_queue::store::{ClaimId, ClaimLost, Owner, SUSPECT_ALONE_FOR, Speaker, StoreLimits};

use crate::ready::is_suspect;

/// Every claim, in memory: as many as there are attempts running here and with remote workers.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    by_job: HashMap<u64, Claim>,
    lapsing: BTreeSet<(Timestamp, u64)>,
    /// Jobs being run that were interrupted often: a few.
    suspects: Vec<u64>,
}

/// Who runs a job.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    pub(crate) job: JobId,
    pub(crate) fence: Fence,
    pub(crate) owner: Owner,
    pub(crate) started_at: Timestamp,
    /// When it lapses; a process's claim never does. The clock's milliseconds are cut off, so it holds
    /// through this one: no holder still believes in a claim that the store has given up.
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) cancel_requested: bool,
    /// How often the job had been interrupted when it was claimed.
    pub(crate) interruptions: u32,
}

impl Claims {
    /// Makes `claim` the claim on `job`, and returns the one before.
    pub(crate) fn set(&mut self, job: u64, claim: Option<Claim>) -> Option<Claim> {
        let before = self.by_job.remove(&job);
        if let Some(before) = &before {
            if let Some(at) = before.expires_at {
                self.lapsing.remove(&(at, job));
            }
            if is_suspect(before.interruptions) {
                self.suspects.retain(|suspect| *suspect != job);
            }
        }
        if let Some(claim) = claim {
            if let Some(at) = claim.expires_at {
                self.lapsing.insert((at, job));
            }
            if is_suspect(claim.interruptions) {
                self.suspects.push(job);
            }
            self.by_job.insert(job, claim);
        }
        before
    }

    /// Whether the job in this row is claimed.
    pub(crate) fn has(&self, job: u64) -> bool {
        self.by_job.contains_key(&job)
    }

    /// The claim on a job.
    pub(crate) fn get(&self, job: JobId) -> Option<&Claim> {
        self.by_job.get(&job.high()).filter(|claim| claim.job == job)
    }

    /// The claim of that name, while it holds: from the moment its lease ends it is lost, whether or not
    /// housekeeping has come to it. Lost also to a speaker whose claim it is not.
    pub(crate) fn held(&self, id: ClaimId, by: Speaker, now: Timestamp) -> Result<&Claim, ClaimLost> {
        let lasts = |claim: &Claim| claim.expires_at.is_none_or(|at| at >= now);
        let holds =
            |claim: &&Claim| claim.fence == id.fence && by.may_speak_for(&claim.owner) && lasts(claim);
        self.get(id.job).filter(holds).ok_or(ClaimLost)
    }

    /// The claim that lapses first, and the last moment through which it holds.
    pub(crate) fn first_to_lapse(&self) -> Option<(Timestamp, JobId)> {
        let (at, job) = self.lapsing.first()?;
        Some((*at, self.by_job.get(job)?.job))
    }

    /// Whether an owner may take a suspect that was interrupted this often: not beside one that is to be
    /// alone for a while yet (through the last millisecond, since times are cut to them), and not while
    /// either of them is on its last chance.
    pub(crate) fn may_take_suspect(
        &self,
        owner: &Owner,
        interruptions: u32,
        limits: &StoreLimits,
        now: Timestamp,
    ) -> bool {
        self.suspects().filter(|claim| claim.owner == *owner).all(|beside| {
            let both = [interruptions, beside.interruptions];
            now.since(beside.started_at) > SUSPECT_ALONE_FOR
                && !both.into_iter().any(|interruptions| limits.is_last_chance(interruptions))
        })
    }

    /// When the next suspect may join one that runs.
    pub(crate) fn next_suspect_at(&self, now: Timestamp) -> Option<Timestamp> {
        let ends = self.suspects().map(|claim| claim.started_at.plus(SUSPECT_ALONE_FOR));
        ends.filter(|at| *at >= now).min()
    }

    fn suspects(&self) -> impl Iterator<Item = &Claim> {
        self.suspects.iter().filter_map(|job| self.by_job.get(job))
    }
}
