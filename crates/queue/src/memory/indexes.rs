use std::collections::{BTreeMap, BTreeSet, HashMap};

use steadfast_domain::{Job, JobId, JobState, QueueName, Tenant, Timestamp, UniqueKey};
use tokio::time::Instant;

use super::clock::Now;
use super::ready::{Ready, is_suspect};
use super::state::Entry;
use crate::store::{JobCounts, Owner, QueueSpec};

/// Everything that is found, ordered or counted by what a job is now. [`Indexes::remove`] takes a job out
/// before it changes and [`Indexes::insert`] puts it back after: no other code touches them.
#[derive(Debug, Default)]
pub(super) struct Indexes {
    pub(super) queues: BTreeMap<QueueName, Queue>,
    /// What all queues hold together.
    pub(super) live: Load,
    /// Waiting jobs whose time has not come.
    pub(super) timed: BTreeSet<(Timestamp, JobId)>,
    /// Waiting jobs that can expire.
    pub(super) expiring: BTreeSet<(Timestamp, JobId)>,
    /// Claims that can lapse.
    pub(super) leases: BTreeSet<(Instant, JobId)>,
    /// Suspects being run, by who runs them since when.
    pub(super) suspects_held: HashMap<Owner, BTreeSet<(Instant, JobId)>>,
    /// Live jobs with a unique key.
    pub(super) unique: HashMap<UniqueName, JobId>,
    pub(super) ended: Ended,
}

/// One queue: its settings, its ready jobs and its counters.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) spec: QueueSpec,
    pub(super) paused: bool,
    pub(super) ready: Ready,
    /// Jobs by state, in the order of [`JobState::ALL`].
    pub(super) depth: [u64; 8],
    pub(super) live: Load,
    pub(super) counts: JobCounts,
}

/// Jobs that are not terminal and the bytes of their payloads: what capacity counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) jobs: u64,
    pub(super) bytes: u64,
}

/// Terminal jobs in the order in which retention lets them go.
#[derive(Debug, Default)]
pub(super) struct Ended {
    pub(super) dead: BTreeSet<(Timestamp, JobId)>,
    pub(super) others: BTreeSet<(Timestamp, JobId)>,
    /// Bytes of their payloads and results.
    pub(super) bytes: u64,
}

/// What a unique key is unique within.
pub(super) type UniqueName = (Tenant, QueueName, UniqueKey);

/// A job's unique key with its scope.
pub(super) fn unique_name(tenant: &Tenant, queue: &QueueName, key: Option<&UniqueKey>) -> Option<UniqueName> {
    key.map(|key| (tenant.clone(), queue.clone(), key.clone()))
}

impl Queue {
    pub(super) fn new(spec: QueueSpec) -> Self {
        Self {
            spec,
            paused: false,
            ready: Ready::default(),
            depth: [0; 8],
            live: Load::default(),
            counts: JobCounts::default(),
        }
    }
}

impl Load {
    pub(super) fn add(&mut self, bytes: usize) {
        self.jobs += 1;
        self.bytes += bytes as u64;
    }

    fn subtract(&mut self, bytes: usize) {
        self.jobs -= 1;
        self.bytes -= bytes as u64;
    }
}

impl Ended {
    /// Terminal jobs stored.
    pub(super) fn jobs(&self) -> u64 {
        (self.dead.len() + self.others.len()) as u64
    }

    fn of(&mut self, state: JobState) -> &mut BTreeSet<(Timestamp, JobId)> {
        if state == JobState::Dead { &mut self.dead } else { &mut self.others }
    }
}

impl Indexes {
    /// Enters a job. One whose time has come reads as `queued` from now on.
    pub(super) fn insert(&mut self, entry: &mut Entry, now: Now) {
        entry.ready = is_waiting(&entry.job) && entry.job.run_at <= now.at;
        if entry.ready {
            entry.job.state = JobState::Queued;
        }
        let job = &entry.job;
        if let Some(queue) = self.queues.get_mut(&job.queue) {
            queue.depth[job.state as usize] += 1;
            if entry.ready {
                queue.ready.insert(job);
            }
            if !job.state.is_terminal() {
                queue.live.add(job.payload_bytes);
            }
        }
        if job.state.is_terminal() {
            self.ended.of(job.state).insert((ended_at(job), job.id));
            self.ended.bytes += kept_bytes(job);
            return;
        }
        self.live.add(job.payload_bytes);
        if is_waiting(job) {
            if !entry.ready {
                self.timed.insert((job.run_at, job.id));
            }
            if let Some(at) = job.expires_at() {
                self.expiring.insert((at, job.id));
            }
        }
        if let Some(name) = unique_name(&job.tenant, &job.queue, job.unique_key.as_ref()) {
            self.unique.insert(name, job.id);
        }
        if let Some(claim) = &entry.claim {
            if let Some(ends) = claim.ends {
                self.leases.insert((ends, job.id));
            }
            if is_suspect(job) {
                self.suspects_held.entry(claim.owner.clone()).or_default().insert((claim.began, job.id));
            }
        }
    }

    /// Takes out a job that is about to change or to go.
    pub(super) fn remove(&mut self, entry: &Entry) {
        let job = &entry.job;
        if let Some(queue) = self.queues.get_mut(&job.queue) {
            queue.depth[job.state as usize] -= 1;
            if entry.ready {
                queue.ready.remove(job);
            }
            if !job.state.is_terminal() {
                queue.live.subtract(job.payload_bytes);
            }
        }
        if job.state.is_terminal() {
            self.ended.of(job.state).remove(&(ended_at(job), job.id));
            self.ended.bytes -= kept_bytes(job);
            return;
        }
        self.live.subtract(job.payload_bytes);
        if is_waiting(job) {
            self.timed.remove(&(job.run_at, job.id));
            if let Some(at) = job.expires_at() {
                self.expiring.remove(&(at, job.id));
            }
        }
        if let Some(name) = unique_name(&job.tenant, &job.queue, job.unique_key.as_ref()) {
            self.unique.remove(&name);
        }
        if let Some(claim) = &entry.claim {
            if let Some(ends) = claim.ends {
                self.leases.remove(&(ends, job.id));
            }
            self.remove_suspect(&claim.owner, (claim.began, job.id));
        }
    }

    /// Counts that a job is what it was not `before`.
    pub(super) fn count(&mut self, job: &Job, before: Option<JobState>) {
        if let Some(queue) = self.queues.get_mut(&job.queue) {
            queue.counts.moved(&job.kind, before, Some(job.state));
        }
    }

    fn remove_suspect(&mut self, owner: &Owner, held: (Instant, JobId)) {
        if let Some(suspects) = self.suspects_held.get_mut(owner) {
            suspects.remove(&held);
            if suspects.is_empty() {
                self.suspects_held.remove(owner);
            }
        }
    }
}

/// Whether the job is neither claimed nor ended.
fn is_waiting(job: &Job) -> bool {
    matches!(job.state, JobState::Scheduled | JobState::Queued | JobState::Retryable)
}

fn ended_at(job: &Job) -> Timestamp {
    job.finished_at.unwrap_or(job.created_at)
}

fn kept_bytes(job: &Job) -> u64 {
    (job.payload_bytes + job.result.as_ref().map_or(0, |result| result.len_bytes())) as u64
}
