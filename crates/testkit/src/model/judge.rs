//! Whether an answer may be, and what it tells.

use steadfast_domain::{Change, Event, Fence, JobId, JobState};
use steadfast_queue::store::{Cancel, ClaimId, ClaimLost, Claimed, Refusal, Renewed};

use super::call::{Answer, Call};
use super::known::{Held, Known, place_of};
use super::step::{By, Ending, Span};
use super::submitting::CAPACITY;
use super::world::{Disagreement, World};

/// A call and its answer.
pub(super) type Made<'a> = (&'a Call, &'a Answer);

impl World {
    /// Takes an answer for true, or says why it cannot be. `beside`: the call that was made at the same time.
    pub(super) fn judge(
        &mut self,
        (call, answer): Made<'_>,
        beside: Option<Made<'_>>,
    ) -> Result<(), Disagreement> {
        let judged = match (call, answer) {
            (Call::Submit { .. }, Answer::Submit(Err(Refusal::KeyInFlight))) if beside.is_some() => Ok(()),
            (Call::Submit { jobs, key }, Answer::Submit(answer)) => {
                self.judge_submit(jobs, key.as_ref(), answer)
            }
            (Call::Claim { by, kinds, max, lease }, Answer::Claim(claimed)) => {
                let brief = matches!((by, lease), (By::Worker, Span::Brief));
                let held = |fence| Held { fence, brief, ..Held::by(*by) };
                self.judge_claimed(kinds, *max, claimed, held)?;
                self.judge_left(kinds, *max, claimed, &beside.map(jobs_of).unwrap_or_default())
            }
            (Call::Settle { claim, end }, Answer::Settle(answer)) => self.judge_settle(*claim, *end, answer),
            (Call::Renew { claim, lease }, Answer::Renew(answer)) => self.judge_renew(*claim, *lease, answer),
            (Call::Cancel(id), Answer::Cancel(answer)) => self.judge_cancel(*id, answer),
            (Call::Reopen(id), Answer::Reopen(answer)) => self.judge_reopen(*id, answer),
            (Call::Pause(paused), Answer::Pause) => {
                self.paused = *paused;
                Ok(())
            }
            _ => Err("an answer to another call".to_owned()),
        };
        judged.map_err(|error| format!("{error}\n{call:?}\nanswered {answer:?}"))
    }

    /// Of all that may have become of the job, what `wanted` makes something of.
    pub(super) fn learn(
        &mut self,
        id: JobId,
        wanted: impl Fn(&Known) -> Option<Known>,
    ) -> Result<(), Disagreement> {
        let known = self.jobs.get_mut(&id).ok_or("there is no such job")?;
        let learnt = known.may_be().iter().find_map(wanted);
        *known = learnt.ok_or_else(|| format!("that cannot be of {known:#?}"))?;
        Ok(())
    }

    fn judge_claimed(
        &mut self,
        kinds: &[String],
        max: usize,
        claimed: &[Claimed],
        held: impl Fn(Fence) -> Held,
    ) -> Result<(), Disagreement> {
        if claimed.len() > max || self.paused && !claimed.is_empty() {
            return Err(format!("{} jobs of a queue that is paused: {}", claimed.len(), self.paused));
        }
        if !claimed.is_sorted_by_key(|claimed| place_of(&claimed.job)) {
            return Err("not in ready order".to_owned());
        }
        for claimed in claimed {
            self.learn(claimed.id.job, |known| {
                let fence = claimed.id.fence;
                let taken = Known {
                    state: JobState::Processing,
                    attempt: known.attempt + 1,
                    held: Some(held(fence)),
                    newest: fence,
                    ..known.clone()
                };
                (known.is_ready() && fence > known.newest && is_of(known, kinds) && taken.is(&claimed.job))
                    .then_some(taken)
            })?;
            self.claims.push(claimed.id);
        }
        Ok(())
    }

    /// What a claim left has its place behind what it took. It need not wait for jobs that another call holds.
    fn judge_left(
        &self,
        kinds: &[String],
        max: usize,
        claimed: &[Claimed],
        held_by_others: &[JobId],
    ) -> Result<(), Disagreement> {
        let last = claimed.last().filter(|_| claimed.len() == max).map(|claimed| place_of(&claimed.job));
        let left = |known: &&Known| {
            let is_ready = !self.paused && known.may_be().iter().all(Known::is_ready);
            is_ready && is_of(known, kinds) && !held_by_others.contains(&known.id)
        };
        for known in self.jobs.values().filter(left) {
            match (last, known.place) {
                (None, _) => return Err(format!("this one was left: {known:#?}")),
                (Some(last), Some(place)) if place < last => {
                    return Err(format!("this one has its place before: {known:#?}"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn judge_settle(
        &mut self,
        claim: ClaimId,
        end: Ending,
        answer: &Result<Change, ClaimLost>,
    ) -> Result<(), Disagreement> {
        let fence = claim.fence;
        self.learn(claim.job, |known| match answer {
            Ok(change) if known.repeats(fence, end).is_some() => {
                (known.repeats(fence, end) == Some(*change)).then(|| known.clone())
            }
            Ok(change) => known.holds(fence).and_then(|_| known.settled(fence, end, change)),
            Err(ClaimLost) => known.loses(fence).filter(|_| known.repeats(fence, end).is_none()),
        })
    }

    fn judge_renew(
        &mut self,
        claim: ClaimId,
        lease: Span,
        answer: &Result<Renewed, ClaimLost>,
    ) -> Result<(), Disagreement> {
        self.learn(claim.job, |known| match answer {
            Ok(renewed) => {
                let held = known.holds(claim.fence)?;
                let held = Held { brief: lease == Span::Brief, ..held };
                let agrees = renewed.cancel_requested == known.cancel_requested;
                agrees.then(|| Known { held: Some(held), ..known.clone() })
            }
            Err(ClaimLost) => known.loses(claim.fence),
        })
    }

    fn judge_cancel(&mut self, id: JobId, answer: &Cancel) -> Result<(), Disagreement> {
        self.learn(id, |known| match *answer {
            Cancel::Done(change) => known.waits().then(|| known.changed(Event::Cancel, &change))?,
            Cancel::Requested => known.held.map(|_| Known { cancel_requested: true, ..known.clone() }),
            Cancel::AlreadyTerminal(state) => {
                (state == known.state && !known.is_live()).then(|| known.clone())
            }
            Cancel::NotFound => None,
        })
    }

    fn judge_reopen(&mut self, id: JobId, answer: &Result<Change, Refusal>) -> Result<(), Disagreement> {
        let unique = self.jobs.get(&id).and_then(|known| known.unique.clone());
        let others = || self.jobs.values().filter(|known| known.id != id && known.unique == unique);
        let may_be_taken = unique.is_some() && others().any(Known::may_live);
        let is_taken = unique.is_some() && others().any(Known::must_live);
        let (least, most) = self.live();
        let has_room = |live: u64| live < CAPACITY;
        self.learn(id, |known| {
            let opens = known.state.after(Event::Reopen).is_some();
            let may_be = match answer {
                Err(Refusal::State(state)) => !opens && *state == known.state,
                Err(Refusal::DeadlinePassed) => opens && known.late,
                Err(Refusal::UniqueKeyTaken) => opens && !known.late && may_be_taken,
                Err(Refusal::QueueFull { .. }) => opens && !known.late && !is_taken && !has_room(most),
                Err(_) => false,
                Ok(change) => {
                    let free = !known.late && !is_taken && has_room(least);
                    let reopened =
                        Known { attempt: 0, interruptions: 0, due: Span::None, place: None, ..known.clone() };
                    return reopened.changed(Event::Reopen, change).filter(|_| free);
                }
            };
            may_be.then(|| known.clone())
        })
    }

    /// Jobs that are not terminal: at least and at most.
    pub(super) fn live(&self) -> (u64, u64) {
        let count =
            |lives: fn(&Known) -> bool| self.jobs.values().filter(|known| lives(known)).count() as u64;
        (count(Known::must_live), count(Known::may_live))
    }
}

/// The jobs that a call was about.
fn jobs_of((call, answer): Made<'_>) -> Vec<JobId> {
    match (call, answer) {
        (Call::Cancel(id) | Call::Reopen(id), _) => vec![*id],
        (Call::Settle { claim, .. } | Call::Renew { claim, .. }, _) => vec![claim.job],
        (_, Answer::Claim(claimed)) => claimed.iter().map(|claimed| claimed.id.job).collect(),
        (_, Answer::Submit(Ok(submitted))) => submitted.iter().map(|submitted| submitted.job.id).collect(),
        _ => Vec::new(),
    }
}

fn is_of(known: &Known, kinds: &[String]) -> bool {
    kinds.iter().any(|kind| kind == known.kind.as_str())
}

impl Held {
    fn by(by: By) -> Self {
        let of_worker = matches!(by, By::Worker);
        Self { fence: Fence(0), brief: false, lapsed: false, of_worker, orphan: false }
    }
}

impl Known {
    pub(super) fn may_live(&self) -> bool {
        self.may_be().iter().any(Self::is_live)
    }

    pub(super) fn must_live(&self) -> bool {
        self.may_be().iter().all(Self::is_live)
    }

    /// The job after this event, if the change is that.
    fn changed(&self, event: Event, change: &Change) -> Option<Self> {
        let state = self.state.after(event)?;
        let version = self.version.next();
        let is = (change.id, change.state, change.version) == (self.id, state, version);
        is.then(|| Self { state, version, cancel_requested: false, held: None, ..self.clone() })
    }

    /// The job after its attempt ended like this, if the change is that.
    fn settled(&self, fence: Fence, end: Ending, change: &Change) -> Option<Self> {
        let event = match end {
            Ending::Completed => Event::Complete,
            Ending::Cancelled => Event::Cancel,
            _ if self.cancel_requested => Event::Cancel,
            Ending::Retry(_) => Event::Retry,
            Ending::Dead => Event::Die,
            Ending::HandBack(_) => Event::HandBack,
        };
        let mut known = self.changed(event, change)?;
        known.settled = Some((fence, *change));
        known.attempt -= u32::from(matches!(end, Ending::HandBack(_)));
        if let Ending::Retry(after) | Ending::HandBack(after) = end {
            known.due = after;
            if known.state == JobState::Retryable && after == Span::None {
                known.state = JobState::Queued;
            }
        }
        Some(known)
    }

    /// What was answered to the same end under the same token, when that is the newest that ended an attempt.
    fn repeats(&self, fence: Fence, end: Ending) -> Option<Change> {
        let (_, change) = self.settled.filter(|(newest, _)| *newest == fence)?;
        let is = match change.state {
            JobState::Completed => matches!(end, Ending::Completed),
            JobState::Retryable => matches!(end, Ending::Retry(_)),
            JobState::Dead => matches!(end, Ending::Dead),
            JobState::Queued => matches!(end, Ending::HandBack(_)),
            JobState::Cancelled => !matches!(end, Ending::Completed),
            JobState::Scheduled | JobState::Processing | JobState::Expired => false,
        };
        is.then_some(change)
    }

    /// The job, if whoever has this token may be told that it lost its claim.
    fn loses(&self, fence: Fence) -> Option<Self> {
        match self.holds(fence) {
            None => Some(self.clone()),
            Some(held) if held.brief => {
                Some(Self { held: Some(Held { lapsed: true, ..held }), ..self.clone() })
            }
            Some(_) => None,
        }
    }
}
