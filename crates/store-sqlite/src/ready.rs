use std::cmp::Reverse;
use std::collections::btree_set::Iter;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use steadfast_domain::{KindName, Priority, Timestamp};
use steadfast_queue::store::SUSPECT_INTERRUPTIONS;

/// A place in ready order: due time plus priority penalty in milliseconds, then the job.
pub(crate) type Place = (i64, u64);

/// One queue's ready jobs: about 32 bytes each.
#[derive(Debug, Default)]
pub(crate) struct Ready {
    kinds: BTreeMap<KindName, Lane>,
}

/// The ready jobs of one kind. Within a priority the first place is also the one due first, so that the
/// oldest job is found without an order of its own. Suspects stand apart, since they are taken one at a
/// time, those with the fewest interruptions first.
#[derive(Debug, Default)]
struct Lane {
    bystanders: [BTreeSet<Place>; Priority::ALL.len()],
    suspects: BTreeSet<(u32, Place, Priority)>,
}

/// What places a job.
#[derive(Debug, Clone)]
pub(crate) struct Waiting {
    pub(crate) kind: KindName,
    pub(crate) priority: Priority,
    pub(crate) run_at: Timestamp,
    pub(crate) interruptions: u32,
}

impl Waiting {
    fn place(&self, job: u64) -> Place {
        (self.run_at.plus(self.priority.penalty()).unix_ms(), job)
    }
}

impl Ready {
    pub(crate) fn insert(&mut self, job: u64, waiting: &Waiting) {
        if !self.kinds.contains_key(&waiting.kind) {
            self.kinds.insert(waiting.kind.clone(), Lane::default());
        }
        let Some(lane) = self.kinds.get_mut(&waiting.kind) else { return };
        let place = waiting.place(job);
        if is_suspect(waiting.interruptions) {
            lane.suspects.insert((waiting.interruptions, place, waiting.priority));
        } else {
            lane.bystanders[waiting.priority as usize].insert(place);
        }
    }

    pub(crate) fn remove(&mut self, job: u64, waiting: &Waiting) {
        let Some(lane) = self.kinds.get_mut(&waiting.kind) else { return };
        let place = waiting.place(job);
        if is_suspect(waiting.interruptions) {
            lane.suspects.remove(&(waiting.interruptions, place, waiting.priority));
        } else {
            lane.bystanders[waiting.priority as usize].remove(&place);
        }
        if lane.suspects.is_empty() && lane.bystanders.iter().all(BTreeSet::is_empty) {
            self.kinds.remove(&waiting.kind);
        }
    }

    /// The bystanders of these kinds (any if `None`), each priority of each kind in ready order.
    pub(crate) fn bystanders<'a>(
        &'a self,
        kinds: Option<&'a [KindName]>,
    ) -> impl Iterator<Item = Iter<'a, Place>> {
        let lanes = self.lanes(kinds).flat_map(|lane| &lane.bystanders);
        lanes.filter(|places| !places.is_empty()).map(BTreeSet::iter)
    }

    /// Of the suspects of these kinds (any if `None`), the one with the fewest interruptions.
    pub(crate) fn first_suspect(&self, kinds: Option<&[KindName]>) -> Option<(u32, Place)> {
        let firsts = self.lanes(kinds).filter_map(|lane| lane.suspects.first());
        firsts.min().map(|(interruptions, place, _)| (*interruptions, *place))
    }

    /// Whether any suspect waits.
    pub(crate) fn has_suspects(&self) -> bool {
        self.kinds.values().any(|lane| !lane.suspects.is_empty())
    }

    /// When the oldest ready job became due.
    pub(crate) fn oldest_due_at(&self) -> Option<Timestamp> {
        let due = |(order, _): Place, priority: Priority| order - priority.penalty().as_millis() as i64;
        let of_lane = |lane: &Lane| {
            let firsts = Priority::ALL.into_iter().zip(&lane.bystanders);
            let bystander =
                firsts.filter_map(|(priority, places)| Some(due(*places.first()?, priority))).min();
            let suspect = lane.suspects.iter().map(|(_, place, priority)| due(*place, *priority)).min();
            [bystander, suspect].into_iter().flatten().min()
        };
        self.kinds.values().filter_map(of_lane).min().map(Timestamp::from_unix_ms)
    }

    fn lanes<'a>(&'a self, kinds: Option<&'a [KindName]>) -> impl Iterator<Item = &'a Lane> {
        let named = kinds.map(|kinds| kinds.iter().filter_map(|kind| self.kinds.get(kind)));
        let all = kinds.is_none().then(|| self.kinds.values());
        named.into_iter().flatten().chain(all.into_iter().flatten())
    }
}

/// Several ready orders as one.
pub(crate) struct Merged<'a> {
    lanes: Vec<Iter<'a, Place>>,
    heads: BinaryHeap<Reverse<(Place, usize)>>,
}

impl<'a> Merged<'a> {
    pub(crate) fn new(lanes: impl Iterator<Item = Iter<'a, Place>>) -> Self {
        let mut lanes: Vec<_> = lanes.collect();
        let heads =
            lanes.iter_mut().enumerate().filter_map(|(n, lane)| Some(Reverse((*lane.next()?, n)))).collect();
        Self { lanes, heads }
    }
}

impl Iterator for Merged<'_> {
    type Item = Place;

    fn next(&mut self) -> Option<Place> {
        let Reverse((first, lane)) = self.heads.pop()?;
        if let Some(next) = self.lanes[lane].next() {
            self.heads.push(Reverse((*next, lane)));
        }
        Some(first)
    }
}

/// Whether a job was interrupted so often that it may be what kills its processes.
pub(crate) fn is_suspect(interruptions: u32) -> bool {
    interruptions >= SUSPECT_INTERRUPTIONS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(priority: Priority, ms: i64) -> Waiting {
        let kind = KindName::new("k").unwrap();
        Waiting { kind, priority, run_at: Timestamp::from_unix_ms(ms), interruptions: 0 }
    }

    #[test]
    fn priorities_merge_by_due_time_and_penalty() {
        let mut ready = Ready::default();
        ready.insert(1, &waiting(Priority::Low, 0));
        ready.insert(2, &waiting(Priority::Normal, 0));
        ready.insert(3, &waiting(Priority::Critical, 119_999));
        ready.insert(4, &waiting(Priority::Critical, 120_001));
        let order: Vec<u64> = Merged::new(ready.bystanders(None)).map(|(_, job)| job).collect();
        assert_eq!(order, [3, 2, 4, 1]);
        assert_eq!(ready.oldest_due_at(), Some(Timestamp::from_unix_ms(0)));
        for (job, priority, ms) in [(1, Priority::Low, 0), (2, Priority::Normal, 0)] {
            ready.remove(job, &waiting(priority, ms));
        }
        assert_eq!(ready.oldest_due_at(), Some(Timestamp::from_unix_ms(119_999)));
    }
}
