//! Idempotency keys: two submissions with one key are one.

use std::time::Duration;

use steadfast_domain::{IdempotencyToken, JobState, NewJob, Tenant};
use steadfast_queue::store::{How, IdempotencyKey, Refusal, Retention, StoreLimits};
use tokio::task::JoinSet;

use super::Bench;
use super::subject::{
    Subject, accepted, answered_ids, batch_key, completed, echo, echoes, in_queue, key, of_kind, queue_name,
    unique,
};

/// A repeat is answered with the same job as it is now, and makes none.
pub async fn a_repeat_is_answered_with_the_same_job_as_it_is_now(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    let first = accepted(store.submit_keyed(echo(), &key("k", 1)).await.expect("accepted"));
    assert_eq!(first.idempotency_key.as_ref().map(IdempotencyToken::as_str), Some("k"));
    let again = store.submit_keyed(echo(), &key("k", 1)).await.expect("answered");
    assert_eq!((again.job, again.how), (first.clone(), How::Replayed));

    store.end(store.claim_one().await.id, completed()).await;
    let again = store.submit_keyed(echo(), &key("k", 1)).await.expect("answered");
    assert_eq!((again.job.id, again.job.state, again.how), (first.id, JobState::Completed, How::Replayed));
    assert_eq!(store.stored().await, 1);
}

/// A repeated batch is answered with all of its jobs, in its order.
pub async fn a_repeated_batch_is_answered_whole(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    let batch = || vec![of_kind("a"), of_kind("b"), of_kind("c")];
    let first = store.try_submit(batch(), Some(batch_key("k", 1))).await.expect("accepted");
    let again = store.try_submit(batch(), Some(batch_key("k", 1))).await.expect("answered");
    assert!(again.iter().all(|answer| answer.how == How::Replayed));
    assert_eq!(answered_ids(&again), answered_ids(&first));
    assert_eq!(store.stored().await, 3);
}

/// A key used with another body is refused, and makes nothing.
pub async fn a_key_with_another_body_is_refused(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    accepted(store.submit_keyed(echo(), &key("k", 1)).await.expect("accepted"));
    let other = store.submit_keyed(of_kind("other"), &key("k", 2)).await;
    assert_eq!(other.err(), Some(Refusal::KeyMismatch));
    store.end(store.claim_one().await.id, completed()).await;
    let other = store.submit_keyed(of_kind("other"), &key("k", 2)).await;
    assert_eq!(other.err(), Some(Refusal::KeyMismatch));
    assert_eq!(store.stored().await, 1);
}

/// 200 submits at once with one key make one job, and every answer is that job, or that it is being made.
pub async fn two_hundred_submits_at_once_with_one_key_make_one_job(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    let mut submits = JoinSet::new();
    for _ in 0..200 {
        let store = store.clone();
        submits.spawn(async move { store.submit_keyed(echo(), &key("k", 1)).await });
    }
    let (mut made, mut ids) = (0, Vec::new());
    for answer in submits.join_all().await {
        match answer {
            Ok(answer) => {
                made += usize::from(answer.how == How::Accepted);
                ids.push(answer.job.id);
            }
            Err(Refusal::KeyInFlight) => {}
            Err(other) => panic!("{other}"),
        }
    }
    ids.dedup();
    assert_eq!((made, ids.len(), store.stored().await), (1, 1, 1));
}

/// The same token means another key at another endpoint and for another tenant.
pub async fn a_key_belongs_to_its_endpoint_and_tenant(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    let tenant = Tenant::new("acme").expect("a tenant");
    let elsewhere = IdempotencyKey { tenant: tenant.clone(), ..key("k", 3) };
    for key in [key("k", 1), batch_key("k", 2), elsewhere] {
        let job = NewJob { tenant: key.tenant.clone(), ..echo() };
        accepted(store.submit_keyed(job, &key).await.expect("accepted"));
    }
    assert_eq!(store.stored().await, 3);
}

/// A key is looked at before room: a repeat is answered, and a mismatch refused as one, by a full store.
pub async fn a_key_comes_before_room(bench: &mut dyn Bench) {
    let store = Subject::open_for_jobs(bench, 1).await;
    let first = accepted(store.submit_keyed(echo(), &key("k", 1)).await.expect("accepted"));
    assert!(matches!(store.try_submit_one(echo()).await, Err(Refusal::QueueFull { .. })));
    let again = store.submit_keyed(echo(), &key("k", 1)).await.expect("answered");
    assert_eq!(again.job.id, first.id);
    let other = store.try_submit(echoes(50), Some(key("k", 2))).await;
    assert_eq!(other.err(), Some(Refusal::KeyMismatch));
}

/// A key is looked at before unique keys: a repeat is a replay even while its job's unique key is live.
pub async fn a_key_comes_before_a_unique_key(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    let first = accepted(store.submit_keyed(unique("u"), &key("k", 1)).await.expect("accepted"));
    let again = store.submit_keyed(unique("u"), &key("k", 1)).await.expect("answered");
    assert_eq!((again.job.id, again.how), (first.id, How::Replayed));
    let other = store.submit_keyed(unique("u"), &key("another", 1)).await.expect("answered");
    assert_eq!((other.job.id, other.how), (first.id, How::Deduplicated));
    let again = store.submit_keyed(unique("u"), &key("another", 1)).await.expect("answered");
    assert_eq!(again.job.id, first.id);
    assert_eq!(store.stored().await, 1);
}

/// A refused submission leaves its key free, with any body.
pub async fn a_refused_submission_leaves_its_key_free(bench: &mut dyn Bench) {
    let store = Subject::open_for_jobs(bench, 1).await;
    let blocker = store.submit(echo()).await;
    assert!(store.submit_keyed(echo(), &key("k", 1)).await.is_err());
    let nowhere = store.submit_keyed(in_queue("nowhere"), &key("k", 2)).await;
    assert_eq!(nowhere.err(), Some(Refusal::QueueNotFound { queue: queue_name("nowhere") }));
    store.cancel(blocker.id).await;
    accepted(store.submit_keyed(echo(), &key("k", 3)).await.expect("accepted"));
}

/// A key lives until its job is pruned, and no longer.
pub async fn a_key_lives_as_long_as_its_job(bench: &mut dyn Bench) {
    let retention = Retention { keep: Duration::ZERO, ..Retention::default() };
    let store = Subject::open_with(bench, StoreLimits { retention, ..StoreLimits::default() }).await;
    let first = accepted(store.submit_keyed(echo(), &key("k", 1)).await.expect("accepted"));
    store.upkeep().await;
    let again = store.submit_keyed(echo(), &key("k", 1)).await.expect("answered");
    assert_eq!(again.job.id, first.id);

    store.end(store.claim_one().await.id, completed()).await;
    store.until("the job is pruned", async || store.find(first.id).await.is_none().then_some(())).await;
    let next = accepted(store.submit_keyed(echo(), &key("k", 2)).await.expect("accepted"));
    assert_ne!(next.id, first.id);
}

/// Many keys are each found again.
pub async fn a_thousand_keys_are_each_found_again(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    let mut submits = JoinSet::new();
    for n in 0..1_000 {
        let store = store.clone();
        submits.spawn(async move {
            let key = key(&format!("k{n}"), 1);
            let first = accepted(store.submit_keyed(echo(), &key).await.expect("accepted"));
            let again = store.submit_keyed(echo(), &key).await.expect("answered");
            assert_eq!((again.job.id, again.how), (first.id, How::Replayed));
        });
    }
    submits.join_all().await;
    assert_eq!(store.stored().await, 1_000);
}
