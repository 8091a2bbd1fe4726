use std::collections::{BTreeMap, BTreeSet};

use steadfast_domain::{Job, JobId, JobState, KindName, Timestamp};
use steadfast_queue::store::{ClaimRequest, QueueSpec, StoreLimits, Want};

use crate::claims::{Claim, Claims};
use crate::fingerprints::{Fingerprints, fingerprint};
use crate::keys::Keys;
use crate::queues::{QueueIndex, Queues};
use crate::ready::{Merged, Place, Ready, Waiting};
use crate::recent::Recent;

/// What the writer knows without asking the file: order, counters, claims and the hashes of names, about
/// 32 to 100 bytes for each job that has not ended; and a bounded number of jobs as it wrote them.
///
/// It changes as a transaction goes along, so that operations which share one see each other, and every
/// change notes how to undo it: when the transaction fails, [`roll_back`](Self::roll_back) makes it agree
/// with the file again.
#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) queues: Queues,
    claims: Claims,
    keys: Keys,
    /// Waiting jobs whose time has not come.
    timed: BTreeMap<(Timestamp, u64), (QueueIndex, JobState, Waiting)>,
    /// Waiting jobs that can expire.
    expiring: BTreeSet<(Timestamp, u64)>,
    /// Live jobs with a unique key.
    unique: Fingerprints,
    /// Jobs that need not be read back.
    pub(crate) recent: Recent,
    undo: Vec<Undo>,
}

/// How to take one change back.
#[derive(Debug)]
enum Undo {
    Move { before: Option<Entry>, after: Option<Entry>, now: Timestamp },
    Claim { job: u64, before: Option<Claim> },
    QueueAdded,
    QueueChanged { index: QueueIndex, spec: QueueSpec, paused: bool },
    KeyAdded { hash: u64, job: u64 },
    KeyRemoved { hash: u64, job: u64 },
}

/// Where a job belongs: made from its row when it moves, not kept.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) job: u64,
    pub(crate) queue: QueueIndex,
    pub(crate) state: JobState,
    pub(crate) waiting: Waiting,
    pub(crate) expires_at: Option<Timestamp>,
    /// Of the payload, and of the result once it has ended.
    pub(crate) bytes: u64,
    pub(crate) unique_hash: Option<u64>,
}

impl Entry {
    /// Where `job` belongs in its present state.
    pub(crate) fn of(job: &Job, queue: QueueIndex) -> Self {
        let result = job.result.as_ref().filter(|_| job.state.is_terminal());
        Self {
            job: job.id.high(),
            queue,
            state: job.state,
            waiting: Waiting {
                kind: job.kind.clone(),
                priority: job.priority,
                run_at: job.run_at,
                interruptions: job.interruptions,
            },
            expires_at: job.expires_at(),
            bytes: (job.payload_bytes + result.map_or(0, |result| result.len_bytes())) as u64,
            unique_hash: unique_hash(job),
        }
    }

    /// Whether it is neither claimed nor ended.
    fn is_waiting(&self) -> bool {
        matches!(self.state, JobState::Scheduled | JobState::Queued | JobState::Retryable)
    }

    fn timed_key(&self) -> (Timestamp, u64) {
        (self.waiting.run_at, self.job)
    }
}

/// The hash under which a job's unique key is found.
pub(crate) fn unique_hash(job: &Job) -> Option<u64> {
    let key = job.unique_key.as_ref()?;
    let parts = [job.tenant.as_str(), job.queue.as_str(), key.as_str()];
    Some(fingerprint(&parts.map(str::as_bytes)))
}

impl Memory {
    /// Knows of nothing yet.
    pub(crate) fn new(limits: StoreLimits) -> Self {
        Self {
            queues: Queues::new(limits),
            claims: Claims::default(),
            keys: Keys::default(),
            timed: BTreeMap::new(),
            expiring: BTreeSet::new(),
            unique: Fingerprints::default(),
            recent: Recent::default(),
            undo: Vec::new(),
        }
    }

    /// Whether the transaction has changed anything.
    pub(crate) fn has_changes(&self) -> bool {
        !self.undo.is_empty()
    }

    /// Keeps what the transaction changed.
    pub(crate) fn commit(&mut self) {
        self.undo.clear();
    }

    /// Takes back what the transaction changed.
    pub(crate) fn roll_back(&mut self) {
        self.recent.clear();
        while let Some(undo) = self.undo.pop() {
            match undo {
                Undo::Move { before, after, now } => self.do_move(after.as_ref(), before.as_ref(), now),
                Undo::Claim { job, before } => _ = self.claims.set(job, before),
                Undo::QueueAdded => self.queues.remove_last(),
                Undo::QueueChanged { index, spec, paused } => {
                    let queue = self.queues.get_mut(index);
                    (queue.spec, queue.paused) = (spec, paused);
                }
                Undo::KeyAdded { hash, job } => self.keys.remove(hash, job),
                Undo::KeyRemoved { hash, job } => self.keys.restore(hash, job),
            }
        }
    }

    /// Moves a job from where it was to where it is now; `None` is nowhere.
    pub(crate) fn move_job(&mut self, before: Option<Entry>, after: Option<Entry>, now: Timestamp) {
        self.do_move(before.as_ref(), after.as_ref(), now);
        self.undo.push(Undo::Move { before, after, now });
    }

    /// Enters a job as the file is read.
    pub(crate) fn load(&mut self, entry: &Entry, now: Timestamp) {
        self.insert(entry, now);
    }

    fn do_move(&mut self, before: Option<&Entry>, after: Option<&Entry>, now: Timestamp) {
        if let Some(before) = before {
            self.remove(before);
        }
        if let Some(after) = after {
            self.insert(after, now);
        }
    }

    /// Enters a job. A waiting one whose time has come counts, and reads, as `queued`.
    fn insert(&mut self, entry: &Entry, now: Timestamp) {
        let mut state = entry.state;
        if entry.is_waiting() {
            if entry.waiting.run_at > now {
                self.timed.insert(entry.timed_key(), (entry.queue, state, entry.waiting.clone()));
            } else {
                state = JobState::Queued;
                self.queues.get_mut(entry.queue).ready.insert(entry.job, &entry.waiting);
            }
            if let Some(at) = entry.expires_at {
                self.expiring.insert((at, entry.job));
            }
        }
        if let Some(hash) = entry.unique_hash.filter(|_| !state.is_terminal()) {
            self.unique.insert(hash, entry.job);
        }
        self.queues.count(entry.queue, state, entry.bytes);
    }

    fn remove(&mut self, entry: &Entry) {
        let mut state = entry.state;
        if entry.is_waiting() {
            if self.timed.remove(&entry.timed_key()).is_none() {
                state = JobState::Queued;
                self.queues.get_mut(entry.queue).ready.remove(entry.job, &entry.waiting);
            }
            if let Some(at) = entry.expires_at {
                self.expiring.remove(&(at, entry.job));
            }
        }
        if let Some(hash) = entry.unique_hash.filter(|_| !state.is_terminal()) {
            self.unique.remove(hash, entry.job);
        }
        self.queues.discount(entry.queue, state, entry.bytes);
    }

    /// Puts the next waiting job whose time has come among the ready ones, and names its queue. The job has
    /// read as `queued` since then, so this changes nothing durable and is never taken back.
    pub(crate) fn promote_next(&mut self, now: Timestamp) -> Option<QueueIndex> {
        let first = self.timed.first_entry().filter(|first| first.key().0 <= now)?;
        let ((_, job), (index, state, waiting)) = first.remove_entry();
        let queue = self.queues.get_mut(index);
        queue.ready.insert(job, &waiting);
        queue.depth[state as usize] -= 1;
        queue.depth[JobState::Queued as usize] += 1;
        Some(index)
    }

    /// Whether a waiting job is due that has not been promoted.
    pub(crate) fn has_due(&self, now: Timestamp) -> bool {
        self.timed.first_key_value().is_some_and(|((at, _), _)| *at <= now)
    }

    /// The waiting job that expires first, once its moment has come.
    pub(crate) fn next_expired(&self, now: Timestamp) -> Option<u64> {
        self.expiring.first().filter(|(at, _)| *at <= now).map(|(_, job)| *job)
    }

    /// The claim that lapses first, once its moment has come.
    pub(crate) fn next_lapsed(&self, now: Timestamp) -> Option<JobId> {
        self.claims.first_to_lapse().filter(|(at, _)| *at < now).map(|(_, job)| job)
    }

    /// When there is something to do next: a job due or expiring, a lease lapsing, or a suspect that has
    /// been alone long enough.
    pub(crate) fn next_moment(&self, now: Timestamp) -> Option<Timestamp> {
        let due = self.timed.first_key_value().map(|((at, _), _)| *at);
        let expiring = self.expiring.first().map(|(at, _)| *at);
        let lapsing = self.claims.first_to_lapse().map(|(at, _)| at);
        [due, expiring, lapsing, self.claims.next_suspect_at(now)].into_iter().flatten().min()
    }

    /// Jobs whose unique key may be the one with this hash.
    pub(crate) fn unique_candidates(&self, hash: u64) -> Vec<u64> {
        self.unique.candidates(hash)
    }

    pub(crate) fn claims(&self) -> &Claims {
        &self.claims
    }

    /// Makes `claim` the claim on `job`.
    pub(crate) fn set_claim(&mut self, job: u64, claim: Option<Claim>) {
        let before = self.claims.set(job, claim);
        self.undo.push(Undo::Claim { job, before });
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.keys
    }

    /// For loading, which no transaction takes back.
    pub(crate) fn keys_mut(&mut self) -> &mut Keys {
        &mut self.keys
    }

    /// Adds an idempotency key.
    pub(crate) fn add_key(&mut self, hash: u64, job: u64) {
        self.keys.insert(hash, job);
        self.undo.push(Undo::KeyAdded { hash, job });
    }

    /// Forgets an idempotency key, which may not have been loaded yet.
    pub(crate) fn remove_key(&mut self, hash: u64, job: u64) {
        self.keys.remove(hash, job);
        self.undo.push(Undo::KeyRemoved { hash, job });
    }

    /// Makes a queue exist with these limits.
    pub(crate) fn declare(&mut self, spec: QueueSpec) {
        let Some(index) = self.queues.find(&spec.name) else {
            self.queues.add(spec);
            return self.undo.push(Undo::QueueAdded);
        };
        self.note_queue(index);
        self.queues.get_mut(index).spec = spec;
    }

    /// Pauses or resumes a queue.
    pub(crate) fn pause(&mut self, index: QueueIndex, paused: bool) {
        self.note_queue(index);
        self.queues.get_mut(index).paused = paused;
    }

    fn note_queue(&mut self, index: QueueIndex) {
        let queue = self.queues.get(index);
        let undo = Undo::QueueChanged { index, spec: queue.spec.clone(), paused: queue.paused };
        self.undo.push(undo);
    }

    /// The first `most` jobs these wants may take, in ready order, and among them the one suspect that the
    /// owner may take now: of all it wants, the one with the fewest interruptions.
    pub(crate) fn pick(
        &self,
        request: &ClaimRequest,
        wants: &[Want],
        most: usize,
        now: Timestamp,
    ) -> Vec<u64> {
        let suspect = self.suspect_for(request, now).filter(|(_, place)| {
            let first = |want: &Want| self.ready(want)?.first_suspect(kinds_of(want));
            wants.iter().any(|want| first(want).is_some_and(|(_, first)| first == *place))
        });
        let lanes = wants.iter().filter_map(|want| Some((self.ready(want)?, kinds_of(want))));
        let mut bystanders = Merged::new(lanes.flat_map(|(ready, kinds)| ready.bystanders(kinds))).peekable();
        let mut suspect = suspect.map(|(_, place)| place);
        let mut picked = Vec::new();
        while picked.len() < most {
            let next = match (suspect, bystanders.peek()) {
                (Some(place), Some(other)) if place < *other => suspect.take(),
                (_, Some(_)) => bystanders.next(),
                (_, None) => suspect.take(),
            };
            let Some((_, job)) = next else { break };
            // Two wants may name one queue.
            if picked.last() != Some(&job) {
                picked.push(job);
            }
        }
        picked
    }

    fn suspect_for(&self, request: &ClaimRequest, now: Timestamp) -> Option<(u32, Place)> {
        let firsts = request.wants.iter().filter_map(|want| self.ready(want)?.first_suspect(kinds_of(want)));
        firsts.min().filter(|(interruptions, _)| {
            self.claims.may_take_suspect(&request.owner, *interruptions, self.queues.limits(), now)
        })
    }

    /// The ready jobs of the queue that is wanted, unless it is paused.
    fn ready(&self, want: &Want) -> Option<&Ready> {
        let queue = self.queues.get(self.queues.find(&want.queue)?);
        (!queue.paused).then_some(&queue.ready)
    }
}

fn kinds_of(want: &Want) -> Option<&[KindName]> {
    want.kinds.as_deref()
}
