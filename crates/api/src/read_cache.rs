use std::time::Duration;

use bytes::Bytes;
use prometheus::{IntCounter, Registry};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use steadfast_domain::{Job, JobId, JobState};
use tokio::time::Instant;

/// Bytes of kept answers, in all.
const BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Answers it expects to keep: a job's document with a small payload is about this part of [`BYTES_MAX`].
const ANSWERS_EXPECTED: usize = 16 * 1024;
/// How long an answer may be given again: retention removes jobs, and after it nobody is to be told of one for
/// much longer.
const KEPT_FOR: Duration = Duration::from_secs(10);

/// Answers to `GET /v1/jobs/{id}` that cannot change any more, for those who ask again and again.
///
/// Only of jobs that are `completed` or `expired`: what is `dead` or `cancelled` can be opened again, by any
/// replica. What is kept may outlive its job by ten seconds.
pub(crate) struct ReadCache {
    answers: Cache<JobId, Kept, ByBytes>,
    hits: IntCounter,
    misses: IntCounter,
}

#[derive(Clone)]
struct Kept {
    text: Bytes,
    since: Instant,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<JobId, Kept> for ByBytes {
    fn weight(&self, _: &JobId, kept: &Kept) -> u64 {
        (kept.text.len() + size_of::<(JobId, Kept)>()) as u64
    }
}

impl ReadCache {
    /// An empty one, which counts in `registry`.
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name, help| IntCounter::new(name, help);
        let hits = counter(
            "steadfast_read_cache_hits_total",
            "Reads of single jobs answered without the store, since the job had ended for good.",
        )?;
        let misses =
            counter("steadfast_read_cache_misses_total", "Reads of single jobs that asked the store.")?;
        registry.register(Box::new(hits.clone()))?;
        registry.register(Box::new(misses.clone()))?;
        Ok(Self { answers: Cache::with_weighter(ANSWERS_EXPECTED, BYTES_MAX, ByBytes), hits, misses })
    }

    /// The answer, if it was given within the last ten seconds and can be given again.
    pub(crate) fn get(&self, id: JobId) -> Option<Bytes> {
        let kept = self.answers.get(&id).filter(|kept| kept.since.elapsed() < KEPT_FOR);
        let counter = if kept.is_some() { &self.hits } else { &self.misses };
        counter.inc();
        kept.map(|kept| kept.text)
    }

    /// Keeps the answer, if it cannot change any more.
    pub(crate) fn keep(&self, job: &Job, text: &Bytes) {
        if matches!(job.state, JobState::Completed | JobState::Expired) {
            self.answers.insert(job.id, Kept { text: text.clone(), since: Instant::now() });
        }
    }

    /// Forgets everything, and says in the log what it was good for.
    pub(crate) fn close(&self) {
        self.answers.clear();
        tracing::info!(hits = self.hits.get(), misses = self.misses.get(), "the read cache is closed");
    }
}

#[cfg(test)]
mod tests {
    use steadfast_domain::{KindName, NewJob, RawJson, Timestamp};

    use super::*;

    fn in_state(state: JobState) -> Job {
        let job = NewJob::new(KindName::new("k").unwrap(), RawJson::empty_object());
        let id = JobId::from_u128(state as u128);
        Job { state, ..Job::accept(job, id, Timestamp::from_unix_ms(0), None) }
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_cannot_change_is_kept_and_only_for_its_time() {
        let cache = ReadCache::register(&Registry::new()).unwrap();
        for state in JobState::ALL {
            let (job, text) = (in_state(state), Bytes::from_static(b"{}"));
            cache.keep(&job, &text);
            let kept = matches!(state, JobState::Completed | JobState::Expired);
            assert_eq!(cache.get(job.id).is_some(), kept, "{state:?}");
        }
        tokio::time::advance(KEPT_FOR).await;
        assert_eq!(cache.get(in_state(JobState::Completed).id), None);
        assert_eq!((cache.hits.get(), cache.misses.get()), (2, 7));
    }

    #[tokio::test]
    async fn what_is_kept_is_bounded() {
        let cache = ReadCache::register(&Registry::new()).unwrap();
        let text = Bytes::from(vec![b' '; 64 * 1024]);
        for id in 0..1_000 {
            let job = Job { id: JobId::from_u128(id), ..in_state(JobState::Completed) };
            cache.keep(&job, &text);
        }
        assert!(cache.answers.weight() <= BYTES_MAX && cache.answers.weight() > BYTES_MAX / 2);
        cache.close();
        assert_eq!(cache.answers.weight(), 0);
    }
}
