use std::sync::Arc;
use std::time::Duration;

use prometheus::Registry;
use steadfast_domain::{BootId, KindName, NewJob, QueueName, RawJson};
use steadfast_queue::JobStore;
use steadfast_queue::metrics::StoreMetrics;
use steadfast_queue::store::{
    ClaimId, ClaimRequest, Claimed, End, Owner, QueueSpec, Retention, Settlement, Speaker, StoreLimits,
    Submission, Want,
};
use steadfast_store_postgres::{PostgresConfig, PostgresStore};
use tokio::time::Instant;
use uuid::Uuid;

use super::{CLAIM, Jobs};
use crate::error::BenchError;

/// Longer than any measurement.
const LONG: Duration = Duration::from_secs(60 * 60);
/// More jobs than any measurement submits, and none of them is let go.
const LIMITS: StoreLimits = StoreLimits {
    capacity_jobs: 100_000_000,
    capacity_bytes: 100 << 30,
    interruptions_max: 5,
    retention: Retention { keep: LONG, keep_dead: LONG, jobs_max: 1_000_000_000, bytes_max: 1 << 40 },
};

/// Jobs in Steadfast's store, as the server uses it.
#[derive(Debug)]
pub(crate) struct Stored {
    store: PostgresStore,
    job: NewJob,
    request: ClaimRequest,
}

impl Stored {
    /// On the schema with this URL; each job has this payload.
    pub(crate) async fn open(url: &str, payload: &str) -> Result<Self, BenchError> {
        let failed = |error: &dyn std::fmt::Display| BenchError::invalid("the store", error.to_string());
        let url = url.parse().map_err(|error| failed(&error))?;
        let metrics = StoreMetrics::register(&Registry::new()).map_err(|error| failed(&error))?;
        let config = PostgresConfig { url, listen_url: None, limits: LIMITS };
        let store = PostgresStore::open(config, metrics).await.map_err(|error| failed(&error))?;
        let queue = QueueName::default_queue();
        let spec = QueueSpec { name: queue.clone(), capacity_jobs: None, capacity_bytes: None };
        store.declare(&[spec]).await.map_err(|error| failed(&error))?;
        let kind: KindName = "echo".parse().map_err(|error| failed(&error))?;
        let payload = RawJson::parse(payload).map_err(|error| failed(&error))?;
        let want = Want { queue, kinds: Some(Arc::from([kind.clone()])), share: CLAIM };
        let owner = Owner::Process(BootId::from_random(Uuid::now_v7().as_u128()));
        let request = ClaimRequest { owner, wants: vec![want], max: CLAIM, lease: LONG };
        Ok(Self { store, job: NewJob::new(kind, payload), request })
    }

    /// So many jobs more, in batches.
    pub(crate) async fn fill(&self, jobs: usize) -> Result<(), BenchError> {
        self.submit_all(vec![self.job.clone(); jobs]).await
    }

    async fn submit_all(&self, jobs: Vec<NewJob>) -> Result<(), BenchError> {
        let submission = Submission { jobs, key: None, give_up_at: Instant::now() + LONG };
        let submitted = self.store.submit(submission).await;
        submitted.map(|_| ()).map_err(|error| BenchError::invalid("a submit", error.to_string()))
    }
}

impl Jobs for Stored {
    type Claim = ClaimId;

    async fn submit(&self) -> Result<(), BenchError> {
        self.submit_all(vec![self.job.clone()]).await
    }

    async fn claim(&self) -> Result<Vec<ClaimId>, BenchError> {
        let claimed = self.store.claim(self.request.clone()).await;
        let claimed = claimed.map_err(|error| BenchError::invalid("a claim", error.to_string()))?;
        Ok(claimed.into_iter().map(|Claimed { id, .. }| id).collect())
    }

    async fn settle(&self, claims: Vec<ClaimId>) -> Result<(), BenchError> {
        let completed = |id| Settlement { id, by: Speaker::Server, end: End::Completed { result: None } };
        let settled = self.store.settle(claims.into_iter().map(completed).collect()).await;
        let settled = settled.map_err(|error| BenchError::invalid("a settlement", error.to_string()))?;
        match settled.into_iter().find_map(Result::err) {
            None => Ok(()),
            Some(_) => Err(BenchError::invalid("a settlement", "the claim was lost")),
        }
    }

    async fn close(&self) -> Result<(), BenchError> {
        let closed = self.store.close(Instant::now() + LONG).await;
        closed.map_err(|error| BenchError::invalid("closing the store", error.to_string()))
    }
}
