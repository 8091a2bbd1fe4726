//! What only this store promises.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use own_store::Audited;
use serde_json::Value;
use steadfast::queue::store::{StoreError, StoreLimits, Submission, SubmitError};
use steadfast::queue::{JobStore, MemoryStore};
use steadfast_testkit::conformance::Bench;
use steadfast_testkit::conformance::subject::{Subject, echo, unique};
use tempfile::TempDir;
use tokio::time::Instant;

/// A store whose trail is at this path.
struct At(&'static str, TempDir);

#[async_trait]
impl Bench for At {
    async fn open(&mut self, limits: StoreLimits) -> Arc<dyn JobStore> {
        let trail = self.1.path().join(self.0);
        Arc::new(Audited::open(&trail, MemoryStore::new(limits)).expect("it can be opened"))
    }
}

fn entries(trail: &Path) -> Vec<Value> {
    let text = fs::read_to_string(trail).expect("the trail");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[tokio::test]
async fn what_was_changed_is_there_before_the_answer_and_nothing_else() {
    let mut bench = At("audit.ndjson", tempfile::tempdir().expect("a directory"));
    let trail = bench.1.path().join(bench.0);
    let store = Subject::open_for_jobs(&mut bench, 2).await;

    let job = store.submit(unique("one")).await.id.to_string();
    assert_eq!(entries(&trail)[0]["submitted"], job.as_str());
    store.try_submit_one(unique("one")).await.expect("answered with the job that has the key");
    let other = store.submit(echo()).await;
    store.try_submit_one(echo()).await.expect_err("no room");
    store.cancel(other.id).await;
    store.cancel(other.id).await;
    store.pause("default", true).await;

    let kinds: Vec<String> = entries(&trail)
        .iter()
        .flat_map(|entry| entry.as_object().expect("an object").keys().cloned())
        .filter(|key| ["submitted", "cancelled", "paused"].contains(&key.as_str()))
        .collect();
    assert_eq!(kinds, ["submitted", "submitted", "cancelled", "paused"]);
}

#[tokio::test]
async fn a_change_that_cannot_be_written_down_is_said_to_be_in_doubt() {
    // Every write to it fails, as on a full disk.
    let mut bench = At("/dev/full", tempfile::tempdir().expect("a directory"));
    let store = Subject::open(&mut bench).await;
    let give_up_at = Instant::now() + Duration::from_secs(60);
    let submission = Submission { jobs: vec![echo()], key: None, give_up_at };
    let error = store.seam().submit(submission).await.expect_err("not answered as accepted");
    let SubmitError::Store(StoreError::Unknown { ids }) = error else { panic!("{error:?}") };
    assert_eq!(store.find(ids[0]).await.map(|job| job.id), Some(ids[0]), "the job exists");
}
