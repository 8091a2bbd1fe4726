use steadfast_domain::{JobState, KindName, QueueName};

/// Kinds that are counted apart in one queue. Clients of a queue that takes any kind choose them, so those beyond
/// this are counted together.
const KINDS_COUNTED_MAX: usize = 1_000;

/// What the commits of one process have done with a queue's jobs since it opened the store, its recovery included.
///
/// Each acceptance, reopening and end is counted once, after its commit, by the process whose transaction it was;
/// answers given a second time (replays, duplicates, repeated settlements) are not. So while one process alone changes
/// a store, [`net`](Self::net) is what has become of its live jobs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobCounts {
    /// In order. A map would take a large node for the one or two kinds of a transaction.
    by_kind: Vec<(KindName, KindCounts)>,
    others: KindCounts,
}

/// What was counted of each queue, by one process or in one transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueueCounts {
    /// In order.
    by_queue: Vec<(QueueName, JobCounts)>,
}

/// What was counted of one kind's jobs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KindCounts {
    /// Accepted.
    pub submitted: u64,
    /// Taken from `dead` or `cancelled` back to `queued`.
    pub reopened: u64,
    /// Ended, by state, in the order of [`JobState::ALL`].
    pub ended: [u64; 8],
}

impl JobCounts {
    /// A job of `kind` was `before` and is `after`; `None` is not stored. Claims and forgotten jobs count nothing.
    pub fn moved(&mut self, kind: &KindName, before: Option<JobState>, after: Option<JobState>) {
        let mut one = KindCounts::default();
        match (before, after) {
            (None, Some(_)) => one.submitted = 1,
            (Some(before), Some(after)) if before.is_terminal() && !after.is_terminal() => one.reopened = 1,
            (Some(before), Some(after)) if !before.is_terminal() && after.is_terminal() => {
                one.ended[after as usize] = 1;
            }
            _ => return,
        }
        self.of(kind).add(&one);
    }

    /// Adds what another one counted.
    pub fn add(&mut self, more: &Self) {
        for (kind, counts) in &more.by_kind {
            self.of(kind).add(counts);
        }
        self.others.add(&more.others);
    }

    /// What was counted of each kind, in their order; `None` stands for all those that are not counted apart.
    pub fn by_kind(&self) -> impl Iterator<Item = (Option<&KindName>, &KindCounts)> {
        let others = (self.others != KindCounts::default()).then_some((None, &self.others));
        self.by_kind.iter().map(|(kind, counts)| (Some(kind), counts)).chain(others)
    }

    /// What was counted of all kinds.
    pub fn all(&self) -> KindCounts {
        let mut all = self.others;
        self.by_kind.iter().for_each(|(_, counts)| all.add(counts));
        all
    }

    /// By how many live jobs there are more, all counts together.
    pub fn net(&self) -> i64 {
        let all = self.all();
        let ended: u64 = all.ended.iter().sum();
        (all.submitted + all.reopened).cast_signed() - ended.cast_signed()
    }

    fn of(&mut self, kind: &KindName) -> &mut KindCounts {
        match place_of(&self.by_kind, kind) {
            Ok(place) => &mut self.by_kind[place].1,
            Err(_) if self.by_kind.len() >= KINDS_COUNTED_MAX => &mut self.others,
            Err(place) => {
                self.by_kind.insert(place, (kind.clone(), KindCounts::default()));
                &mut self.by_kind[place].1
            }
        }
    }
}

impl QueueCounts {
    /// What was counted of a queue.
    pub fn of(&self, queue: &QueueName) -> JobCounts {
        place_of(&self.by_queue, queue)
            .map_or_else(|_| JobCounts::default(), |at| self.by_queue[at].1.clone())
    }

    /// The counts of a queue, to be added to.
    pub fn of_mut(&mut self, queue: &QueueName) -> &mut JobCounts {
        let place = place_of(&self.by_queue, queue).unwrap_or_else(|place| {
            self.by_queue.insert(place, (queue.clone(), JobCounts::default()));
            place
        });
        &mut self.by_queue[place].1
    }

    /// Adds what another one counted.
    pub fn add(&mut self, more: &Self) {
        more.by_queue.iter().for_each(|(queue, more)| self.of_mut(queue).add(more));
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.by_queue.iter().all(|(_, counts)| *counts == JobCounts::default())
    }
}

/// Where a name is among these, or belongs.
fn place_of<N: Ord, T>(sorted: &[(N, T)], name: &N) -> Result<usize, usize> {
    sorted.binary_search_by(|(other, _)| other.cmp(name))
}

impl KindCounts {
    /// Jobs that ended in `state`.
    pub fn ended_as(&self, state: JobState) -> u64 {
        self.ended[state as usize]
    }

    fn add(&mut self, more: &Self) {
        self.submitted += more.submitted;
        self.reopened += more.reopened;
        self.ended.iter_mut().zip(more.ended).for_each(|(ended, more)| *ended += more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(name: &str) -> KindName {
        KindName::new(name).unwrap()
    }

    #[test]
    fn what_lives_is_what_was_counted() {
        let mut counts = JobCounts::default();
        let steps = [
            (None, Some(JobState::Queued), 1),
            (Some(JobState::Queued), Some(JobState::Processing), 1),
            (Some(JobState::Processing), Some(JobState::Retryable), 1),
            (Some(JobState::Retryable), Some(JobState::Dead), 0),
            (Some(JobState::Dead), Some(JobState::Queued), 1),
            (Some(JobState::Queued), Some(JobState::Cancelled), 0),
            (Some(JobState::Cancelled), None, 0),
        ];
        for (before, after, live) in steps {
            counts.moved(&kind("k"), before, after);
            assert_eq!(counts.net(), live, "{before:?} to {after:?}");
        }
        let all = counts.all();
        assert_eq!((all.submitted, all.reopened), (1, 1));
        assert_eq!((all.ended_as(JobState::Dead), all.ended_as(JobState::Cancelled)), (1, 1));
    }

    #[test]
    fn kinds_and_queues_are_found_in_any_order() {
        let queues = ["b", "c", "a"].map(|name| QueueName::new(name).unwrap());
        let mut counts = QueueCounts::default();
        assert!(counts.is_empty());
        for queue in queues.iter().chain(&queues) {
            let mut one = QueueCounts::default();
            for name in ["z", "x", "y"] {
                one.of_mut(queue).moved(&kind(name), None, Some(JobState::Queued));
            }
            counts.add(&one);
        }
        assert!(!counts.is_empty());
        for queue in &queues {
            let counts = counts.of(queue);
            let kinds = counts.by_kind().map(|(kind, counts)| (kind.unwrap().as_str(), counts.submitted));
            assert_eq!(kinds.collect::<Vec<_>>(), [("x", 2), ("y", 2), ("z", 2)]);
        }
        assert_eq!(counts.of(&QueueName::default_queue()), JobCounts::default());
    }

    #[test]
    fn kinds_beyond_the_bound_are_counted_together() {
        let mut counts = JobCounts::default();
        for n in 0..KINDS_COUNTED_MAX + 5 {
            counts.moved(&kind(&format!("k{n}")), None, Some(JobState::Queued));
        }
        assert_eq!(counts.by_kind().count(), KINDS_COUNTED_MAX + 1);
        let others = counts.by_kind().find(|(kind, _)| kind.is_none()).unwrap().1;
        assert_eq!((others.submitted, counts.net()), (5, KINDS_COUNTED_MAX as i64 + 5));
    }
}
