use std::collections::BTreeMap;
use std::time::Duration;

use steadfast_domain::{Job, RawJson, Timestamp};

use crate::row::Stored;

/// Jobs as the writer wrote them a moment ago, so that what happens to them next need not read them back:
/// due ones until they are claimed, claimed ones until they are settled. Any job may be missing.
///
/// **Invariant:** a job in here is what its rows say, in the middle of a transaction too. Whoever writes one
/// of its rows takes it out first, and a transaction that is taken back empties all of it.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    waiting: Shelf,
    claimed: Shelf,
}

/// Jobs of one kind, by row number and so oldest first.
#[derive(Debug, Default)]
struct Shelf {
    jobs: BTreeMap<u64, Box<Stored>>,
    bytes: usize,
}

/// Jobs of each kind, at most.
const JOBS_MAX: usize = 4_096;
/// Bytes of their payloads and of what else has no small bound, for each kind, at most.
const BYTES_MAX: usize = 8 << 20;
/// The same for one job.
const JOB_BYTES_MAX: usize = 64 << 10;
/// A job older than this makes room for a new one. A younger one stays: a backlog is claimed oldest first,
/// so it is the one whose turn comes next.
const STALE_AFTER: Duration = Duration::from_secs(10);

impl Recent {
    /// Keeps a job just accepted, if there is room.
    pub(crate) fn keep_accepted(&mut self, job: &Job, key_job: Option<u64>, now: Timestamp) {
        self.waiting.keep(job, bytes_of(job), now, || Stored::accepted(job, key_job));
    }

    /// Keeps a job under a new claim, without its payload, if there is room.
    pub(crate) fn keep_claimed(&mut self, stored: &Stored, owner: &str, now: Timestamp) {
        let payload_bytes = stored.job.payload.as_ref().map_or(0, RawJson::len_bytes);
        let bytes = bytes_of(&stored.job) - payload_bytes;
        self.claimed.keep(&stored.job, bytes, now, || stored.claimed(owner, now));
    }

    /// Takes a job out.
    pub(crate) fn take(&mut self, job: u64) -> Option<Stored> {
        self.waiting.take(job).or_else(|| self.claimed.take(job))
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Shelf {
    /// Keeps what `make` makes of a job, if there is room.
    fn keep(&mut self, job: &Job, bytes: usize, now: Timestamp, make: impl FnOnce() -> Stored) {
        // What failed before has texts of its own, and is in no hurry.
        if bytes > JOB_BYTES_MAX || !job.errors.is_empty() {
            return;
        }
        if !self.has_room(bytes) {
            self.drop_stale(now);
        }
        if self.has_room(bytes) {
            self.bytes += bytes;
            self.jobs.insert(job.id.high(), Box::new(make()));
        }
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.jobs.len() < JOBS_MAX && self.bytes + bytes <= BYTES_MAX
    }

    fn take(&mut self, job: u64) -> Option<Stored> {
        let stored = *self.jobs.remove(&job)?;
        self.bytes -= bytes_of(&stored.job);
        Some(stored)
    }

    fn drop_stale(&mut self, now: Timestamp) {
        if let Some((job, oldest)) = self.jobs.first_key_value()
            && now.since(oldest.job.created_at) > STALE_AFTER
        {
            self.take(*job);
        }
    }
}

/// Bytes of what has no small bound.
fn bytes_of(job: &Job) -> usize {
    let texts = [&job.payload, &job.progress, &job.checkpoint, &job.result];
    let tags = job.tags.as_map().iter().map(|(key, value)| key.len() + value.len());
    texts.into_iter().flatten().map(RawJson::len_bytes).chain(tags).sum()
}

#[cfg(test)]
mod tests {
    use steadfast_domain::{JobId, KindName, NewJob};

    use super::*;

    fn job(row: u64, payload_bytes: usize) -> Job {
        let payload = RawJson::encode(&"x".repeat(payload_bytes - 2)).unwrap();
        let new = NewJob::new(KindName::new("k").unwrap(), payload);
        Job::accept(new, JobId::from_halves(row, 0), Timestamp::from_unix_ms(row as i64), None)
    }

    /// How many jobs of that size stay out of those offered, all of them at once.
    fn kept(offered: u64, payload_bytes: usize) -> usize {
        let mut recent = Recent::default();
        for row in 0..offered {
            recent.keep_accepted(&job(row, payload_bytes), None, Timestamp::from_unix_ms(0));
        }
        let kept = (0..offered).filter(|row| recent.take(*row).is_some()).count();
        assert_eq!(recent.waiting.bytes, 0);
        kept
    }

    #[test]
    fn it_is_bounded_by_jobs_and_by_bytes() {
        assert_eq!(kept(JOBS_MAX as u64 + 10, 2), JOBS_MAX);
        assert_eq!(kept(200, JOB_BYTES_MAX), BYTES_MAX / JOB_BYTES_MAX);
        assert_eq!(kept(1, JOB_BYTES_MAX + 1), 0);
    }

    #[test]
    fn only_what_is_stale_makes_room() {
        let mut recent = Recent::default();
        for row in 0..JOBS_MAX as u64 {
            recent.keep_accepted(&job(row, 2), None, Timestamp::from_unix_ms(0));
        }
        let stale_ms = STALE_AFTER.as_millis() as i64;
        recent.keep_accepted(&job(5_000, 2), None, Timestamp::from_unix_ms(stale_ms));
        assert!(recent.take(5_000).is_none());
        recent.keep_accepted(&job(5_001, 2), None, Timestamp::from_unix_ms(stale_ms + 1));
        assert!(recent.take(5_001).is_some());
        assert!(recent.take(0).is_none());
        assert!(recent.take(1).is_some());
    }
}
