use rusqlite::Result;
use steadfast_domain::Change;
use steadfast_queue::store::{ClaimLost, Interruption, Settlement};

use crate::row::Stored;
use crate::transaction::Transaction;

impl Transaction<'_, '_> {
    /// Records how an attempt ended, or answers a repeat as the first time.
    pub(crate) fn settle(
        &mut self,
        settlement: &Settlement,
    ) -> Result<std::result::Result<Change, ClaimLost>> {
        let Settlement { id, by, end } = settlement;
        let held = self.memory.claims().held(*id, *by, self.now).map(|claim| claim.cancel_requested);
        let Some(stored) = self.find(id.job)? else { return Ok(Err(ClaimLost)) };
        let Ok(cancel_requested) = held else {
            let repeat = stored.settled_under(id.fence).filter(|change| end.may_lead_to(change.state));
            return Ok(repeat.ok_or(ClaimLost));
        };
        let now = self.now;
        let change = self.change(stored, end.event(cancel_requested), |stored, state| {
            stored.settled = Some((id.fence, stored.job.version.next()));
            end.clone().record(&mut stored.job, state, now);
        })?;
        self.let_suspects_run();
        Ok(change.ok_or(ClaimLost))
    }

    /// Takes back a claimed job whose holder is lost: its attempt is refunded, the interruption counted.
    pub(crate) fn interrupt(&mut self, stored: Stored) -> Result<()> {
        let interruption =
            Interruption::of(&stored.job, stored.is_cancel_requested(), self.limits.interruptions_max);
        let now = self.now;
        self.change(stored, interruption.event(), |stored, _| interruption.record(&mut stored.job, now))?;
        self.let_suspects_run();
        Ok(())
    }

    /// A suspect that was waiting for another one to end may run now.
    pub(crate) fn let_suspects_run(&mut self) {
        for queue in self.memory.queues.with_suspects() {
            self.effects.ready(queue);
        }
    }
}
