use steadfast_domain::{Change, Event, JobError, JobId, JobState};

use super::clock::Now;
use super::state::{Entry, State};
use crate::store::{Cancel, ClaimId, ClaimLost, End, Hint, Settlement};

/// The code of a job that is `dead` because its attempts were interrupted too often.
const INTERRUPTED: &str = "interrupted";

impl State {
    pub(super) fn settle(&mut self, settlement: Settlement, now: Now) -> Result<Change, ClaimLost> {
        let Settlement { id, end } = settlement;
        let entry = self.jobs.get(&id.job).ok_or(ClaimLost)?;
        if let Some((fence, change)) = entry.settled
            && fence == id.fence
        {
            return if can_end_as(&end, change.state) { Ok(change) } else { Err(ClaimLost) };
        }
        let cancel_requested = self.held(id, now)?.job.cancel_requested;
        let event = event_of(&end, cancel_requested);
        let change = self.change(id.job, event, now, |entry, state| record_end(entry, end, state, now));
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

    /// Takes back a job whose claim lapsed: its attempt is refunded, and the interruption counted.
    pub(super) fn interrupt(&mut self, id: JobId, now: Now) {
        let Some(entry) = self.jobs.get(&id) else { return };
        let interruptions = entry.job.interruptions + 1;
        let event = if entry.job.cancel_requested {
            Event::Cancel
        } else if interruptions >= self.limits.interruptions_max {
            Event::Die
        } else {
            Event::HandBack
        };
        self.change(id, event, now, |entry, state| {
            let job = &mut entry.job;
            if state == JobState::Dead {
                let message =
                    format!("the attempt was interrupted; {interruptions} were, which is the most allowed");
                job.push_error(JobError::new(job.attempt, now.at, INTERRUPTED, &message));
            }
            job.attempt -= 1;
            job.interruptions = interruptions;
            job.run_at = now.at;
        });
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
    [false, true]
        .into_iter()
        .any(|requested| JobState::Processing.after(event_of(end, requested)) == Some(state))
}

/// What an attempt's end changes beside the state.
fn record_end(entry: &mut Entry, end: End, state: JobState, now: Now) {
    let job = &mut entry.job;
    let due_after = match &end {
        End::Retry { after, .. } | End::HandBack { after, .. } => *after,
        End::Completed { .. } | End::Dead { .. } | End::Cancelled => Default::default(),
    };
    if !state.is_terminal() {
        job.run_at = now.at.plus(due_after);
    }
    match end {
        End::Completed { result } => job.result = result,
        End::Retry { error, .. } | End::Dead { error } => {
            job.push_error(JobError::new(job.attempt, now.at, &error.code, &error.message));
        }
        End::Cancelled => {}
        End::HandBack { checkpoint, .. } => {
            job.attempt -= 1;
            if checkpoint.is_some() {
                job.checkpoint = checkpoint;
            }
        }
    }
}
