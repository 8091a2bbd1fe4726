//! Cancelling, in every state.

use std::time::Duration;

use steadfast_domain::{JobId, JobState, NewJob, Start};
use steadfast_queue::store::{Cancel, End};

use super::Bench;
use super::subject::{BRIEF, LONG, Subject, completed, dead, echo, hand_back, of_kind, retry};

/// A job that waits, for whatever, is cancelled at once and never taken.
pub async fn what_waits_is_cancelled_at_once(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    let retried = store.submit(echo()).await;
    store.end(store.claim_one().await.id, retry(LONG)).await;
    let returned = store.submit(echo()).await;
    store.end(store.claim_one().await.id, hand_back(LONG)).await;
    let scheduled = store.submit(NewJob { start: Start::After(LONG), ..echo() }).await;
    let queued = store.submit(echo()).await;
    for job in [retried, returned, scheduled, queued] {
        let Cancel::Done(change) = store.cancel(job.id).await else { panic!("cancelled at once") };
        let job = store.job(job.id).await;
        assert_eq!((change.id, change.state, change.version), (job.id, JobState::Cancelled, job.version));
        assert_eq!((job.state, job.finished_at), (JobState::Cancelled, Some(change.at)));
        assert_eq!(store.cancel(job.id).await, Cancel::AlreadyTerminal(JobState::Cancelled));
    }
    assert!(store.claim(10).await.is_empty());
}

/// An ended job stays as it ended, and an unknown one is not found.
pub async fn what_has_ended_stays_as_it_ended(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    for (end, state) in [(completed(), JobState::Completed), (dead(), JobState::Dead)] {
        store.submit(echo()).await;
        let claimed = store.claim_one().await;
        store.end(claimed.id, end).await;
        assert_eq!(store.cancel(claimed.id.job).await, Cancel::AlreadyTerminal(state));
        assert_eq!(store.state(claimed.id.job).await, state);
    }
    assert_eq!(store.cancel(JobId::from_u128(7)).await, Cancel::NotFound);
}

/// A claimed job is only asked to stop: its holder is told with its next heartbeat, and nothing durable has
/// changed yet.
pub async fn the_holder_of_a_claim_is_told(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    store.submit(echo()).await;
    let claimed = store.claim_one().await;
    assert!(!store.renew(claimed.id, LONG).await.expect("holds").cancel_requested);
    for _ in 0..2 {
        assert_eq!(store.cancel(claimed.id.job).await, Cancel::Requested);
        assert!(store.renew(claimed.id, LONG).await.expect("holds").cancel_requested);
    }
    let job = store.job(claimed.id.job).await;
    assert!(job.cancel_requested);
    assert_eq!((job.state, job.version), (JobState::Processing, claimed.job.version));
}

/// With a cancel requested, every end but success is `cancelled`; success stays success.
pub async fn a_requested_cancel_decides_every_end_but_success(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    let ends = [
        (retry(Duration::ZERO), JobState::Cancelled),
        (dead(), JobState::Cancelled),
        (hand_back(Duration::ZERO), JobState::Cancelled),
        (End::Cancelled, JobState::Cancelled),
        (completed(), JobState::Completed),
    ];
    for (end, state) in ends {
        store.submit(echo()).await;
        let claimed = store.claim_one().await;
        assert_eq!(store.cancel(claimed.id.job).await, Cancel::Requested);
        let change = store.end(claimed.id, end.clone()).await;
        assert_eq!(change.state, state);
        assert_eq!(store.settle(claimed.id, end).await, Ok(change));
        let job = store.job(claimed.id.job).await;
        assert_eq!((job.state, job.finished_at), (state, Some(change.at)));
    }
    assert!(store.claim(10).await.is_empty());
}

/// A requested cancel is kept when the claim is lost: the job ends `cancelled` and runs no more.
pub async fn a_requested_cancel_outlives_the_lost_claim(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    let job = store.submit(of_kind("k")).await;
    let claimed = store.lease("k", LONG).await;
    assert_eq!(store.cancel(job.id).await, Cancel::Requested);
    store.renew(claimed.id, BRIEF).await.expect("holds");
    store.until_state(job.id, JobState::Cancelled).await;
    assert!(store.claim(10).await.is_empty());
}
