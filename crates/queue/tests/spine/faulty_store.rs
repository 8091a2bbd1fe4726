//! The memory store, with what can go wrong with a real one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use steadfast_domain::{Change, Job, JobId, QueueName};
use steadfast_queue::MemoryStore;
use steadfast_queue::store::{
    Cancel, ClaimId, ClaimLost, ClaimRequest, Claimed, Durability, HINTS_MAX, Hint, JobStore, ListQuery,
    Page, QueueSpec, QueueStatus, Renewal, Renewed, Settlement, StoreError, StoreLimits, Submission,
    SubmitError, Submitted, Upkeep,
};
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

pub(crate) struct FaultyStore {
    inner: MemoryStore,
    /// What the memory store hints, passed on or lost.
    inner_hints: Mutex<broadcast::Receiver<Hint>>,
    hints: broadcast::Sender<Hint>,
    loses_hints: Mutex<Option<StdRng>>,
    /// Settlements are answered `Unavailable`.
    pub(crate) settles_fail: AtomicBool,
    /// Renewals are answered `Unavailable`.
    pub(crate) renewals_fail: AtomicBool,
    /// Claims never answer.
    pub(crate) claims_hang: AtomicBool,
    /// Claims are done and then not answered for this long.
    pub(crate) claims_take: Mutex<Duration>,
    /// Each job is cancelled between its claim and the claim's answer.
    pub(crate) cancels_claimed: AtomicBool,
    /// Submissions wait while this is true.
    pub(crate) holds_submits: watch::Sender<bool>,
    /// Submissions are done but not answered while this is true.
    pub(crate) holds_answers: watch::Sender<bool>,
    /// What the next submission is answered with, undone.
    pub(crate) submit_error: Mutex<Option<SubmitError>>,
    /// Claims lapse after this.
    pub(crate) lease: Mutex<Option<Duration>>,
    /// How many jobs each claim asked for.
    pub(crate) asked: Mutex<Vec<usize>>,
    /// Every claim given.
    pub(crate) claimed: Mutex<Vec<ClaimId>>,
    /// When each call to renew came.
    pub(crate) renewals: Mutex<Vec<Instant>>,
}

impl FaultyStore {
    pub(crate) fn new(limits: StoreLimits) -> Arc<Self> {
        let inner = MemoryStore::new(limits);
        Arc::new(Self {
            inner_hints: Mutex::new(inner.hints()),
            inner,
            hints: broadcast::Sender::new(HINTS_MAX),
            loses_hints: Mutex::default(),
            settles_fail: AtomicBool::default(),
            renewals_fail: AtomicBool::default(),
            claims_hang: AtomicBool::default(),
            claims_take: Mutex::default(),
            cancels_claimed: AtomicBool::default(),
            holds_submits: watch::Sender::new(false),
            holds_answers: watch::Sender::new(false),
            submit_error: Mutex::default(),
            lease: Mutex::default(),
            asked: Mutex::default(),
            claimed: Mutex::default(),
            renewals: Mutex::default(),
        })
    }

    /// From now on about half of all hints are lost, by this seed.
    pub(crate) fn lose_hints(&self, seed: u64) {
        *self.loses_hints.lock() = Some(StdRng::seed_from_u64(seed));
    }

    pub(crate) async fn job(&self, id: JobId) -> Job {
        self.inner.get(&[id]).await.unwrap().pop().unwrap().unwrap()
    }

    fn pass_hints_on<T>(&self, answer: T) -> T {
        let mut hints = self.inner_hints.lock();
        while let Ok(hint) = hints.try_recv() {
            if self.loses_hints.lock().as_mut().is_none_or(|random| random.random()) {
                let _ = self.hints.send(hint);
            }
        }
        answer
    }
}

pub(crate) fn away() -> StoreError {
    StoreError::Unavailable("away, as the test wants it".into())
}

#[async_trait]
impl JobStore for FaultyStore {
    fn durability(&self) -> Durability {
        self.inner.durability()
    }

    fn hints(&self) -> broadcast::Receiver<Hint> {
        self.hints.subscribe()
    }

    async fn declare(&self, queues: &[QueueSpec]) -> Result<(), StoreError> {
        self.pass_hints_on(self.inner.declare(queues).await)
    }

    async fn pause(&self, queue: &QueueName, paused: bool) -> Result<bool, StoreError> {
        self.pass_hints_on(self.inner.pause(queue, paused).await)
    }

    async fn submit(&self, submission: Submission) -> Result<Vec<Submitted>, SubmitError> {
        let _ = self.holds_submits.subscribe().wait_for(|hold| !hold).await;
        if let Some(error) = self.submit_error.lock().take() {
            return Err(error);
        }
        let answer = self.pass_hints_on(self.inner.submit(submission).await);
        let _ = self.holds_answers.subscribe().wait_for(|hold| !hold).await;
        answer
    }

    async fn reopen(&self, id: JobId) -> Result<Change, SubmitError> {
        self.pass_hints_on(self.inner.reopen(id).await)
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Vec<Claimed>, StoreError> {
        if self.claims_hang.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        self.asked.lock().push(request.max);
        let mut claimed = self.pass_hints_on(self.inner.claim(request).await)?;
        let answer_takes = *self.claims_take.lock();
        tokio::time::sleep(answer_takes).await;
        for claimed in &mut claimed {
            self.claimed.lock().push(claimed.id);
            claimed.valid_for = self.lease.lock().unwrap_or(claimed.valid_for);
            if self.cancels_claimed.load(Ordering::Relaxed) {
                self.cancel(claimed.id.job).await?;
                // Whoever listens hears of it before the claim is answered.
                tokio::task::yield_now().await;
            }
        }
        Ok(claimed)
    }

    async fn renew(&self, renewals: Vec<Renewal>) -> Result<Vec<Result<Renewed, ClaimLost>>, StoreError> {
        self.renewals.lock().push(Instant::now());
        if self.renewals_fail.load(Ordering::Relaxed) {
            return Err(away());
        }
        let mut answers = self.inner.renew(renewals).await?;
        for renewed in answers.iter_mut().flatten() {
            renewed.valid_for = self.lease.lock().unwrap_or(renewed.valid_for);
        }
        Ok(answers)
    }

    async fn settle(
        &self,
        settlements: Vec<Settlement>,
    ) -> Result<Vec<Result<Change, ClaimLost>>, StoreError> {
        if self.settles_fail.load(Ordering::Relaxed) {
            return Err(away());
        }
        self.pass_hints_on(self.inner.settle(settlements).await)
    }

    async fn cancel(&self, id: JobId) -> Result<Cancel, StoreError> {
        self.pass_hints_on(self.inner.cancel(id).await)
    }

    async fn upkeep(&self, rows_max: usize) -> Result<Upkeep, StoreError> {
        self.pass_hints_on(self.inner.upkeep(rows_max).await)
    }

    async fn get(&self, ids: &[JobId]) -> Result<Vec<Option<Job>>, StoreError> {
        self.inner.get(ids).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        self.inner.list(query).await
    }

    async fn queues(&self) -> Result<Vec<QueueStatus>, StoreError> {
        self.inner.queues().await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.inner.check().await
    }

    async fn close(&self, deadline: Instant) -> Result<(), StoreError> {
        self.inner.close(deadline).await
    }
}
