//! A submission is accepted whole or not at all.

use std::collections::BTreeSet;
use std::time::Duration;

use steadfast_domain::{JobId, NewJob, limits};
use steadfast_queue::store::{How, Refusal, Submission};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Bench;
use super::subject::{Subject, echo, echoes, in_queue, of_kind, queue_name, unique};

/// The largest batch is accepted, answered in its order, with ids that grow.
pub async fn the_largest_batch_is_accepted_in_order(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    let batch: Vec<NewJob> = (0..limits::BATCH_JOBS_MAX).map(|n| of_kind(&format!("k{n}"))).collect();
    let jobs = store.submit_all(batch).await;
    assert_eq!(jobs.len(), limits::BATCH_JOBS_MAX);
    assert!(jobs.is_sorted_by(|a, b| a.id < b.id));
    for (n, job) in jobs.iter().enumerate() {
        assert_eq!(job.kind.as_str(), format!("k{n}"));
    }
    let ids: Vec<JobId> = jobs.iter().map(|job| job.id).collect();
    let read = store.seam().get(&ids).await.expect("reads");
    assert_eq!(read.into_iter().flatten().collect::<Vec<_>>(), jobs);
}

/// A batch for which there is room in part stores nothing.
pub async fn a_batch_that_does_not_fit_leaves_nothing_behind(bench: &mut dyn Bench) {
    let store = Subject::open_for_jobs(bench, 5).await;
    store.declare("small", Some(1), None).await;
    store.submit_all(echoes(3)).await;
    assert!(matches!(store.try_submit(echoes(3), None).await, Err(Refusal::QueueFull { .. })));
    let mixed = vec![echo(), in_queue("small"), in_queue("small")];
    assert!(store.try_submit(mixed, None).await.is_err());
    assert_eq!(store.stored().await, 3);
    assert_eq!((store.queue("default").await.live(), store.queue("small").await.live()), (3, 0));
    // The room that the refused batches asked for is not lost.
    store.submit_all(vec![echo(), in_queue("small")]).await;
}

/// A batch with one bad job stores nothing, and its unique keys stay free.
pub async fn a_refused_batch_takes_no_unique_key(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    let refusal = store.try_submit(vec![unique("u"), in_queue("nowhere")], None).await.err();
    assert_eq!(refusal, Some(Refusal::QueueNotFound { queue: queue_name("nowhere") }));
    store.submit(unique("u")).await;
}

/// Of two jobs in one batch with the same unique key, the second is answered with the first.
pub async fn one_unique_key_twice_in_a_batch_makes_one_job(bench: &mut dyn Bench) {
    let store = Subject::open_for_jobs(bench, 2).await;
    let answers = store.try_submit(vec![unique("u"), echo(), unique("u")], None).await.expect("accepted");
    let how: Vec<How> = answers.iter().map(|answer| answer.how).collect();
    assert_eq!(how, [How::Accepted, How::Accepted, How::Deduplicated]);
    assert_eq!(answers[2].job.id, answers[0].job.id);
    assert_eq!(store.stored().await, 2);
}

/// Batches at once never mix: each one's jobs are all there, under ids of their own.
pub async fn batches_at_once_are_each_whole(bench: &mut dyn Bench) {
    let store = Subject::open_for_jobs(bench, 50).await;
    let mut submits = JoinSet::new();
    for _ in 0..10 {
        let store = store.clone();
        submits.spawn(async move { store.try_submit(echoes(10), None).await });
    }
    let accepted: Vec<_> = submits.join_all().await.into_iter().filter_map(Result::ok).collect();
    assert_eq!(accepted.len(), 5);
    let ids: BTreeSet<JobId> = accepted.iter().flatten().map(|answer| answer.job.id).collect();
    assert_eq!((ids.len(), store.stored().await), (50, 50));
}

/// A submission that is given up before it began left nothing; one that is answered is stored.
pub async fn a_submission_given_up_left_nothing(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    let past = Instant::now().checked_sub(Duration::from_millis(1)).expect("the clock began earlier");
    let answer = store.seam().submit(Submission { jobs: vec![echo()], key: None, give_up_at: past }).await;
    assert_eq!(store.stored().await, usize::from(answer.is_ok()));
    store.submit(echo()).await;
}
