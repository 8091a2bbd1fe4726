use std::collections::HashMap;
use std::collections::hash_map::Entry;

use rusqlite::Result;
use steadfast_domain::{Change, Event, Job, JobId, NewJob};
use steadfast_queue::store::{How, IdempotencyKey, Refusal, StoreError, Submission, SubmitError, Submitted};

use crate::fingerprints::fingerprint;
use crate::keys::{self, Answered, key_hash, pack};
use crate::queues::{Load, QueueIndex};
use crate::row::Stored;
use crate::transaction::Transaction;

/// What becomes of one submitted job.
enum Part {
    /// It is made, in this queue.
    New(QueueIndex),
    /// A stored live job has its unique key.
    Live(Box<Job>),
    /// An earlier job of the same submission has its unique key.
    SameAs(usize),
}

/// What a submission needs, if it is not refused.
struct Plan {
    parts: Vec<Part>,
    needed: Vec<(QueueIndex, Load)>,
}

impl Transaction<'_, '_> {
    /// Idempotency key, then unique keys, then room, then the disk; nothing is written before all have agreed.
    pub(crate) fn submit(&mut self, submission: &Submission) -> Result<Result<Vec<Submitted>, SubmitError>> {
        let key = submission.key.as_ref().map(|key| (key, key_hash(key)));
        if let Some((key, hash)) = key
            && let Some(answered) = keys::find(self.memory, self.statements, key, hash)?
        {
            return Ok(self.replay(key, &answered)?.map_err(SubmitError::from));
        }
        let plan = match self.plan(&submission.jobs)? {
            Ok(plan) => plan,
            Err(refusal) => return Ok(Err(refusal.into())),
        };
        if let Err(refusal) = self.memory.queues.room_for(&plan.needed) {
            return Ok(Err(refusal.into()));
        }
        if !self.admits && !plan.needed.is_empty() {
            return Ok(Err(StoreError::Full.into()));
        }
        self.make(submission, plan.parts, key).map(Ok)
    }

    /// `dead` or `cancelled` back to `queued`.
    pub(crate) fn reopen(&mut self, id: JobId) -> Result<Result<Change, SubmitError>> {
        let Some(stored) = self.find(id)? else { return Ok(Err(Refusal::JobNotFound.into())) };
        let job = &stored.job;
        if stored.claim.is_some() || job.state.after(Event::Reopen).is_none() {
            let state = stored.into_job(self.now).state;
            return Ok(Err(Refusal::State(state).into()));
        }
        if job.deadline.is_some_and(|deadline| deadline <= self.now) {
            return Ok(Err(Refusal::DeadlinePassed.into()));
        }
        if let Some(key) = &job.unique_key
            && self.live_with_unique_key(job.tenant.as_str(), job.queue.as_str(), key.as_str())?.is_some()
        {
            return Ok(Err(Refusal::UniqueKeyTaken.into()));
        }
        let Some(queue) = self.memory.queues.find(&job.queue) else {
            return Ok(Err(Refusal::QueueNotFound { queue: job.queue.clone() }.into()));
        };
        let needed = Load { jobs: 1, bytes: job.payload_bytes as u64 };
        if let Err(refusal) = self.memory.queues.room_for(&[(queue, needed)]) {
            return Ok(Err(refusal.into()));
        }
        if !self.admits {
            return Ok(Err(StoreError::Full.into()));
        }
        let (now, state) = (self.now, job.state);
        let change = self.change(stored, Event::Reopen, |stored, _| {
            stored.job.attempt = 0;
            stored.job.interruptions = 0;
            stored.job.run_at = now;
        })?;
        Ok(change.ok_or(Refusal::State(state).into()))
    }

    fn replay(
        &mut self,
        key: &IdempotencyKey,
        answered: &Answered,
    ) -> Result<Result<Vec<Submitted>, Refusal>> {
        if answered.fingerprint != key.fingerprint {
            return Ok(Err(Refusal::KeyMismatch));
        }
        let mut jobs = Vec::with_capacity(answered.jobs.len());
        for job in &answered.jobs {
            if let Some(stored) = self.job(*job)? {
                jobs.push(Submitted { job: stored.into_job(self.now), how: How::Replayed });
            }
        }
        Ok(Ok(jobs))
    }

    fn plan(&mut self, jobs: &[NewJob]) -> Result<Result<Plan, Refusal>> {
        let mut plan = Plan { parts: Vec::with_capacity(jobs.len()), needed: Vec::new() };
        let mut first_with = HashMap::new();
        for (place, job) in jobs.iter().enumerate() {
            let Some(queue) = self.memory.queues.find(&job.queue) else {
                return Ok(Err(Refusal::QueueNotFound { queue: job.queue.clone() }));
            };
            if let Some(key) = &job.unique_key {
                let (tenant, queue) = (job.tenant.as_str(), job.queue.as_str());
                if let Some(live) = self.live_with_unique_key(tenant, queue, key.as_str())? {
                    plan.parts.push(Part::Live(Box::new(live.into_job(self.now))));
                    continue;
                }
                match first_with.entry((&job.tenant, &job.queue, key)) {
                    Entry::Occupied(first) => {
                        plan.parts.push(Part::SameAs(*first.get()));
                        continue;
                    }
                    Entry::Vacant(vacant) => _ = vacant.insert(place),
                }
            }
            let bytes = job.payload.len_bytes() as u64;
            match plan.needed.iter_mut().find(|(needed, _)| *needed == queue) {
                Some((_, load)) => load.add(bytes),
                None => plan.needed.push((queue, Load { jobs: 1, bytes })),
            }
            plan.parts.push(Part::New(queue));
        }
        Ok(Ok(plan))
    }

    /// The live job with this unique key.
    fn live_with_unique_key(&mut self, tenant: &str, queue: &str, key: &str) -> Result<Option<Stored>> {
        let hash = fingerprint(&[tenant.as_bytes(), queue.as_bytes(), key.as_bytes()]);
        for candidate in self.memory.unique_candidates(hash) {
            let Some(stored) = self.job(candidate)? else { continue };
            let job = &stored.job;
            let same_key = job.unique_key.as_ref().is_some_and(|unique| unique.as_str() == key);
            if same_key && job.queue.as_str() == queue && job.tenant.as_str() == tenant {
                return Ok(Some(stored));
            }
        }
        Ok(None)
    }

    /// Stores what is new, and the key with it. A submission whose every job was there before leaves
    /// nothing behind, its key included: else repeating it under new keys would fill the store without ever
    /// needing room.
    fn make(
        &mut self,
        submission: &Submission,
        parts: Vec<Part>,
        key: Option<(&IdempotencyKey, u64)>,
    ) -> Result<Vec<Submitted>> {
        let mut answer: Vec<Submitted> = Vec::with_capacity(parts.len());
        let mut first_made = None;
        let mut made = 0;
        for (new, part) in submission.jobs.iter().zip(parts) {
            answer.push(match part {
                Part::Live(job) => Submitted { job: *job, how: How::Deduplicated },
                Part::SameAs(first) => Submitted { job: answer[first].job.clone(), how: How::Deduplicated },
                Part::New(queue) => {
                    let id = self.numbers.ids.next(self.now, rand::random());
                    let first = *first_made.get_or_insert(id.high());
                    let token = key.map(|(key, _)| key.token.clone());
                    let job = Job::accept(new.clone(), id, self.now, token);
                    self.accept(&job, queue, key.map(|(key, _)| (key, first)))?;
                    made += 1;
                    Submitted { job, how: How::Accepted }
                }
            });
        }
        if let (Some((_, hash)), Some(first)) = (key, first_made) {
            let jobs: Vec<u64> = answer.iter().map(|submitted| submitted.job.id.high()).collect();
            let others = (jobs.len() > 1).then(|| pack(&jobs));
            self.statements.insert_key.execute((first as i64, hash as i64, made, others))?;
            self.memory.add_key(hash, first);
        }
        Ok(answer)
    }
}
