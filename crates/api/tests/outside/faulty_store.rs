use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use steadfast_domain::{Change, Job, JobId, QueueName};
use steadfast_queue::MemoryStore;
use steadfast_queue::store::{
    Cancel, ClaimLost, ClaimRequest, Claimed, Durability, Hint, JobStore, ListQuery, Page, QueueSpec,
    QueueStatus, Refusal, Renewal, Renewed, Settlement, StoreError, Submission, SubmitError, Submitted,
    Upkeep,
};
use tokio::sync::{Semaphore, broadcast};
use tokio::time::Instant;

/// A memory store that fails, or holds submits, when a test says so.
pub(crate) struct FaultyStore {
    pub(crate) inner: MemoryStore,
    fault: Mutex<Fault>,
    /// Submits that have come as far as the gate.
    pub(crate) arrived: Semaphore,
    gate: Arc<Semaphore>,
}

/// What the next calls do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    Unavailable,
    /// Changes are done, reads fail.
    Blind,
    /// Reads never answer.
    Silent,
    Full,
    Unknown,
    TimedOut,
    KeyInFlight,
    Panics,
    /// Submits wait until [`FaultyStore::release`].
    Holds,
}

impl FaultyStore {
    pub(crate) fn new(inner: MemoryStore) -> Self {
        Self {
            inner,
            fault: Mutex::new(Fault::None),
            arrived: Semaphore::new(0),
            gate: Arc::new(Semaphore::new(0)),
        }
    }

    pub(crate) fn set(&self, fault: Fault) {
        *self.fault.lock() = fault;
    }

    /// Lets one held submit go on.
    pub(crate) fn release(&self) {
        self.gate.add_permits(1);
    }

    /// Waits until one more submit is held.
    pub(crate) async fn one_is_held(&self) {
        self.arrived.acquire().await.unwrap().forget();
    }

    async fn failed_to_read(&self) -> Result<(), StoreError> {
        let fault = *self.fault.lock();
        match fault {
            Fault::Blind => Err(StoreError::Unavailable("the lamp in the cellar is out".into())),
            Fault::Silent => std::future::pending().await,
            _ => self.failed(),
        }
    }

    fn failed(&self) -> Result<(), StoreError> {
        match *self.fault.lock() {
            Fault::None | Fault::Blind | Fault::Silent | Fault::Holds | Fault::KeyInFlight => Ok(()),
            Fault::Unavailable => Err(StoreError::Unavailable("the cable to the cellar is cut".into())),
            Fault::Full => Err(StoreError::Full),
            Fault::Unknown => Err(StoreError::Unknown { ids: Vec::new() }),
            Fault::TimedOut => Err(StoreError::TimedOut),
            Fault::Panics => panic!("a fault of the store, on purpose"),
        }
    }
}

#[async_trait]
impl JobStore for FaultyStore {
    fn durability(&self) -> Durability {
        self.inner.durability()
    }

    fn hints(&self) -> broadcast::Receiver<Hint> {
        self.inner.hints()
    }

    async fn declare(&self, queues: &[QueueSpec]) -> Result<(), StoreError> {
        self.inner.declare(queues).await
    }

    async fn pause(&self, queue: &QueueName, paused: bool) -> Result<bool, StoreError> {
        self.failed()?;
        self.inner.pause(queue, paused).await
    }

    async fn submit(&self, submission: Submission) -> Result<Vec<Submitted>, SubmitError> {
        self.failed()?;
        let fault = *self.fault.lock();
        match fault {
            Fault::KeyInFlight => return Err(Refusal::KeyInFlight.into()),
            Fault::Holds => {
                self.arrived.add_permits(1);
                self.gate.acquire().await.unwrap().forget();
            }
            _ => {}
        }
        self.inner.submit(submission).await
    }

    async fn reopen(&self, id: JobId) -> Result<Change, SubmitError> {
        self.failed()?;
        self.inner.reopen(id).await
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Vec<Claimed>, StoreError> {
        self.failed()?;
        self.inner.claim(request).await
    }

    async fn renew(&self, renewals: Vec<Renewal>) -> Result<Vec<Result<Renewed, ClaimLost>>, StoreError> {
        self.failed()?;
        self.inner.renew(renewals).await
    }

    async fn settle(
        &self,
        settlements: Vec<Settlement>,
    ) -> Result<Vec<Result<Change, ClaimLost>>, StoreError> {
        self.failed()?;
        self.inner.settle(settlements).await
    }

    async fn cancel(&self, id: JobId) -> Result<Cancel, StoreError> {
        self.failed()?;
        self.inner.cancel(id).await
    }

    async fn upkeep(&self, rows_max: usize) -> Result<Upkeep, StoreError> {
        self.inner.upkeep(rows_max).await
    }

    async fn get(&self, ids: &[JobId]) -> Result<Vec<Option<Job>>, StoreError> {
        self.failed_to_read().await?;
        self.inner.get(ids).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        self.failed_to_read().await?;
        self.inner.list(query).await
    }

    async fn queues(&self) -> Result<Vec<QueueStatus>, StoreError> {
        self.failed_to_read().await?;
        self.inner.queues().await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.failed_to_read().await?;
        self.inner.check().await
    }

    async fn close(&self, deadline: Instant) -> Result<(), StoreError> {
        self.inner.close(deadline).await
    }
}
