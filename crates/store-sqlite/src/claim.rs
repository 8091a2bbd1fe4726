use std::time::Duration;

use rusqlite::Result;
use steadfast_domain::{Event, JobId, JobState, Timestamp};
use steadfast_queue::store::{
    Cancel, ClaimId, ClaimLost, ClaimRequest, Claimed, Owner, Renewal, Renewed, Want,
};

use crate::claims::Claim;
use crate::memory::Entry;
use crate::row::Stored;
use crate::transaction::Transaction;

impl Transaction<'_, '_> {
    /// Each want up to its share, then without shares up to `max`, in ready order.
    pub(crate) fn claim(&mut self, request: &ClaimRequest) -> Result<Vec<Claimed>> {
        let mut taken = Vec::new();
        for want in &request.wants {
            let enough = request.max.min(taken.len().saturating_add(want.share));
            self.take_until(enough, std::slice::from_ref(want), request, &mut taken)?;
        }
        self.take_until(request.max, &request.wants, request, &mut taken)?;
        Ok(taken)
    }

    /// Takes from these wants until `enough` are taken or nothing is left. What it finds expired on the way
    /// ends here: work that the job's submission has paid for.
    fn take_until(
        &mut self,
        enough: usize,
        wants: &[Want],
        request: &ClaimRequest,
        taken: &mut Vec<Claimed>,
    ) -> Result<()> {
        while taken.len() < enough {
            let picked = self.memory.pick(request, wants, enough - taken.len(), self.now);
            if picked.is_empty() {
                break;
            }
            for stored in self.jobs_to_run(&picked)? {
                if stored.job.expires_at().is_some_and(|at| at <= self.now) {
                    self.change(stored, Event::Expire, |_, _| ())?;
                } else {
                    taken.push(self.take(stored, request)?);
                }
            }
        }
        Ok(())
    }

    /// Makes the claim. The job's own rows stay as they are, and so does its version.
    fn take(&mut self, stored: Stored, request: &ClaimRequest) -> Result<Claimed> {
        let owner = request.owner.to_string();
        self.memory.recent.keep_claimed(&stored, &owner, self.now);
        let mut job = stored.into_job(self.now);
        let id = ClaimId { job: job.id, fence: self.numbers.next_fence() };
        let claim = Claim {
            job: job.id,
            fence: id.fence,
            owner: request.owner.clone(),
            started_at: self.now,
            expires_at: lease_end(&request.owner, request.lease, self.now),
            cancel_requested: false,
            interruptions: job.interruptions,
        };
        let expires_at = claim.expires_at.map(Timestamp::unix_ms);
        let row = (job.id.high() as i64, id.fence.0 as i64, &owner, self.now.unix_ms(), expires_at);
        self.statements.insert_claim.execute(row)?;
        self.memory.set_claim(job.id.high(), Some(claim));
        if let Some(queue) = self.memory.queues.find(&job.queue) {
            let before = Entry::of(&job, queue);
            let after = Entry { state: JobState::Processing, ..before.clone() };
            self.moved(Some(before), Some(after));
        }
        job.state = JobState::Processing;
        job.attempt += 1;
        job.started_at = Some(self.now);
        job.owner = Some(owner);
        let valid_for = valid_for(&request.owner, request.lease);
        Ok(Claimed { id, job, valid_for })
    }

    /// Heartbeat of one claim.
    pub(crate) fn renew(&mut self, renewal: &Renewal) -> Result<std::result::Result<Renewed, ClaimLost>> {
        let mut claim = match self.memory.claims().held(renewal.id, renewal.by, self.now) {
            Ok(claim) => claim.clone(),
            Err(lost) => return Ok(Err(lost)),
        };
        claim.expires_at = lease_end(&claim.owner, renewal.lease, self.now);
        let renewed = Renewed {
            valid_for: valid_for(&claim.owner, renewal.lease),
            cancel_requested: claim.cancel_requested,
        };
        let (progress, checkpoint) = (renewal.progress.as_ref(), renewal.checkpoint.as_ref());
        if claim.expires_at.is_some() || progress.is_some() || checkpoint.is_some() {
            let job = renewal.id.job.high();
            let expires_at = claim.expires_at.map(Timestamp::unix_ms);
            if progress.is_some() || checkpoint.is_some() {
                self.memory.recent.take(job);
            }
            let (progress, checkpoint) = (progress.map(|p| p.as_str()), checkpoint.map(|c| c.as_str()));
            self.statements.renew_claim.execute((job as i64, expires_at, progress, checkpoint))?;
            self.memory.set_claim(job, Some(claim));
        }
        Ok(Ok(renewed))
    }

    /// Ends an unclaimed job; of a claimed one stores the request and hints its holder.
    pub(crate) fn cancel(&mut self, id: JobId) -> Result<Cancel> {
        if let Some(claim) = self.memory.claims().get(id) {
            let claim = Claim { cancel_requested: true, ..claim.clone() };
            self.effects.cancels.push(ClaimId { job: id, fence: claim.fence });
            self.memory.recent.take(id.high());
            self.statements.request_cancel.execute([id.high() as i64])?;
            self.memory.set_claim(id.high(), Some(claim));
            return Ok(Cancel::Requested);
        }
        let Some(stored) = self.find(id)? else { return Ok(Cancel::NotFound) };
        let state = stored.job.state;
        let change = self.change(stored, Event::Cancel, |_, _| ())?;
        Ok(change.map_or(Cancel::AlreadyTerminal(state), Cancel::Done))
    }
}

/// Through which moment a claim made or renewed now holds.
fn lease_end(owner: &Owner, lease: Duration, now: Timestamp) -> Option<Timestamp> {
    match owner {
        Owner::Process(_) => None,
        Owner::Worker(_) => Some(now.plus(lease)),
    }
}

/// A process's claim cannot outlive it: the file has one process at a time.
fn valid_for(owner: &Owner, lease: Duration) -> Duration {
    match owner {
        Owner::Process(_) => Duration::MAX,
        Owner::Worker(_) => lease,
    }
}
