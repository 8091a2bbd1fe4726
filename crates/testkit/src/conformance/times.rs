//! Jobs for later.

use std::time::Duration;

use steadfast_domain::{Job, JobState, NewJob, Start, Version};
use steadfast_queue::store::ListQuery;
use tokio::time::{Instant, sleep};

use super::Bench;
use super::subject::{LONG, Subject, echo, of_kind, retry};
use crate::PATIENCE;

const SOON: Duration = Duration::from_millis(30);

/// A job for later is `scheduled`, one whose time has passed `queued`.
pub async fn a_job_for_later_is_scheduled(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    let now = store.now().await;
    let later = [Start::After(LONG), Start::At(now.plus(LONG))];
    for start in later {
        let job = store.submit(NewJob { start, ..echo() }).await;
        assert_eq!((job.state, job.history[0].state), (JobState::Scheduled, JobState::Scheduled));
        assert!(job.run_at >= now.plus(LONG) && job.version == Version::FIRST);
    }
    for start in [Start::Now, Start::At(now), Start::After(Duration::ZERO)] {
        let job = store.submit(NewJob { start, ..echo() }).await;
        assert_eq!((job.state, job.run_at), (JobState::Queued, job.created_at));
    }
    assert_eq!(store.claim(10).await.len(), 3);
}

/// From its time on a scheduled job reads as `queued`, without a new version, and is taken; never before.
pub async fn a_scheduled_job_is_queued_from_its_time_on(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    let submitted = store.submit(NewJob { start: Start::After(SOON), ..echo() }).await;
    until_read_as_queued(&store, &submitted).await;
    let claimed = store.until("it is taken", async || store.claim(1).await.pop()).await;
    assert!(claimed.job.started_at >= Some(submitted.run_at));
    assert_eq!((claimed.job.version, claimed.job.history), (submitted.version, submitted.history));
}

/// So does a job that waits for its next attempt.
pub async fn a_retryable_job_is_queued_from_its_time_on(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    store.submit(echo()).await;
    let change = store.end(store.claim_one().await.id, retry(SOON)).await;
    assert_eq!(change.state, JobState::Retryable);
    let waiting = store.job(change.id).await;
    until_read_as_queued(&store, &waiting).await;
    let claimed = store.until("it is taken", async || store.claim(1).await.pop()).await;
    assert_eq!((claimed.job.version, claimed.job.attempt), (change.version, 2));
}

/// Reads the job, in itself and in lists, without housekeeping until its time has come.
async fn until_read_as_queued(store: &Subject, waiting: &Job) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let before = store.now().await;
        let state = store.state(waiting.id).await;
        let queued = ListQuery { state: Some(JobState::Queued), ..ListQuery::default() };
        let listed = store.list(queued).await.len();
        let after = store.now().await;
        if after < waiting.run_at {
            assert_eq!((state, listed), (waiting.state, 0), "before its time");
        } else if before >= waiting.run_at {
            assert_eq!((state, listed), (JobState::Queued, 1), "from its time on");
            return;
        }
        assert!(Instant::now() < deadline, "the store's clock goes on");
        sleep(Duration::from_millis(1)).await;
    }
}

/// Housekeeping says when the next job is due.
pub async fn housekeeping_says_when_it_is_needed_next(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    store.submit(NewJob { start: Start::After(LONG), ..echo() }).await;
    let (minute, day) = (Duration::from_secs(60), Duration::from_secs(24 * 60 * 60));
    let next_due = async || store.seam().upkeep(100).await.expect("keeps house").next_due;
    assert!(next_due().await.is_some_and(|next| next <= LONG && next > LONG / 2));
    let deadline = Some(store.now().await.plus(minute * 10));
    store.submit(NewJob { start: Start::After(day), deadline, ..echo() }).await;
    assert!(next_due().await.is_some_and(|next| next <= minute * 10 && next > minute * 5));
    store.submit(of_kind("k")).await;
    store.lease("k", minute).await;
    assert!(next_due().await.is_some_and(|next| next <= minute && next > minute / 2));
}
