use std::cmp::Reverse;
use std::collections::btree_set::Iter;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use steadfast_domain::{Job, JobId, KindName, Timestamp};

use crate::store::SUSPECT_INTERRUPTIONS;

/// A place in ready order: due time plus priority penalty, then id.
pub(super) type Place = (i64, JobId);

/// One queue's ready jobs, by kind.
#[derive(Debug, Default)]
pub(super) struct Ready {
    kinds: BTreeMap<KindName, Lane>,
    /// By due time, for the age of the oldest.
    due: BTreeSet<(Timestamp, JobId)>,
}

/// The ready jobs of one kind. Suspects stand apart, since they are taken one at a time, those with the
/// fewest interruptions first.
#[derive(Debug, Default)]
struct Lane {
    bystanders: BTreeSet<Place>,
    suspects: BTreeSet<(u32, Place)>,
}

impl Ready {
    pub(super) fn insert(&mut self, job: &Job) {
        let lane = self.kinds.entry(job.kind.clone()).or_default();
        if is_suspect(job) {
            lane.suspects.insert((job.interruptions, place(job)));
        } else {
            lane.bystanders.insert(place(job));
        }
        self.due.insert((job.run_at, job.id));
    }

    pub(super) fn remove(&mut self, job: &Job) {
        self.due.remove(&(job.run_at, job.id));
        let Some(lane) = self.kinds.get_mut(&job.kind) else {
            return;
        };
        if is_suspect(job) {
            lane.suspects.remove(&(job.interruptions, place(job)));
        } else {
            lane.bystanders.remove(&place(job));
        }
        if lane.bystanders.is_empty() && lane.suspects.is_empty() {
            self.kinds.remove(&job.kind);
        }
    }

    /// When the oldest ready job became due.
    pub(super) fn oldest_due_at(&self) -> Option<Timestamp> {
        self.due.first().map(|(run_at, _)| *run_at)
    }

    /// The bystanders of these kinds (any if `None`) in ready order.
    pub(super) fn bystanders(&self, kinds: Option<&[KindName]>) -> InOrder<'_> {
        InOrder::merge(self.lanes(kinds).into_iter().map(|lane| lane.bystanders.iter()))
    }

    /// Of the suspects of these kinds (any if `None`) that `may_run`, the one with the fewest interruptions.
    pub(super) fn first_suspect(
        &self,
        kinds: Option<&[KindName]>,
        may_run: impl Fn(JobId) -> bool,
    ) -> Option<(u32, Place)> {
        let lanes = self.lanes(kinds).into_iter();
        let firsts = lanes.filter_map(|lane| lane.suspects.iter().find(|(_, (_, id))| may_run(*id)));
        firsts.min().copied()
    }

    fn lanes(&self, kinds: Option<&[KindName]>) -> Vec<&Lane> {
        match kinds {
            None => self.kinds.values().collect(),
            Some(kinds) => kinds.iter().filter_map(|kind| self.kinds.get(kind)).collect(),
        }
    }
}

/// Whether the job was interrupted so often that it may be what kills its processes.
pub(super) fn is_suspect(job: &Job) -> bool {
    job.interruptions >= SUSPECT_INTERRUPTIONS
}

fn place(job: &Job) -> Place {
    (job.ready_order(), job.id)
}

/// Several kinds' jobs as one sequence in ready order. Holds one place of each kind at a time.
#[derive(Debug)]
pub(super) struct InOrder<'a> {
    lanes: Vec<Iter<'a, Place>>,
    heads: BinaryHeap<Reverse<(Place, usize)>>,
}

impl<'a> InOrder<'a> {
    fn merge(lanes: impl Iterator<Item = Iter<'a, Place>>) -> Self {
        let mut merged = Self { lanes: lanes.collect(), heads: BinaryHeap::new() };
        for lane in 0..merged.lanes.len() {
            merged.advance(lane);
        }
        merged
    }

    fn advance(&mut self, lane: usize) {
        if let Some(place) = self.lanes[lane].next() {
            self.heads.push(Reverse((*place, lane)));
        }
    }
}

impl Iterator for InOrder<'_> {
    type Item = Place;

    fn next(&mut self) -> Option<Place> {
        let Reverse((place, lane)) = self.heads.pop()?;
        self.advance(lane);
        Some(place)
    }
}
