//! The reference store: the whole contract of [`JobStore`] in this process's memory.
//!
//! ```text
//!   MemoryStore ── one lock ──▶ State { jobs, indexes, keys } ──▶ answer, hints
//!                                  │
//!        submit · claim · settle · upkeep · read: one file for each way in
//! ```
//!
//! Each call is one atomic step under one lock, so this is the store to read to learn what the others
//! must do. Every state change goes through `State::change`, which asks the domain's transition table,
//! and every index is kept by `Indexes`, which takes a job out before a change and puts it back after.

mod claim;
mod clock;
mod indexes;
mod keys;
mod read;
mod ready;
mod settle;
mod state;
mod submit;
mod upkeep;

use async_trait::async_trait;
use parking_lot::Mutex;
use steadfast_domain::{Change, Job, JobId, QueueName};
use tokio::sync::broadcast;
use tokio::time::Instant;

use crate::store::{
    Cancel, ClaimLost, ClaimRequest, Claimed, Durability, HINTS_MAX, Hint, JobStore, ListQuery, Page,
    QueueSpec, QueueStatus, Renewal, Renewed, Settlement, StoreError, StoreLimits, Submission, SubmitError,
    Submitted, Upkeep,
};
use clock::{Clock, Now};
use state::State;

/// Jobs in this process's memory: bounded, exact, and gone when the process ends.
///
/// What the contract leaves to a store is decided like this:
/// - A process's claims never lapse ([`Claimed::valid_for`] is `Duration::MAX`): they cannot outlive the
///   process that holds the jobs. A worker's claim is lost from the moment its lease ends, whether or not
///   [`upkeep`](JobStore::upkeep) has come to it.
/// - An idempotency key is kept as long as one of the jobs that its submission made. A replayed batch is
///   answered with those that are still stored.
#[derive(Debug)]
pub struct MemoryStore {
    clock: Clock,
    state: Mutex<State>,
    hints: broadcast::Sender<Hint>,
}

impl MemoryStore {
    /// An empty store without queues.
    pub fn new(limits: StoreLimits) -> Self {
        let (hints, _) = broadcast::channel(HINTS_MAX);
        Self { clock: Clock::start(), state: Mutex::new(State::new(limits)), hints }
    }

    /// Runs `step` as one atomic step and then, without the lock, tells whoever listens what it changed.
    fn step<T>(&self, step: impl FnOnce(&mut State, Now) -> T) -> Result<T, StoreError> {
        let (answer, hints) = {
            let mut state = self.state.lock();
            if state.closed {
                return Err(StoreError::Closed);
            }
            // Read under the lock, so that later versions never have earlier times.
            let now = self.clock.now();
            (step(&mut state, now), state.take_hints())
        };
        for hint in hints {
            // An error says that nobody listens, which is fine.
            let _ = self.hints.send(hint);
        }
        Ok(answer)
    }
}

#[async_trait]
impl JobStore for MemoryStore {
    fn durability(&self) -> Durability {
        Durability::Memory
    }

    fn hints(&self) -> broadcast::Receiver<Hint> {
        self.hints.subscribe()
    }

    async fn declare(&self, queues: &[QueueSpec]) -> Result<(), StoreError> {
        self.step(|state, _| state.declare(queues))
    }

    async fn pause(&self, queue: &QueueName, paused: bool) -> Result<bool, StoreError> {
        self.step(|state, _| state.pause(queue, paused))
    }

    async fn submit(&self, submission: Submission) -> Result<Vec<Submitted>, SubmitError> {
        self.step(|state, now| state.submit(submission, now))?
    }

    async fn reopen(&self, id: JobId) -> Result<Change, SubmitError> {
        Ok(self.step(|state, now| state.reopen(id, now))??)
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Vec<Claimed>, StoreError> {
        self.step(|state, now| state.claim(&request, now))
    }

    async fn renew(&self, renewals: Vec<Renewal>) -> Result<Vec<Result<Renewed, ClaimLost>>, StoreError> {
        self.step(|state, now| renewals.into_iter().map(|renewal| state.renew(renewal, now)).collect())
    }

    async fn settle(
        &self,
        settlements: Vec<Settlement>,
    ) -> Result<Vec<Result<Change, ClaimLost>>, StoreError> {
        self.step(|state, now| {
            settlements.into_iter().map(|settlement| state.settle(settlement, now)).collect()
        })
    }

    async fn cancel(&self, id: JobId) -> Result<Cancel, StoreError> {
        self.step(|state, now| state.cancel(id, now))
    }

    async fn upkeep(&self, rows_max: usize) -> Result<Upkeep, StoreError> {
        self.step(|state, now| state.upkeep(rows_max, now))
    }

    async fn get(&self, ids: &[JobId]) -> Result<Vec<Option<Job>>, StoreError> {
        self.step(|state, now| ids.iter().map(|id| state.job(*id, now)).collect())
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        self.step(|state, now| state.list(query, now))
    }

    async fn queues(&self) -> Result<Vec<QueueStatus>, StoreError> {
        self.step(|state, now| state.queues(now))
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.step(|_, _| ())
    }

    async fn close(&self, _deadline: Instant) -> Result<(), StoreError> {
        self.state.lock().closed = true;
        Ok(())
    }
}
