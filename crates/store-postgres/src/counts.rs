use parking_lot::Mutex;
use steadfast_queue::store::QueueCounts;

/// What this process counted, as any snapshot of the database has it.
///
/// A seat has one transaction at a time, and each leaves its turn in the seat's row: who reads the turns together with
/// what is stored knows which transactions are in it. So the counts of a transaction are kept from before its commit is
/// sent until no snapshot is looked at that may be without them.
#[derive(Debug, Default)]
pub(crate) struct Counts(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    /// What every snapshot has.
    all: QueueCounts,
    /// What a snapshot may have or not.
    recent: Vec<Recent>,
    /// Commits so far.
    commits: u64,
    /// How many there were when each open look began.
    looks: Vec<u64>,
}

/// What names a transaction of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) seat: i64,
    /// Grows with each transaction of the seat.
    pub(crate) number: i64,
}

#[derive(Debug)]
struct Recent {
    turn: Turn,
    counts: QueueCounts,
    /// Which commit it was; `None` while it is under way or in doubt.
    commit: Option<u64>,
}

/// Transactions kept while somebody looks. A look that lasts longer may count commits that its snapshot does not have.
const RECENT_MAX: usize = 16_384;

/// Somebody looks at the database: to be made before the question is sent.
#[derive(Debug)]
pub(crate) struct Look<'a> {
    counts: &'a Counts,
    /// Commits when it began.
    after: u64,
}

impl Counts {
    /// A transaction will be committed, and has counted this.
    pub(crate) fn begin(&self, turn: Turn, counts: QueueCounts) {
        if !counts.is_empty() {
            self.0.lock().recent.push(Recent { turn, counts, commit: None });
        }
    }

    /// It is known how a transaction ended.
    pub(crate) fn end(&self, turn: Turn, committed: bool) {
        let mut counted = self.0.lock();
        let Some(place) = counted.recent.iter().rposition(|recent| recent.turn == turn) else { return };
        let mut recent = counted.recent.swap_remove(place);
        if !committed {
            return;
        }
        if counted.looks.is_empty() {
            counted.all.add(&recent.counts);
            return;
        }
        counted.commits += 1;
        recent.commit = Some(counted.commits);
        counted.recent.push(recent);
        if counted.recent.len() > RECENT_MAX {
            let newest = counted.commits;
            counted.settle(newest);
        }
    }

    /// Begins to look.
    pub(crate) fn look(&self) -> Look<'_> {
        let mut counted = self.0.lock();
        let after = counted.commits;
        counted.looks.push(after);
        Look { counts: self, after }
    }
}

impl Counted {
    /// The commits up to this one are in every snapshot from now on.
    fn settle(&mut self, newest: u64) {
        let Self { all, recent, .. } = self;
        recent.retain(|recent| {
            let is_settled = recent.commit.is_some_and(|commit| commit <= newest);
            if is_settled {
                all.add(&recent.counts);
            }
            !is_settled
        });
    }
}

impl Look<'_> {
    /// What was counted in a snapshot that has these turns, the newest of each seat. A seat without one has
    /// not committed anything yet.
    pub(crate) fn as_of(&self, newest: &[Turn]) -> QueueCounts {
        let counted = self.counts.0.lock();
        let mut counts = counted.all.clone();
        let has =
            |turn: Turn| newest.iter().any(|newest| newest.seat == turn.seat && newest.number >= turn.number);
        counted.recent.iter().filter(|recent| has(recent.turn)).for_each(|recent| counts.add(&recent.counts));
        counts
    }
}

impl Drop for Look<'_> {
    fn drop(&mut self) {
        let mut counted = self.counts.0.lock();
        if let Some(place) = counted.looks.iter().position(|after| *after == self.after) {
            counted.looks.swap_remove(place);
        }
        let newest = counted.looks.iter().min().copied().unwrap_or(counted.commits);
        counted.settle(newest);
    }
}

#[cfg(test)]
mod tests {
    use steadfast_domain::{JobState, KindName, QueueName};

    use super::*;

    fn turn(seat: i64, number: i64) -> Turn {
        Turn { seat, number }
    }

    fn begin(counts: &Counts, turn: Turn) {
        let mut one = QueueCounts::default();
        let kind = KindName::new("k").unwrap();
        one.of_mut(&QueueName::default_queue()).moved(&kind, None, Some(JobState::Queued));
        counts.begin(turn, one);
    }

    fn commit(counts: &Counts, turn: Turn) {
        begin(counts, turn);
        counts.end(turn, true);
    }

    fn seen(look: &Look<'_>, newest: &[Turn]) -> u64 {
        look.as_of(newest).of(&QueueName::default_queue()).all().submitted
    }

    fn kept(counts: &Counts) -> usize {
        counts.0.lock().recent.len()
    }

    #[test]
    fn what_is_counted_is_what_the_snapshot_has() {
        let counts = Counts::default();
        commit(&counts, turn(1, 1));
        begin(&counts, turn(2, 1));
        let look = counts.look();
        assert_eq!(seen(&look, &[turn(1, 1)]), 1, "the other one is under way");
        assert_eq!(seen(&look, &[turn(1, 1), turn(2, 1)]), 2, "its answer is");
        counts.end(turn(2, 1), true);
        commit(&counts, turn(1, 2));
        commit(&counts, turn(1, 3));
        assert_eq!(seen(&look, &[turn(1, 1)]), 1, "the snapshot was made before");
        assert_eq!(seen(&look, &[turn(1, 2), turn(2, 1)]), 3);
        assert_eq!(seen(&look, &[turn(1, 3), turn(2, 1)]), 4);
        let later = counts.look();
        drop(look);
        assert_eq!(seen(&later, &[]), 4, "they were committed before it looked");
    }

    #[test]
    fn what_did_not_happen_is_not_counted() {
        let counts = Counts::default();
        begin(&counts, turn(1, 1));
        counts.end(turn(1, 1), false);
        commit(&counts, turn(1, 2));
        assert_eq!(seen(&counts.look(), &[turn(1, 2)]), 1);
    }

    #[test]
    fn nothing_is_kept_for_nobody_and_not_too_much_for_somebody() {
        let counts = Counts::default();
        commit(&counts, turn(1, 1));
        assert_eq!(kept(&counts), 0);
        let (look, other) = (counts.look(), counts.look());
        for number in 2..RECENT_MAX as i64 + 10 {
            commit(&counts, turn(1, number));
        }
        assert!(kept(&counts) <= RECENT_MAX);
        drop(look);
        assert_ne!(kept(&counts), 0);
        drop(other);
        assert_eq!(kept(&counts), 0);
        assert_eq!(seen(&counts.look(), &[]), RECENT_MAX as u64 + 9);
    }
}
