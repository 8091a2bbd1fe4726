//! The figures of a queue agree with what is stored.

use std::collections::BTreeMap;
use std::time::Duration;

use steadfast_domain::{JobState, NewJob, Priority, Start};
use steadfast_queue::store::{ListQuery, StoreLimits};

use super::Bench;
use super::subject::{LONG, Subject, echo, hand_back, in_queue, of_bytes, of_kind, queue_name};

/// Every declared queue has figures, with its own limits or the store's.
pub async fn every_declared_queue_has_figures(bench: &mut dyn Bench) {
    let limits = StoreLimits { capacity_jobs: 77, capacity_bytes: 7_777, ..StoreLimits::default() };
    let store = Subject::open_with(bench, limits).await;
    store.declare("own", Some(5), Some(500)).await;
    let mut names: Vec<String> =
        store.seam().queues().await.expect("reads").iter().map(|queue| queue.name.to_string()).collect();
    names.sort();
    assert_eq!(names, ["default", "own"]);
    let (own, default) = (store.queue("own").await, store.queue("default").await);
    assert_eq!((own.capacity_jobs, own.capacity_bytes), (5, 500));
    assert_eq!((default.capacity_jobs, default.capacity_bytes), (77, 7_777));
    assert_eq!((own.depth, own.bytes, own.oldest_ready_at, own.paused), ([0; 8], 0, None, false));
}

/// The age of the oldest ready job is that of the one due longest, whatever its priority and kind.
pub async fn the_oldest_ready_job_is_the_one_due_longest(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    store.submit(NewJob { start: Start::After(LONG), ..echo() }).await;
    assert_eq!(store.queue("default").await.oldest_ready_at, None);
    let oldest = store.submit(NewJob { priority: Priority::Low, ..of_kind("a") }).await;
    store.until_past(oldest.run_at).await;
    let next = store.submit(NewJob { priority: Priority::Critical, ..of_kind("b") }).await;
    let queue = store.queue("default").await;
    assert_eq!(queue.oldest_ready_at, Some(oldest.run_at));
    assert!(queue.now >= oldest.run_at);
    store.cancel(oldest.id).await;
    assert_eq!(store.queue("default").await.oldest_ready_at, Some(next.run_at));
    store.claim_one().await;
    assert_eq!(store.queue("default").await.oldest_ready_at, None);
}

/// Claims move jobs from `queued` to `processing` in the figures, and back.
pub async fn claimed_jobs_are_counted_as_processing(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    store.submit_all(vec![of_bytes(10), of_bytes(20)]).await;
    let depth = async || {
        let queue = store.queue("default").await;
        ([JobState::Queued, JobState::Processing].map(|state| queue.depth_in(state)), queue.bytes)
    };
    assert_eq!(depth().await, ([2, 0], 30));
    let claimed = store.claim(1).await;
    assert_eq!(depth().await, ([1, 1], 30));
    store.end(claimed[0].id, hand_back(Duration::ZERO)).await;
    assert_eq!(depth().await, ([2, 0], 30));
}

/// After housekeeping, a job whose time has come is counted as `queued`.
pub async fn a_due_job_is_counted_as_queued(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    store.submit(NewJob { start: Start::After(Duration::from_millis(10)), ..echo() }).await;
    store
        .until("it is counted as queued", async || {
            let queue = store.queue("default").await;
            let counted = [JobState::Scheduled, JobState::Queued].map(|state| queue.depth_in(state));
            (counted == [0, 1]).then_some(())
        })
        .await;
}

/// Each queue's figures are its own.
pub async fn figures_are_kept_apart_by_queue(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    store.declare("a", None, None).await;
    store.submit_all(vec![in_queue("a"), echo(), in_queue("a")]).await;
    store.claim(10).await;
    assert_figures(&store).await;
    assert_eq!(store.queue("a").await.depth_in(JobState::Queued), 2);
}

/// Every queue's figures agree with a recount of the stored jobs.
pub async fn assert_figures(store: &Subject) {
    let now = store.now().await;
    store.upkeep().await;
    let mut recount = BTreeMap::<_, ([u64; 8], u64)>::new();
    for job in store.list(ListQuery::default()).await {
        let (depth, bytes) = recount.entry(job.queue.clone()).or_default();
        depth[job.state as usize] += 1;
        if !job.state.is_terminal() {
            *bytes += job.payload_bytes as u64;
        }
    }
    for queue in store.seam().queues().await.expect("reads") {
        let counted = recount.remove(&queue_name(queue.name.as_str())).unwrap_or_default();
        assert_eq!((queue.depth, queue.bytes), counted, "{} at {now}", queue.name);
    }
    assert!(recount.is_empty(), "jobs in undeclared queues: {recount:?}");
}
