use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use steadfast_domain::{Change, Event, Job, JobId, NewJob, QueueName};

use super::clock::Now;
use super::indexes::{Load, unique_name};
use super::keys::KeyName;
use super::read::state_read;
use super::state::{Entry, State};
use crate::store::{How, IdempotencyKey, Refusal, StoreError, Submission, SubmitError, Submitted};

/// What becomes of one submitted job.
enum Part {
    New(Box<NewJob>),
    /// A stored live job has its unique key.
    Live(JobId),
    /// An earlier job of the same submission has its unique key.
    SameAs(usize),
}

impl State {
    pub(super) fn submit(&mut self, submission: Submission, now: Now) -> Result<Vec<Submitted>, SubmitError> {
        if now.instant > submission.give_up_at {
            return Err(StoreError::TimedOut.into());
        }
        if let Some(key) = &submission.key
            && let Some(answer) = self.keys.replay(key)?
        {
            let jobs = answer.iter().filter_map(|id| self.job(*id, now));
            return Ok(jobs.map(|job| Submitted { job, how: How::Replayed }).collect());
        }
        let (parts, needed) = self.plan(submission.jobs)?;
        self.room_for(&needed)?;
        let answer = self.accept(parts, submission.key.as_ref(), now);
        Ok(answer
            .into_iter()
            .filter_map(|(id, how)| Some(Submitted { job: self.job(id, now)?, how }))
            .collect())
    }

    pub(super) fn reopen(&mut self, id: JobId, now: Now) -> Result<Change, Refusal> {
        let job = &self.jobs.get(&id).ok_or(Refusal::JobNotFound)?.job;
        let not_allowed = Refusal::State(state_read(job, now));
        if job.state.after(Event::Reopen).is_none() {
            return Err(not_allowed);
        }
        if job.deadline.is_some_and(|deadline| deadline <= now.at) {
            return Err(Refusal::DeadlinePassed);
        }
        let unique = unique_name(&job.tenant, &job.queue, job.unique_key.as_ref());
        if unique.is_some_and(|name| self.indexes.unique.contains_key(&name)) {
            return Err(Refusal::UniqueKeyTaken);
        }
        let needed = Load { jobs: 1, bytes: job.payload_bytes as u64 };
        self.room_for(&BTreeMap::from([(job.queue.clone(), needed)]))?;
        let change = self.change(id, Event::Reopen, now, |entry, _| {
            entry.job.attempt = 0;
            entry.job.interruptions = 0;
            entry.job.run_at = now.at;
        });
        change.ok_or(not_allowed)
    }

    /// Which of the jobs are new, and the room these need in each queue.
    fn plan(&self, jobs: Vec<NewJob>) -> Result<(Vec<Part>, BTreeMap<QueueName, Load>), Refusal> {
        let mut needed = BTreeMap::<QueueName, Load>::new();
        let mut first_with = HashMap::new();
        let mut parts = Vec::with_capacity(jobs.len());
        for job in jobs {
            if !self.indexes.queues.contains_key(&job.queue) {
                return Err(Refusal::QueueNotFound { queue: job.queue });
            }
            if let Some(name) = unique_name(&job.tenant, &job.queue, job.unique_key.as_ref()) {
                if let Some(live) = self.indexes.unique.get(&name) {
                    parts.push(Part::Live(*live));
                    continue;
                }
                if let Some(first) = first_with.get(&name) {
                    parts.push(Part::SameAs(*first));
                    continue;
                }
                first_with.insert(name, parts.len());
            }
            needed.entry(job.queue.clone()).or_default().add(job.payload.len_bytes());
            parts.push(Part::New(Box::new(job)));
        }
        Ok((parts, needed))
    }

    /// Whether all of it fits. What never will is told from what does not now.
    fn room_for(&self, needed: &BTreeMap<QueueName, Load>) -> Result<(), Refusal> {
        let whole = Load { jobs: self.limits.capacity_jobs, bytes: self.limits.capacity_bytes };
        let mut all = Load::default();
        let mut checks = Vec::with_capacity(needed.len() + 1);
        for (name, load) in needed {
            all.jobs += load.jobs;
            all.bytes += load.bytes;
            if let Some(queue) = self.indexes.queues.get(name) {
                let capacity = Load {
                    jobs: queue.spec.capacity_jobs.unwrap_or(u64::MAX),
                    bytes: queue.spec.capacity_bytes.unwrap_or(u64::MAX),
                };
                checks.push((name, *load, queue.live, capacity));
            }
        }
        if let Some(name) = needed.keys().next() {
            checks.push((name, all, self.indexes.live, whole));
        }
        checks.iter().try_for_each(|(name, load, _, capacity)| fits_empty(name, *load, *capacity))?;
        checks.iter().try_for_each(|(name, load, live, capacity)| fits_now(name, *load, *live, *capacity))
    }

    /// Stores what is new. The answer's jobs, in the submission's order.
    fn accept(&mut self, parts: Vec<Part>, key: Option<&IdempotencyKey>, now: Now) -> Vec<(JobId, How)> {
        let made = parts.iter().filter(|part| matches!(part, Part::New(_))).count();
        let name = key.filter(|_| made > 0).map(|key| Arc::new(KeyName::of(key)));
        let mut answer: Vec<(JobId, How)> = Vec::with_capacity(parts.len());
        for part in parts {
            answer.push(match part {
                Part::Live(id) => (id, How::Deduplicated),
                Part::SameAs(first) => (answer[first].0, How::Deduplicated),
                Part::New(new) => {
                    let id = self.ids.next(now.at, rand::random());
                    let job = Job::accept(*new, id, now.at, key.map(|key| key.token.clone()));
                    self.add(Entry { job, claim: None, settled: None, key: name.clone(), ready: false }, now);
                    (id, How::Accepted)
                }
            });
        }
        if let (Some(name), Some(key)) = (name, key) {
            self.keys.keep(name, key.fingerprint, answer.iter().map(|(id, _)| *id).collect(), made);
        }
        answer
    }
}

fn fits_empty(queue: &QueueName, needed: Load, capacity: Load) -> Result<(), Refusal> {
    let queue = queue.clone();
    if needed.jobs > capacity.jobs {
        return Err(Refusal::LargerThanCapacity { queue, capacity: capacity.jobs, unit: "jobs" });
    }
    if needed.bytes > capacity.bytes {
        return Err(Refusal::LargerThanCapacity { queue, capacity: capacity.bytes, unit: "bytes" });
    }
    Ok(())
}

fn fits_now(queue: &QueueName, needed: Load, live: Load, capacity: Load) -> Result<(), Refusal> {
    let queue = queue.clone();
    if live.jobs + needed.jobs > capacity.jobs {
        return Err(Refusal::QueueFull { queue, depth: live.jobs, capacity: capacity.jobs });
    }
    if live.bytes + needed.bytes > capacity.bytes {
        return Err(Refusal::QueueBytesFull { queue, bytes: live.bytes, capacity: capacity.bytes });
    }
    Ok(())
}
