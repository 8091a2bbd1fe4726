use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::Arc;

use steadfast_domain::{Change, Event, Fence, Job, JobId, JobIds, JobState, QueueName};
use tokio::time::Instant;

use super::clock::Now;
use super::indexes::{Indexes, Queue};
use super::keys::{KeyName, Keys};
use crate::store::{Hint, Owner, QueueSpec, StoreLimits};

/// All that the store knows, changed by one call at a time.
#[derive(Debug)]
pub(super) struct State {
    pub(super) closed: bool,
    pub(super) limits: StoreLimits,
    pub(super) ids: JobIds,
    pub(super) newest_fence: Fence,
    pub(super) jobs: BTreeMap<JobId, Entry>,
    pub(super) indexes: Indexes,
    pub(super) keys: Keys,
    hints: Vec<Hint>,
    /// Queues that got ready work, each hinted once a step.
    ready: BTreeSet<QueueName>,
}

/// One stored job and what is known about it beyond the job itself.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) job: Job,
    pub(super) claim: Option<Claim>,
    /// Under which token the job was last settled, and the answer.
    pub(super) settled: Option<(Fence, Change)>,
    /// The idempotency key of the submission that made it.
    pub(super) key: Option<Arc<KeyName>>,
    /// Whether it is among its queue's ready jobs.
    pub(super) ready: bool,
}

/// Who runs a job.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) fence: Fence,
    pub(super) owner: Owner,
    pub(super) began: Instant,
    /// When it lapses; a process's claim never does.
    pub(super) ends: Option<Instant>,
}

impl State {
    pub(super) fn new(limits: StoreLimits) -> Self {
        Self {
            closed: false,
            limits,
            ids: JobIds::after(None),
            newest_fence: Fence(0),
            jobs: BTreeMap::new(),
            indexes: Indexes::default(),
            keys: Keys::default(),
            hints: Vec::new(),
            ready: BTreeSet::new(),
        }
    }

    pub(super) fn declare(&mut self, queues: &[QueueSpec]) {
        for spec in queues {
            match self.indexes.queues.get_mut(&spec.name) {
                Some(queue) => queue.spec = spec.clone(),
                None => {
                    self.indexes.queues.insert(spec.name.clone(), Queue::new(spec.clone()));
                }
            }
        }
        self.hint(Hint::Queues);
    }

    /// `false` when there is no such queue.
    pub(super) fn pause(&mut self, name: &QueueName, paused: bool) -> bool {
        let Some(queue) = self.indexes.queues.get_mut(name) else {
            return false;
        };
        queue.paused = paused;
        self.hint(Hint::Queues);
        if !paused {
            self.ready.insert(name.clone());
        }
        true
    }

    /// Enters a job just accepted.
    pub(super) fn add(&mut self, mut entry: Entry, now: Now) {
        self.indexes.insert(&mut entry, now);
        self.indexes.count(&entry.job, None);
        let accepted = entry.job.history.last().copied();
        self.hints.extend(accepted.map(|change| Hint::Changed(change, entry.job.queue.clone())));
        if entry.ready {
            self.ready.insert(entry.job.queue.clone());
        }
        self.jobs.insert(entry.job.id, entry);
    }

    /// The one way a stored job changes its state: `event` by the transition table, together with what
    /// else `edit` changes, which is told the state to come. `None`, and nothing done, where there is no
    /// such job or the table does not allow it.
    pub(super) fn change(
        &mut self,
        id: JobId,
        event: Event,
        now: Now,
        edit: impl FnOnce(&mut Entry, JobState),
    ) -> Option<Change> {
        let entry = self.jobs.get_mut(&id)?;
        let before = entry.job.state;
        let state = before.after(event)?;
        self.indexes.remove(entry);
        entry.claim = None;
        entry.job.owner = None;
        entry.job.cancel_requested = false;
        entry.job.finished_at = state.is_terminal().then_some(now.at);
        edit(entry, state);
        let change = entry.job.record(state, now.at);
        self.indexes.insert(entry, now);
        self.indexes.count(&entry.job, Some(before));
        self.hints.push(Hint::Changed(change, entry.job.queue.clone()));
        if entry.ready {
            self.ready.insert(entry.job.queue.clone());
        }
        Some(change)
    }

    /// Puts a waiting job whose time has come among the ready ones. It has read as `queued` since then, so
    /// this is no change of state.
    pub(super) fn promote(&mut self, id: JobId, now: Now) {
        let Some(entry) = self.jobs.get_mut(&id) else {
            return;
        };
        self.indexes.remove(entry);
        self.indexes.insert(entry, now);
        self.ready.insert(entry.job.queue.clone());
    }

    /// Forgets a job, and its key with the last job that has it.
    pub(super) fn forget(&mut self, id: JobId) {
        let Some(entry) = self.jobs.remove(&id) else {
            return;
        };
        self.indexes.remove(&entry);
        if let Some(key) = &entry.key {
            self.keys.release(key);
        }
    }

    pub(super) fn hint(&mut self, hint: Hint) {
        self.hints.push(hint);
    }

    /// What this step is to tell.
    pub(super) fn take_hints(&mut self) -> Vec<Hint> {
        let mut hints = mem::take(&mut self.hints);
        hints.extend(mem::take(&mut self.ready).into_iter().map(Hint::Ready));
        hints
    }
}
