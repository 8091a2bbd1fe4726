use steadfast_domain::{Change, Event, JobId};

use super::clock::Now;
use super::state::State;
use crate::store::{Cancel, ClaimId, ClaimLost, Hint, Interruption, Settlement};

impl State {
    pub(super) fn settle(&mut self, settlement: Settlement, now: Now) -> Result<Change, ClaimLost> {
        let Settlement { id, by, end } = settlement;
        let entry = self.jobs.get(&id.job).ok_or(ClaimLost)?;
        if let Some((fence, change)) = entry.settled
            && fence == id.fence
        {
            return if end.may_lead_to(change.state) { Ok(change) } else { Err(ClaimLost) };
        }
        let cancel_requested = self.held(id, by, now)?.job.cancel_requested;
        let event = end.event(cancel_requested);
        let change = self.change(id.job, event, now, |entry, state| {
            end.record(&mut entry.job, state, now.at);
        });
        let change = change.ok_or(ClaimLost)?;
        if let Some(entry) = self.jobs.get_mut(&id.job) {
            entry.settled = Some((id.fence, change));
        }
        Ok(change)
    }

    pub(super) fn cancel(&mut self, id: JobId, now: Now) -> Cancel {
        let Some(entry) = self.jobs.get_mut(&id) else {
            return Cancel::NotFound;
        };
        if let Some(claim) = &entry.claim {
            entry.job.cancel_requested = true;
            let holder = ClaimId { job: id, fence: claim.fence };
            self.hint(Hint::CancelRequested(holder));
            return Cancel::Requested;
        }
        let state = entry.job.state;
        match self.change(id, Event::Cancel, now, |_, _| ()) {
            Some(change) => Cancel::Done(change),
            None => Cancel::AlreadyTerminal(state),
        }
    }

    /// Takes back a job whose claim lapsed.
    pub(super) fn interrupt(&mut self, id: JobId, now: Now) {
        let Some(entry) = self.jobs.get(&id) else { return };
        let interruption =
            Interruption::of(&entry.job, entry.job.cancel_requested, self.limits.interruptions_max);
        self.change(id, interruption.event(), now, |entry, _| interruption.record(&mut entry.job, now.at));
    }
}
