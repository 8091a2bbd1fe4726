//! Stores on one schema of a real server, as several processes would open them.

use std::time::Duration;

use prometheus::Registry;
use steadfast_domain::{BootId, Job, JobId, KindName, NewJob, QueueName, RawJson};
use steadfast_queue::JobStore;
use steadfast_queue::metrics::StoreMetrics;
use steadfast_queue::store::{
    ClaimRequest, Claimed, Owner, QueueSpec, StoreLimits, Submission, SubmitError, Want,
};
use steadfast_store_postgres::{OpenError, PostgresConfig, PostgresStore};
use steadfast_testkit::postgres::Cluster;
use tokio::time::Instant;

/// Longer than any test.
pub(crate) const NEVER: Duration = Duration::from_secs(600);

/// A schema, and the limits of the stores on it.
pub(crate) struct Given {
    pub(crate) url: String,
    limits: StoreLimits,
}

impl Given {
    pub(crate) async fn new() -> Self {
        Self::with(StoreLimits::default()).await
    }

    /// In a schema of the cluster that all tests share.
    pub(crate) async fn with(limits: StoreLimits) -> Self {
        Self::at(Cluster::shared().await.new_schema(), limits)
    }

    pub(crate) fn at(url: String, limits: StoreLimits) -> Self {
        Self { url, limits }
    }

    /// The schema's name.
    pub(crate) fn schema(&self) -> &str {
        self.url.rsplit_once("schema=").unwrap().1
    }

    /// A store, with the default queue.
    pub(crate) async fn open(&self) -> PostgresStore {
        let store = self.try_open().await.unwrap();
        let queue = QueueSpec { name: QueueName::default_queue(), capacity_jobs: None, capacity_bytes: None };
        store.declare(&[queue]).await.unwrap();
        store
    }

    pub(crate) async fn try_open(&self) -> Result<PostgresStore, OpenError> {
        let url = self.url.parse().unwrap();
        let config = PostgresConfig { url, listen_url: None, limits: self.limits.clone() };
        PostgresStore::open(config, StoreMetrics::register(&Registry::new()).unwrap()).await
    }
}

pub(crate) fn echo() -> NewJob {
    NewJob::new(KindName::new("echo").unwrap(), RawJson::empty_object())
}

pub(crate) async fn try_submit(store: &PostgresStore, job: NewJob) -> Result<Job, SubmitError> {
    let submission = Submission { jobs: vec![job], key: None, give_up_at: Instant::now() + NEVER };
    Ok(store.submit(submission).await?.remove(0).job)
}

pub(crate) async fn submit(store: &PostgresStore, job: NewJob) -> Job {
    try_submit(store, job).await.unwrap()
}

pub(crate) fn boot() -> Owner {
    Owner::Process(BootId::from_random(rand::random()))
}

/// Everything in the default queue.
pub(crate) fn request(owner: &Owner, max: usize) -> ClaimRequest {
    let wants = vec![Want { queue: QueueName::default_queue(), kinds: None, share: 0 }];
    ClaimRequest { owner: owner.clone(), wants, max, lease: NEVER }
}

pub(crate) async fn claim(store: &PostgresStore, owner: &Owner, max: usize, lease: Duration) -> Vec<Claimed> {
    store.claim(ClaimRequest { lease, ..request(owner, max) }).await.unwrap()
}

pub(crate) async fn job(store: &PostgresStore, id: JobId) -> Job {
    store.get(&[id]).await.unwrap().remove(0).unwrap()
}

pub(crate) async fn live(store: &PostgresStore) -> u64 {
    store.queues().await.unwrap()[0].live()
}
