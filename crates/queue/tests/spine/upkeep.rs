//! Housekeeping on time.

use std::sync::Arc;
use std::time::Duration;

use steadfast_domain::JobState;
use steadfast_lifecycle::Phase;
use steadfast_queue::run_upkeep;
use steadfast_queue::store::JobStore;
use tokio::time::Instant;

use crate::given::{done, given, queue, runs, work};

#[tokio::test(start_paused = true)]
async fn what_expires_is_found_within_a_second_in_a_paused_queue_too() {
    let inside = given(runs(|_| async { done() })).without_pool().await;
    inside.store.pause(&queue("default"), true).await.unwrap();
    let mut job = work();
    job.max_wait = Some(Duration::from_millis(300));
    let began = Instant::now();
    let id = inside.submit(job).await;
    inside.reaches(id, JobState::Expired).await;
    assert!(began.elapsed() >= Duration::from_millis(300));
    assert!(began.elapsed() <= Duration::from_millis(1_310), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn it_ends_with_the_server_and_with_the_store() {
    let inside = given(runs(|_| async { done() })).without_pool().await;
    inside.sender.advance(Phase::Handback);
    assert_eq!(inside.tasks.join(Instant::now() + Duration::from_secs(5)).await, ["hub", "upkeep"]);
    inside.sender.advance(Phase::Stopped);
    inside.tasks.idle().await;
    let inside = given(runs(|_| async { done() })).without_pool().await;
    inside.store.close(Instant::now()).await.unwrap();
    run_upkeep(Arc::clone(&inside.store) as Arc<dyn JobStore>, inside.phases.clone()).await;
}
