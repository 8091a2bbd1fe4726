use rusqlite::Result;
use steadfast_domain::{Change, Event, Fence, JobError, JobState, Timestamp};
use steadfast_queue::store::{ClaimLost, End, Settlement};

use crate::row::Stored;
use crate::transaction::Transaction;

/// The code of a job that is `dead` because its attempts were interrupted too often.
const INTERRUPTED: &str = "interrupted";

impl Transaction<'_, '_> {
    /// Records how an attempt ended, or answers a repeat as the first time.
    pub(crate) fn settle(
        &mut self,
        settlement: &Settlement,
    ) -> Result<std::result::Result<Change, ClaimLost>> {
        let Settlement { id, end } = settlement;
        let held = self.memory.claims().held(*id, self.now).map(|claim| claim.cancel_requested);
        let Some(stored) = self.find(id.job)? else { return Ok(Err(ClaimLost)) };
        let Ok(cancel_requested) = held else {
            let repeat = stored.settled_under(id.fence).filter(|change| can_end_as(end, change.state));
            return Ok(repeat.ok_or(ClaimLost));
        };
        let now = self.now;
        let change = self.change(stored, event_of(end, cancel_requested), |stored, state| {
            record_end(stored, end, id.fence, state, now);
        })?;
        self.let_suspects_run();
        Ok(change.ok_or(ClaimLost))
    }

    /// Takes back a claimed job whose holder is lost: its attempt is refunded, the interruption counted.
    pub(crate) fn interrupt(&mut self, stored: Stored) -> Result<()> {
        let interruptions = stored.job.interruptions + 1;
        let event = if stored.is_cancel_requested() {
            Event::Cancel
        } else if interruptions >= self.limits.interruptions_max {
            Event::Die
        } else {
            Event::HandBack
        };
        let now = self.now;
        self.change(stored, event, |stored, state| {
            let job = &mut stored.job;
            if state == JobState::Dead {
                let message = format!("interrupted {interruptions} times, which is the most allowed");
                job.push_error(JobError::new(job.attempt, now, INTERRUPTED, &message));
            }
            job.attempt -= 1;
            job.interruptions = interruptions;
            job.run_at = now;
        })?;
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

fn event_of(end: &End, cancel_requested: bool) -> Event {
    match end {
        End::Completed { .. } => Event::Complete,
        End::Retry { .. } | End::Dead { .. } | End::HandBack { .. } if cancel_requested => Event::Cancel,
        End::Retry { .. } => Event::Retry,
        End::Dead { .. } => Event::Die,
        End::Cancelled => Event::Cancel,
        End::HandBack { .. } => Event::HandBack,
    }
}

/// Whether a settlement that led to `state` may have been this one, so that it is a repeat. A result that
/// comes after its attempt was handed back under the same token is not.
fn can_end_as(end: &End, state: JobState) -> bool {
    let may_lead =
        |cancel_requested| JobState::Processing.after(event_of(end, cancel_requested)) == Some(state);
    may_lead(false) || may_lead(true)
}

/// What an attempt's end changes beside the state.
fn record_end(stored: &mut Stored, end: &End, fence: Fence, state: JobState, now: Timestamp) {
    stored.settled = Some((fence, stored.job.version.next()));
    let job = &mut stored.job;
    if let (false, End::Retry { after, .. } | End::HandBack { after, .. }) = (state.is_terminal(), end) {
        job.run_at = now.plus(*after);
    }
    match end {
        End::Completed { result } => job.result = result.clone(),
        End::Retry { error, .. } | End::Dead { error } => {
            job.push_error(JobError::new(job.attempt, now, &error.code, &error.message));
        }
        End::Cancelled => {}
        End::HandBack { checkpoint, .. } => {
            job.attempt -= 1;
            if checkpoint.is_some() {
                job.checkpoint.clone_from(checkpoint);
            }
        }
    }
}
