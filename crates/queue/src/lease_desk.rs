//! Where remote workers take jobs, keep them, and say how they ended.
//!
//! ```text
//!  a worker ── take ──▶ LeaseDesk ── claim ──────────▶ JobStore
//!     ▲  nothing ready:    │                              │ hints, while somebody waits
//!     │  waits in a line   ▼                              ▼
//!     └── leases ◀────── Lines ◀── one waiter for each ── run
//! ```
//!
//! A worker that dies is nobody's to notice: its leases lapse, and the store's housekeeping returns the jobs. What
//! the desk sees to is that no lease lapses for nothing: leases whose worker is gone before it has them go back at
//! once, uncounted ([`Undelivered`]).
//!
//! **Invariants.** Nothing is remembered of a lease that was delivered: its id, the stored claim and the stored job
//! say everything, to any replica and after any restart. Whoever waits holds no job and no place. A change runs to its
//! end whether or not its client waits for it.

mod ends;
mod leases;
mod lines;
mod order;

use std::sync::Arc;
use std::time::Duration;

use steadfast_domain::{Change, JobId, JobState, RawJson, Timestamp};
use steadfast_lifecycle::{Phase, Phases};

pub use ends::{Ending, Settling};
pub use leases::{Lease, Leases, Undelivered};
pub use lines::Waiter;
pub use order::{Order, WrongQueue};

use crate::admission::{Admission, Desk, Rejection, RetryAfter, SettleRates, wall_clock};
use crate::hub::EventHub;
use crate::metrics::PoolMetrics;
use crate::spans::Tracer;
use crate::store::{ClaimId, ClaimLost, ClaimRequest, Claimed, JobStore, Renewal, Renewed, Speaker};
use leases::HandBack;
use lines::Lines;

/// Bytes of payloads after which an answer takes no further jobs. What it may hold is bounded by this and by one
/// claim more.
const PAYLOAD_BYTES_MAX: usize = 8 << 20;

/// What the desk is told by whoever builds the server.
#[derive(Debug, Clone)]
pub struct LeaseDeskConfig {
    /// Bytes of one payload, at most.
    pub payload_bytes_max: usize,
    /// Where it measures how fast jobs end; admission reads it.
    pub settle_rates: Arc<SettleRates>,
    /// Where each attempt is a span, once it is settled.
    pub tracer: Tracer,
}

/// Hands out leases. One per process.
pub struct LeaseDesk {
    admission: Arc<Admission>,
    shared: Arc<Shared>,
}

/// What the desk's tasks need.
struct Shared {
    config: LeaseDeskConfig,
    admission: Arc<Desk>,
    store: Arc<dyn JobStore>,
    hub: Arc<EventHub>,
    metrics: PoolMetrics,
    lines: Lines,
    hand_back: HandBack,
}

/// What a worker is to do from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Directive {
    /// Go on.
    Run,
    /// The server drains: ask here for nothing new before this time has passed, then whether it has been replaced.
    Quiet(Duration),
}

/// One heartbeat.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    /// Under which claim.
    pub id: ClaimId,
    /// How long it is to hold from now.
    pub lease: Duration,
    /// What the worker reports.
    pub progress: Option<RawJson>,
    /// What the next attempt is to find if this one is lost.
    pub checkpoint: Option<RawJson>,
}

/// A lease that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Until when, by this process's clock.
    pub expires_at: Timestamp,
    /// Whether the attempt is to stop for good.
    pub cancel_requested: bool,
}

impl LeaseDesk {
    /// A desk over the store behind `admission`. Those who wait are woken by [`run`](Self::run).
    pub fn new(
        config: LeaseDeskConfig,
        admission: Arc<Admission>,
        hub: Arc<EventHub>,
        metrics: PoolMetrics,
    ) -> Arc<Self> {
        let desk = Arc::clone(&admission.desk);
        let store = Arc::clone(&desk.store);
        let hand_back = HandBack {
            store: Arc::clone(&store),
            tasks: admission.mutations.clone(),
            phases: desk.phases.clone(),
        };
        let lines = Lines::new();
        let shared = Arc::new(Shared { config, admission: desk, store, hub, metrics, lines, hand_back });
        Arc::new(Self { admission, shared })
    }

    /// Tells those who wait of the store's hints, and now and then without any, until [`Phase::Stopped`].
    pub async fn run(self: Arc<Self>, phases: Phases) {
        self.shared.lines.serve(&*self.shared.store, &phases).await;
    }

    /// What workers are to do in the server's phase.
    pub fn directive(&self) -> Directive {
        match self.shared.is_quiet() {
            true => Directive::Quiet(RetryAfter::of_a_worker()),
            false => Directive::Run,
        }
    }

    /// Takes what is ready for this order, without waiting; nothing once the server drains.
    pub async fn take(&self, order: &Order, holding: impl Send + 'static) -> Result<Leases, Rejection> {
        let (shared, order) = (Arc::clone(&self.shared), order.clone());
        self.admission.run("lease", holding, |_| async move { shared.take(&order).await }).await
    }

    /// Gets in line. From here on no job of this order becomes ready without the line hearing of it; so whoever is to
    /// wait gets in line first, [looks](Waiter::look) second, and [waits](Waiter::wait) third.
    pub fn line_up<'a>(&'a self, order: &'a Order) -> Waiter<'a> {
        Waiter::new(self, order)
    }

    /// Renews leases. Durable for checkpoints; answers in the order of the heartbeats.
    pub async fn renew(
        &self,
        heartbeats: Vec<Heartbeat>,
        holding: impl Send + 'static,
    ) -> Result<Vec<Result<Kept, ClaimLost>>, Rejection> {
        let shared = Arc::clone(&self.shared);
        self.admission.run("heartbeat", holding, |_| async move { shared.renew(heartbeats).await }).await
    }

    /// Records how attempts ended. Durable; a repeat under the lease that settled the job answers as the first time.
    /// Answers in the order of the settlements.
    pub async fn settle(
        &self,
        settlements: Vec<Settling>,
        holding: impl Send + 'static,
    ) -> Result<Vec<Result<Change, ClaimLost>>, Rejection> {
        let shared = Arc::clone(&self.shared);
        self.admission.run("settle", holding, |_| async move { shared.settle(settlements).await }).await
    }
}

impl Shared {
    /// Whether nothing new is begun any more.
    fn is_quiet(&self) -> bool {
        self.admission.phases.current() >= Phase::LameDuck
    }

    /// Looked at before each claim and never during one: what is claimed is delivered or handed back.
    async fn take(&self, order: &Order) -> Result<Leases, Rejection> {
        self.admission.started()?;
        let mut leases = Leases::none(self.hand_back.clone(), order.lease);
        let per_claim = (PAYLOAD_BYTES_MAX / self.config.payload_bytes_max.max(1)).max(1);
        while leases.len() < order.max && leases.payload_bytes() < PAYLOAD_BYTES_MAX && !self.is_quiet() {
            let max = per_claim.min(order.max - leases.len());
            let request = ClaimRequest {
                owner: order.owner.clone(),
                wants: order.wants.to_vec(),
                max,
                lease: order.lease,
            };
            let asked_at = wall_clock();
            let claimed = match self.store.claim(request).await {
                Ok(claimed) => claimed,
                // What was taken before the store failed is good.
                Err(_) if !leases.is_empty() => break,
                Err(error) => return Err(self.admission.store_error(error)),
            };
            let was_all = claimed.len() < max;
            for claimed in claimed {
                leases.push(self.begin(claimed, asked_at));
            }
            leases.more = !was_all;
            if was_all {
                break;
            }
        }
        Ok(leases)
    }

    fn begin(&self, claimed: Claimed, asked_at: Timestamp) -> Lease {
        let Claimed { id, job, valid_for } = claimed;
        self.admission.job_rates.started(&job.queue, 1);
        let waited = job.started_at.map_or(Duration::ZERO, |started_at| started_at.since(job.run_at));
        self.metrics.wait_seconds.observe(waited.as_secs_f64());
        self.hub.report_processing(&job);
        Lease { id, expires_at: asked_at.plus(valid_for), job }
    }

    async fn renew(&self, heartbeats: Vec<Heartbeat>) -> Result<Vec<Result<Kept, ClaimLost>>, Rejection> {
        self.admission.started()?;
        let mut reports = Vec::new();
        for (index, heartbeat) in heartbeats.iter().enumerate() {
            reports.extend(heartbeat.progress.clone().map(|progress| (index, heartbeat.id.job, progress)));
        }
        let renewal = |Heartbeat { id, lease, progress, checkpoint }| Renewal {
            id,
            by: Speaker::Worker,
            lease,
            progress,
            checkpoint,
        };
        let asked_at = wall_clock();
        let answers = self.store.renew(heartbeats.into_iter().map(renewal).collect()).await;
        let answers = answers.map_err(|error| self.admission.store_error(error))?;
        reports.retain(|(index, ..)| answers.get(*index).is_some_and(Result::is_ok));
        self.report(reports).await;
        let kept = |renewed: Renewed| Kept {
            expires_at: asked_at.plus(renewed.valid_for),
            cancel_requested: renewed.cancel_requested,
        };
        Ok(answers.into_iter().map(|answer| answer.map(kept)).collect())
    }

    /// Tells whoever follows the jobs how far they are. A hint: what the store does not answer is not told.
    async fn report(&self, reports: Vec<(usize, JobId, RawJson)>) {
        if reports.is_empty() {
            return;
        }
        let ids: Vec<JobId> = reports.iter().map(|(_, id, _)| *id).collect();
        let jobs = self.store.get(&ids).await.unwrap_or_default();
        for ((.., progress), job) in reports.iter().zip(jobs) {
            if let Some(job) = job.filter(|job| job.state == JobState::Processing) {
                self.hub.report_progress(&job, progress);
            }
        }
    }
}
