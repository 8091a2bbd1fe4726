//! Unique keys: at most one live job of a queue has one.

use std::time::Duration;

use steadfast_domain::{JobState, NewJob, Start, Tenant};
use steadfast_queue::store::{End, How, ListQuery, Refusal, Submitted};
use tokio::task::JoinSet;

use super::Bench;
use super::subject::{LONG, Subject, accepted, completed, dead, hand_back, in_queue, retry, unique};

/// A second submission is answered with the live job, in whichever live state it is.
pub async fn a_live_job_answers_for_its_unique_key(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    let scheduled = store.submit(NewJob { start: Start::After(LONG), ..unique("later") }).await;
    let same = async |key: &str, state| {
        let answer = store.try_submit_one(unique(key)).await.expect("answered");
        assert_eq!((answer.how, answer.job.state), (How::Deduplicated, state));
        answer.job.id
    };
    assert_eq!(same("later", JobState::Scheduled).await, scheduled.id);
    let job = store.submit(unique("u")).await;
    assert_eq!(same("u", JobState::Queued).await, job.id);
    let claimed = store.claim_one().await;
    assert_eq!(same("u", JobState::Processing).await, job.id);
    store.end(claimed.id, retry(LONG)).await;
    assert_eq!(same("u", JobState::Retryable).await, job.id);
    assert_eq!(store.stored().await, 2);
}

/// Every end of its job frees a unique key.
pub async fn every_end_frees_a_unique_key(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    for end in [completed(), dead(), End::Cancelled] {
        store.submit(unique("u")).await;
        store.end(store.claim_one().await.id, end).await;
    }
    let waiting = store.submit(unique("u")).await;
    store.cancel(waiting.id).await;
    let expired = store.submit(NewJob { deadline: Some(store.now().await), ..unique("u") }).await;
    store.until_state(expired.id, JobState::Expired).await;
    store.submit(unique("u")).await;
}

/// The same key is another one in another queue and for another tenant.
pub async fn a_unique_key_belongs_to_its_queue_and_tenant(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    store.declare("other", None, None).await;
    store.submit(unique("u")).await;
    store.submit(NewJob { queue: in_queue("other").queue, ..unique("u") }).await;
    store.submit(NewJob { tenant: Tenant::new("acme").expect("a tenant"), ..unique("u") }).await;
}

/// An ended job is not opened again while another live one has its unique key.
pub async fn reopening_needs_the_unique_key(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    let ended = store.submit(unique("u")).await;
    store.end(store.claim_one().await.id, dead()).await;
    let next = store.submit(unique("u")).await;
    assert_eq!(store.reopen(ended.id).await, Err(Refusal::UniqueKeyTaken));
    assert_eq!(store.state(ended.id).await, JobState::Dead);
    store.cancel(next.id).await;
    store.reopen(ended.id).await.expect("the key is free");
    let answer = store.try_submit_one(unique("u")).await.expect("answered");
    assert_eq!((answer.how, answer.job.id), (How::Deduplicated, ended.id));
}

/// Submits at once with one unique key make one job.
pub async fn submits_at_once_with_one_unique_key_make_one_job(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    let mut submits = JoinSet::new();
    for _ in 0..60 {
        let store = store.clone();
        submits.spawn(async move { store.try_submit_one(unique("u")).await.expect("answered") });
    }
    let answers = submits.join_all().await;
    let made: Vec<_> = answers.iter().filter(|answer| answer.how == How::Accepted).collect();
    assert_eq!((made.len(), store.stored().await), (1, 1));
    assert!(answers.iter().all(|answer| answer.job.id == made[0].job.id));
}

/// Whoever is answered with another's job can rely on its being run: one that ends at that moment either is not
/// answered with, or has not ended in the answer.
pub async fn no_submit_is_answered_with_a_job_that_has_ended(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    let mut live = store.submit(unique("u")).await;
    for _ in 0..200 {
        let (_, answer) = tokio::join!(store.cancel(live.id), store.try_submit_one(unique("u")));
        let Submitted { job, how } = answer.expect("answered");
        assert!(!job.state.is_terminal(), "{how:?} {job:?}");
        live = store.try_submit_one(unique("u")).await.expect("answered").job;
    }
    let lives = |state: &JobState| !state.is_terminal();
    let states = store.list(ListQuery::default()).await.into_iter().map(|job| job.state);
    assert_eq!(states.filter(lives).count(), 1);
}

/// A unique key stays taken through a retry and a hand-back, and is free after the end that follows.
pub async fn a_unique_key_stays_with_its_job_through_its_attempts(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    let job = accepted(store.try_submit_one(unique("u")).await.expect("accepted"));
    for end in [retry(Duration::ZERO), hand_back(Duration::ZERO)] {
        let claimed = store.until("it is ready", async || store.claim(1).await.pop()).await;
        store.end(claimed.id, end).await;
        let answer = store.try_submit_one(unique("u")).await.expect("answered");
        assert_eq!(answer.job.id, job.id);
    }
}
