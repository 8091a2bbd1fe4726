use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::attempt::Attempt;
use super::slots::Slot;
use crate::store::{ClaimId, Settlement, Speaker};
use crate::verdict::Verdict;

/// Every claim that this process holds, from before its handler starts until its settlement is answered.
/// Bounded by the slots: each entry owns one, with its place among the running until it is decided.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    table: Mutex<Table>,
    /// A verdict waits to be settled.
    decided: Notify,
    /// A claim is held where none was.
    first: Notify,
}

#[derive(Debug, Default)]
struct Table {
    held: HashMap<ClaimId, Held>,
    to_settle: VecDeque<ClaimId>,
    /// From now on no result is taken.
    cut: bool,
    /// Calls to claim so far: the number of the last one.
    asked: u64,
    /// The last call that may bring a claim which was looked for and not held: perhaps not yet.
    missed: u64,
}

/// A claim and where its attempt is.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) attempt: Arc<Attempt>,
    pub(super) stage: Stage,
    slot: Slot,
}

/// Where an attempt is between its claim and the answer to its settlement.
#[derive(Debug)]
pub(super) enum Stage {
    /// Its handler runs, or may run.
    Running,
    /// It ended in time; the store is to be told, or is being told.
    Decided(Verdict),
    /// Its handler ended when results were no longer taken, or never began.
    Over,
}

impl Attempts {
    /// Enters a claim. `false` when results are no longer taken: its handler must not begin.
    pub(super) fn begin(&self, attempt: Arc<Attempt>, slot: Slot) -> bool {
        let mut table = self.table.lock();
        let runs = !table.cut;
        let stage = if runs { Stage::Running } else { Stage::Over };
        let is_first = table.held.is_empty();
        table.held.insert(attempt.id, Held { attempt, stage, slot });
        drop(table);
        if is_first {
            self.first.notify_one();
        }
        runs
    }

    /// Waits until a claim is held.
    pub(super) async fn any(&self) {
        while self.table.lock().held.is_empty() {
            self.first.notified().await;
        }
    }

    /// Takes the attempt's verdict, to be settled. `false` when results are no longer taken.
    pub(super) fn decide(&self, id: ClaimId, verdict: Verdict) -> bool {
        let mut table = self.table.lock();
        let taken = !table.cut;
        let Some(held) = table.held.get_mut(&id) else { return false };
        if taken {
            held.stage = Stage::Decided(verdict);
            held.slot.ran();
            table.to_settle.push_back(id);
            self.decided.notify_one();
        }
        taken
    }

    /// The attempt's handler has really ended, too late for its result.
    pub(super) fn over(&self, id: ClaimId) {
        if let Some(held) = self.table.lock().held.get_mut(&id) {
            held.stage = Stage::Over;
        }
    }

    /// Verdicts that nobody is settling yet, oldest first: none if there are fewer than `least`.
    pub(super) fn take_decided(&self, least: usize, max: usize) -> Vec<Settlement> {
        let mut table = self.table.lock();
        let table = &mut *table;
        if table.to_settle.len() < least {
            return Vec::new();
        }
        let count = table.to_settle.len().min(max);
        let next = table.to_settle.drain(..count);
        next.filter_map(|id| match &table.held.get(&id)?.stage {
            Stage::Decided(verdict) => Some(Settlement { id, by: Speaker::Server, end: verdict.end.clone() }),
            Stage::Running | Stage::Over => None,
        })
        .collect()
    }

    /// Waits for a verdict since the last call returned.
    pub(super) async fn decided(&self) {
        self.decided.notified().await;
    }

    /// The store has answered: the claim is no longer held.
    pub(super) fn release(&self, id: ClaimId) -> Option<Held> {
        self.table.lock().held.remove(&id)
    }

    /// Takes no more results. What is decided already stays so.
    pub(super) fn cut(&self) {
        self.table.lock().cut = true;
    }

    /// Gives up every claim held.
    pub(super) fn release_all(&self) -> Vec<Held> {
        let mut table = self.table.lock();
        table.to_settle.clear();
        table.held.drain().map(|(_, held)| held).collect()
    }

    /// The attempt of this claim. Under the same lock it is noted when there is none: its claim may be
    /// answered, and on its way into the table.
    pub(super) fn get_or_miss(&self, id: ClaimId) -> Option<Arc<Attempt>> {
        let mut table = self.table.lock();
        let found = table.held.get(&id).map(|held| Arc::clone(&held.attempt));
        if found.is_none() {
            table.missed = table.asked;
        }
        found
    }

    /// The number of a call to claim that is about to be made.
    pub(super) fn ask(&self) -> u64 {
        let mut table = self.table.lock();
        table.asked += 1;
        table.asked
    }

    /// Whether one of this call's claims may have been missed before they were entered.
    pub(super) fn has_missed(&self, call: u64) -> bool {
        self.table.lock().missed >= call
    }

    pub(super) fn all(&self) -> Vec<Arc<Attempt>> {
        self.table.lock().held.values().map(|held| Arc::clone(&held.attempt)).collect()
    }

    pub(super) fn running(&self) -> usize {
        let table = self.table.lock();
        table.held.values().filter(|held| matches!(held.stage, Stage::Running)).count()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use steadfast_domain::{Fence, Job, JobId, KindName, NewJob, QueueName, RawJson, Timestamp};
    use tokio::time::Instant;

    use super::*;
    use crate::handler::Reports;
    use crate::pool::PoolQueue;
    use crate::pool::slots::Slots;
    use crate::store::Claimed;

    fn attempt(slots: &Arc<Slots>) -> (Arc<Attempt>, Slot) {
        let new = NewJob::new(KindName::new("echo").unwrap(), RawJson::empty_object());
        let job = Job::accept(new, JobId::from_u128(7), Timestamp::from_unix_ms(0), None);
        let id = ClaimId { job: job.id, fence: Fence(1) };
        let claimed = Claimed { id, job, valid_for: Duration::MAX };
        let attempt = Attempt::new(claimed, Instant::now(), Reports::new(Arc::default()));
        (attempt, slots.reserve(1).unwrap().slots.remove(0))
    }

    fn slots() -> Arc<Slots> {
        let queue =
            PoolQueue { name: QueueName::default_queue(), weight: 1, concurrency: None, rate_limit: None };
        Slots::new(1, &[queue])
    }

    #[test]
    fn a_verdict_counts_if_and_only_if_it_comes_before_the_cut() {
        for late in [false, true] {
            let (attempts, slots) = (Attempts::default(), slots());
            let (attempt, slot) = attempt(&slots);
            assert!(attempts.begin(Arc::clone(&attempt), slot));
            if late {
                attempts.cut();
            }
            assert_eq!(attempts.decide(attempt.id, Verdict::hand_back("yielded")), !late);
            attempts.cut();
            assert_eq!(attempts.take_decided(1, 10).len(), usize::from(!late));
            let held = attempts.release(attempt.id).unwrap();
            assert_eq!(matches!(held.stage, Stage::Decided(_)), !late);
        }
    }

    #[test]
    fn a_claim_is_found_or_known_to_have_been_missed() {
        let (attempts, slots) = (Attempts::default(), slots());
        let (attempt, slot) = attempt(&slots);
        let calls = [attempts.ask(), attempts.ask()];
        assert!(attempts.get_or_miss(attempt.id).is_none());
        attempts.begin(Arc::clone(&attempt), slot);
        assert!(calls.into_iter().all(|call| attempts.has_missed(call)), "either may bring it");
        assert!(attempts.get_or_miss(attempt.id).is_some());
        assert!(!attempts.has_missed(attempts.ask()), "asked after it was missed");
    }

    #[test]
    fn what_is_claimed_after_the_cut_never_runs_but_is_held() {
        let (attempts, slots) = (Attempts::default(), slots());
        attempts.cut();
        let (attempt, slot) = attempt(&slots);
        assert!(!attempts.begin(attempt, slot));
        assert!(slots.reserve(1).is_none(), "its slot is held until it is handed back");
        assert!(matches!(attempts.release_all()[..], [Held { stage: Stage::Over, .. }]));
    }
}
