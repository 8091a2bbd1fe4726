use std::ops::Bound;

use steadfast_domain::{Job, JobId, JobState, limits};

use super::clock::Now;
use super::indexes::Queue;
use super::state::State;
use crate::store::{ListQuery, Page, QueueStatus};

impl State {
    /// The job as it reads now: `queued` from its time on, even before housekeeping has come to it.
    pub(super) fn job(&self, id: JobId, now: Now) -> Option<Job> {
        let mut job = self.jobs.get(&id)?.job.clone();
        job.state = state_read(&job, now);
        Some(job)
    }

    pub(super) fn list(&self, query: &ListQuery, now: Now) -> Page {
        let limit = query.limit.clamp(1, limits::LIST_LIMIT_MAX);
        let before = query.before.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rows = self.jobs.range((Bound::Unbounded, before)).rev();
        let mut jobs = Vec::new();
        let mut oldest = None;
        for (id, entry) in rows.by_ref().take(limits::LIST_EXAMINED_MAX) {
            oldest = Some(*id);
            let state = state_read(&entry.job, now);
            if matches(query, &entry.job, state) {
                jobs.push(without_bodies(&entry.job, state));
                if jobs.len() == limit {
                    break;
                }
            }
        }
        let next = rows.next().and(oldest);
        Page { jobs, next }
    }

    pub(super) fn queues(&self, now: Now) -> Vec<QueueStatus> {
        self.indexes.queues.values().map(|queue| self.status(queue, now)).collect()
    }

    fn status(&self, queue: &Queue, now: Now) -> QueueStatus {
        let (jobs, bytes) = (queue.spec.capacity_jobs, queue.spec.capacity_bytes);
        QueueStatus {
            name: queue.spec.name.clone(),
            paused: queue.paused,
            depth: queue.depth,
            bytes: queue.live.bytes,
            capacity_jobs: jobs.unwrap_or(u64::MAX).min(self.limits.capacity_jobs),
            capacity_bytes: bytes.unwrap_or(u64::MAX).min(self.limits.capacity_bytes),
            oldest_ready_at: queue.ready.oldest_due_at(),
            now: now.at,
            counts: queue.counts.clone(),
        }
    }
}

/// As which state a job reads now: one that waits, as `queued` from its time on.
pub(super) fn state_read(job: &Job, now: Now) -> JobState {
    match job.state {
        JobState::Scheduled | JobState::Retryable if job.run_at <= now.at => JobState::Queued,
        state => state,
    }
}

fn matches(query: &ListQuery, job: &Job, state: JobState) -> bool {
    query.queue.as_ref().is_none_or(|queue| *queue == job.queue)
        && query.state.is_none_or(|wanted| wanted == state)
        && query.kind.as_ref().is_none_or(|kind| *kind == job.kind)
        && query.tag.as_ref().is_none_or(|(key, value)| job.tags.has(key, value))
}

fn without_bodies(job: &Job, state: JobState) -> Job {
    let mut job = job.clone();
    job.state = state;
    (job.payload, job.result, job.checkpoint) = (None, None, None);
    job
}
