//! A store on a real file in a directory of its own.
#![allow(clippy::unwrap_used, reason = "test code outside of test functions")]
#![allow(dead_code, reason = "each test file uses a part")]

use std::path::PathBuf;
use std::time::Duration;

use prometheus::Registry;
use steadfast_domain::{BootId, IdempotencyToken, Job, KindName, NewJob, QueueName, RawJson, Tenant};
use steadfast_queue::JobStore;
use steadfast_queue::metrics::StoreMetrics;
use steadfast_queue::store::{
    ClaimRequest, Claimed, Failed, IdempotencyKey, KeyScope, Owner, QueueSpec, StoreLimits, Submission,
    SubmitError, Submitted, Want,
};
use steadfast_store_sqlite::{OpenError, SqliteConfig, SqliteStore};
use tempfile::TempDir;
use tokio::time::Instant;

/// Longer than any test.
pub(crate) const NEVER: Duration = Duration::from_secs(600);

/// A directory, and the limits of the store in it.
pub(crate) struct Given {
    directory: TempDir,
    limits: StoreLimits,
    registry: Registry,
    metrics: StoreMetrics,
}

impl Given {
    pub(crate) fn new() -> Self {
        Self::with(StoreLimits::default())
    }

    pub(crate) fn with(limits: StoreLimits) -> Self {
        let registry = Registry::new();
        let metrics = StoreMetrics::register(&registry).unwrap();
        Self { directory: tempfile::tempdir().unwrap(), limits, registry, metrics }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("jobs.db")
    }

    /// The store, with the default queue.
    pub(crate) async fn open(&self) -> SqliteStore {
        let store = self.try_open().await.unwrap();
        let queue = QueueSpec { name: QueueName::default_queue(), capacity_jobs: None, capacity_bytes: None };
        store.declare(&[queue]).await.unwrap();
        store
    }

    pub(crate) async fn try_open(&self) -> Result<SqliteStore, OpenError> {
        let config = SqliteConfig { path: self.path(), limits: self.limits.clone() };
        SqliteStore::open(config, self.metrics.clone())
    }

    /// Runs SQL on the file while no store has it.
    pub(crate) fn change_file(&self, sql: &str) {
        rusqlite::Connection::open(self.path()).unwrap().execute_batch(sql).unwrap();
    }

    /// Transactions committed so far.
    pub(crate) fn commits(&self) -> u64 {
        let families = self.registry.gather();
        let commits =
            families.iter().find(|family| family.name() == "steadfast_store_commit_seconds").unwrap();
        commits.get_metric()[0].get_histogram().get_sample_count()
    }

    pub(crate) fn submission(
        &self,
        job: NewJob,
        key: Option<IdempotencyKey>,
        give_up_at: Instant,
    ) -> Submission {
        Submission { jobs: vec![job], key, give_up_at }
    }

    pub(crate) async fn submit(&self, store: &SqliteStore, job: NewJob) -> Job {
        self.submit_with(store, job, None).await.unwrap().remove(0).job
    }

    pub(crate) async fn submit_with(
        &self,
        store: &SqliteStore,
        job: NewJob,
        key: Option<IdempotencyKey>,
    ) -> Result<Vec<Submitted>, SubmitError> {
        store.submit(self.submission(job, key, Instant::now() + NEVER)).await
    }

    pub(crate) async fn claim(&self, store: &SqliteStore, owner: Owner, max: usize) -> Vec<Claimed> {
        store.claim(request(owner, max)).await.unwrap()
    }

    pub(crate) async fn claim_one(&self, store: &SqliteStore, owner: Owner) -> Claimed {
        let mut claimed = self.claim(store, owner, 1).await;
        assert_eq!(claimed.len(), 1);
        claimed.remove(0)
    }
}

/// Everything in the default queue.
pub(crate) fn request(owner: Owner, max: usize) -> ClaimRequest {
    let want = Want { queue: QueueName::default_queue(), kinds: None, share: 0 };
    ClaimRequest { owner, wants: vec![want], max, lease: Duration::from_secs(30) }
}

pub(crate) fn echo() -> NewJob {
    NewJob::new(KindName::new("echo").unwrap(), RawJson::empty_object())
}

pub(crate) fn boot(n: u128) -> Owner {
    Owner::Process(BootId::from_random(n))
}

pub(crate) fn failed() -> Failed {
    Failed { code: "boom".to_owned(), message: "it broke".to_owned() }
}

pub(crate) fn key(name: &str, body: u8) -> Option<IdempotencyKey> {
    Some(IdempotencyKey {
        tenant: Tenant::default(),
        scope: KeyScope::Submit,
        token: IdempotencyToken::new(name).unwrap(),
        fingerprint: [body; 32],
    })
}
