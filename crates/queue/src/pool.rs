//! Claims jobs, runs their handlers, and tells the store how they ended.
//!
//! ```text
//!  hints ─▶ listening ─▶ Slots ─▶ claiming ──▶ Attempts ──▶ settling ─▶ store
//!                                    │         (the table)      ▲
//!                                    ▼              ▲           │ a verdict for each
//!                               supervision ── one for each attempt, beside its handler
//!                                    │
//!                                    ▼ on the handlers' runtime
//!                                JobHandler ── progress, checkpoints ──▶ renewing ─▶ store
//! ```
//!
//! Everything held is in one table: an entry is made when a claim is answered and goes when its settlement
//! is. Whoever changes an entry under the table's lock decides; so a handler's late result, a time limit and a
//! hand-back cannot disagree.
//!
//! **Invariants.** A slot is reserved before a claim and free again only after the settlement's answer; its
//! place among the running is free when the handler has returned. After a claim is sent nothing cancellable
//! happens until its jobs are in the table. A settlement is tried until the store answers or results are no
//! longer taken.

mod attempt;
mod attempts;
mod claiming;
mod config;
mod hand_back;
mod listening;
mod rate_limit;
mod renewing;
mod report;
mod settling;
mod slots;
mod supervision;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use steadfast_domain::KindName;
use steadfast_lifecycle::{Phases, Tasks};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use config::{PoolConfig, PoolQueue};
pub use rate_limit::StartRate;
pub use report::PoolReport;

use crate::handler::Handlers;
use crate::hub::EventHub;
use crate::metrics::PoolMetrics;
use crate::store::JobStore;
use attempts::Attempts;
use renewing::Renewals;
use slots::Slots;

/// Where a test built with the feature `failpoints` may stop or kill the process, in the order of a job's
/// way through the pool: jobs are claimed and none has begun; a settlement is about to be sent; it is
/// answered; the hand-back is about to begin; it is answered.
#[cfg(feature = "failpoints")]
pub const FAILPOINTS: [&str; 5] = [
    "pool::claim::after",
    "pool::settle::before",
    "pool::settle::after",
    "pool::hand_back::before",
    "pool::hand_back::after",
];

/// Runs jobs, from the start of a process to its hand-back. Dropped without one it cuts its handlers off
/// and leaves their claims behind, as a crash would.
pub struct WorkerPool {
    pool: Arc<Pool>,
    claiming: JoinHandle<()>,
    _cut_on_drop: DropGuard,
}

/// Where what runs. The store's hints are read on the current runtime, beside the requests that cause most of
/// them: most concern nobody here, and are not worth waking a thread for.
#[derive(Debug, Clone)]
pub struct PoolRuntimes {
    /// The pool's own loops, and a supervisor for each attempt.
    pub pool: Handle,
    /// Handlers: one that blocks its thread stops neither time limits nor renewals.
    pub handlers: Handle,
}

/// What the pool's loops and supervisors share.
struct Pool {
    config: PoolConfig,
    store: Arc<dyn JobStore>,
    handlers: Handlers,
    /// Every kind with a handler: no other is ever claimed.
    kinds: Arc<[KindName]>,
    hub: Arc<EventHub>,
    phases: Phases,
    handlers_runtime: Handle,
    metrics: PoolMetrics,
    /// The loops and the supervisors.
    tasks: Tasks,
    slots: Arc<Slots>,
    attempts: Attempts,
    renewals: Renewals,
    /// Tells handlers that the server drains.
    draining: watch::Sender<bool>,
    /// Results are no longer taken.
    cut: CancellationToken,
    /// What has become of attempts since the drain began.
    report: Mutex<PoolReport>,
}

impl WorkerPool {
    /// Starts to claim and run jobs, on the runtimes that [`PoolRuntimes`] tells of.
    ///
    /// It follows `phases`: from `LameDuck` on it claims nothing and tells its handlers that the server
    /// drains, in `Cancelling` it stops them with
    /// [`StopReason::Shutdown`](crate::handler::StopReason::Shutdown), in `Handback` it takes no more results.
    pub fn start(
        config: PoolConfig,
        store: Arc<dyn JobStore>,
        handlers: Handlers,
        hub: Arc<EventHub>,
        phases: Phases,
        runtimes: PoolRuntimes,
        metrics: PoolMetrics,
    ) -> Self {
        let hints = store.hints();
        let kinds = handlers.kinds().cloned().collect();
        let slots = Slots::new(config.concurrency, &config.queues);
        let pool = Arc::new(Pool {
            config,
            store,
            handlers,
            kinds,
            hub,
            phases,
            handlers_runtime: runtimes.handlers,
            metrics,
            tasks: Tasks::new(),
            slots,
            attempts: Attempts::default(),
            renewals: Renewals::default(),
            draining: watch::Sender::new(false),
            cut: CancellationToken::new(),
            report: Mutex::default(),
        });
        pool.spawn("pool hints", listening::listen(Arc::clone(&pool), hints));
        let _entered = runtimes.pool.enter();
        pool.spawn("pool phases", listening::follow_phases(Arc::clone(&pool)));
        pool.spawn("pool renewals", renewing::renew(Arc::clone(&pool)));
        pool.spawn("pool settlements", settling::settle(Arc::clone(&pool)));
        let claiming = pool.spawn("pool claims", claiming::claim_jobs(Arc::clone(&pool)));
        let cut_on_drop = pool.cut.clone().drop_guard();
        Self { pool, claiming, _cut_on_drop: cut_on_drop }
    }

    /// How many attempts run, those being settled not counted.
    pub fn running(&self) -> usize {
        self.pool.attempts.running()
    }

    /// Waits for a moment when no attempt runs, none is being settled, and none is being claimed.
    pub async fn idle(&self) {
        self.pool.slots.idle().await;
    }

    /// Cuts off what runs, waits at most 1 s for the ends, and then hands back all of it in one call: at once
    /// what has ended, after `rest_after` what has not. Results that came before but are not stored yet are
    /// part of the same call. Takes no longer than until `deadline`; what could not be committed by then is
    /// named as unsettled.
    pub async fn hand_back(mut self, deadline: Instant, rest_after: Duration) -> PoolReport {
        self.pool.cut();
        self.pool.wait_for_ends(deadline).await;
        // A claim that is still unanswered is given up: its store returns the jobs to their queue. Whatever
        // was answered is in the table.
        self.claiming.abort();
        let _ = (&mut self.claiming).await;
        self.pool.hand_back_all(deadline, rest_after).await
    }
}

impl Pool {
    /// Runs one of the pool's own tasks: none of them is one it can do without.
    fn spawn<F>(&self, name: &'static str, task: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        self.tasks.spawn_essential(name, &self.config.drain, task)
    }
}

impl fmt::Debug for WorkerPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerPool").field("running", &self.running()).finish_non_exhaustive()
    }
}
