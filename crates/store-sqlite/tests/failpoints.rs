//! Commits whose outcome is unknown: a failed sync (`--features failpoints`).
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod given;

use fail::FailScenario;
use given::{Given, boot, echo, key, request};
use steadfast_domain::JobState;
use steadfast_queue::JobStore;
use steadfast_queue::store::{End, How, KindCounts, Settlement, Speaker, StoreError, SubmitError};
use steadfast_store_sqlite::SqliteStore;

const END: End = End::Completed { result: None };

/// One after the other, since failpoints belong to the whole process.
#[tokio::test]
async fn a_commit_in_doubt_is_said_to_be_and_then_resolved() {
    let scenario = FailScenario::setup();
    a_submission_that_did_not_happen("sqlite::commit::fails").await;
    a_submission_that_happened("sqlite::commit::unknown").await;
    a_claim_that_happened("sqlite::commit::unknown").await;
    a_settlement_that_happened("sqlite::commit::unknown").await;
    scenario.teardown();
}

async fn a_submission_that_did_not_happen(point: &str) {
    let given = Given::new();
    let store = given.open().await;
    fail::cfg(point, "1*return").unwrap();
    let error = given.submit_with(&store, echo(), key("k", 1)).await.unwrap_err();
    let SubmitError::Store(StoreError::Unknown { ids }) = error else { panic!("{error:?}") };
    assert_eq!(ids.len(), 1);
    assert_eq!(store.queues().await.unwrap()[0].live(), 0);
    assert_eq!(store.get(&ids).await.unwrap(), [None]);
    let again = given.submit_with(&store, echo(), key("k", 1)).await.unwrap();
    assert_eq!(again[0].how, How::Accepted);
    assert_eq!(counts(&store).await.submitted, 1);
    store.check().await.unwrap();
}

async fn a_submission_that_happened(point: &str) {
    let given = Given::new();
    let store = given.open().await;
    fail::cfg(point, "1*return").unwrap();
    let error = given.submit_with(&store, echo(), key("k", 1)).await.unwrap_err();
    let SubmitError::Store(StoreError::Unknown { ids }) = error else { panic!("{error:?}") };
    let again = given.submit_with(&store, echo(), key("k", 1)).await.unwrap();
    assert_eq!((again[0].how, again[0].job.id), (How::Replayed, ids[0]));
    assert_eq!(store.queues().await.unwrap()[0].live(), 1);
    assert_eq!(counts(&store).await.submitted, 1, "counted when it was found out");
}

async fn a_claim_that_happened(point: &str) {
    let given = Given::new();
    let store = given.open().await;
    let job = given.submit(&store, echo()).await;
    fail::cfg(point, "1*return").unwrap();
    assert!(matches!(store.claim(request(boot(1), 1)).await, Err(StoreError::Unavailable(_))));
    // The next batch begins with handing the claim back.
    let found = given.claim_one(&store, boot(1)).await;
    assert_eq!((found.job.id, found.job.attempt, found.job.interruptions), (job.id, 1, 0));
}

async fn a_settlement_that_happened(point: &str) {
    let given = Given::new();
    let store = given.open().await;
    given.submit(&store, echo()).await;
    let claimed = given.claim_one(&store, boot(1)).await;
    let end = || vec![Settlement { id: claimed.id, by: Speaker::Server, end: END }];
    fail::cfg(point, "1*return").unwrap();
    assert!(matches!(store.settle(end()).await, Err(StoreError::Unknown { .. })));
    let settled = store.settle(end()).await.unwrap();
    assert_eq!(settled[0].unwrap().state, JobState::Completed);
    let counts = counts(&store).await;
    assert_eq!((counts.submitted, counts.ended_as(JobState::Completed)), (1, 1));
}

async fn counts(store: &SqliteStore) -> KindCounts {
    store.queues().await.unwrap()[0].counts.all()
}
