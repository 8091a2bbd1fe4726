use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use steadfast_domain::{Job, TraceParent};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::handler::{Reports, StopReason};
use crate::store::{ClaimId, Claimed};

/// One attempt that this process holds the claim of, as its supervisor, the renewals and whoever stops it
/// see it.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) id: ClaimId,
    pub(super) job: Arc<Job>,
    pub(super) started: Instant,
    pub(super) reports: Arc<Reports>,
    stop: watch::Sender<Option<StopReason>>,
    /// `None` when the claim cannot lapse.
    lease: Mutex<Option<Lease>>,
}

/// How long a claim holds, counted from before it was asked for.
#[derive(Debug, Clone, Copy)]
struct Lease {
    since: Instant,
    valid_for: Duration,
}

impl Lease {
    /// `None` when it ends beyond all clocks.
    fn new(since: Instant, valid_for: Duration) -> Option<Self> {
        since.checked_add(valid_for).map(|_| Self { since, valid_for })
    }
}

impl Attempt {
    /// The attempt of a claim that was asked for at `asked`.
    pub(super) fn new(claimed: Claimed, asked: Instant, reports: Reports) -> Arc<Self> {
        Arc::new(Self {
            id: claimed.id,
            job: Arc::new(claimed.job),
            started: Instant::now(),
            reports: Arc::new(reports),
            stop: watch::Sender::new(None),
            lease: Mutex::new(Lease::new(asked, claimed.valid_for)),
        })
    }

    /// The trace its job is part of, for the log.
    pub(super) fn trace_id(&self) -> Option<&str> {
        self.job.trace.as_ref().map(TraceParent::trace_id)
    }

    /// Tells the handler to stop. A graver reason replaces a lesser one, never the other way round.
    pub(super) fn stop(&self, reason: StopReason) {
        self.stop.send_if_modified(|current| {
            let graver = current.is_none_or(|current| gravity(current) < gravity(reason));
            if graver {
                *current = Some(reason);
            }
            graver
        });
    }

    /// When its time is up.
    pub(super) fn deadline(&self) -> Instant {
        self.started + self.job.timeout.get()
    }

    pub(super) fn stop_reason(&self) -> Option<StopReason> {
        *self.stop.borrow()
    }

    pub(super) fn stops(&self) -> watch::Receiver<Option<StopReason>> {
        self.stop.subscribe()
    }

    /// The store holds the claim for this long from `asked` on.
    pub(super) fn renewed(&self, asked: Instant, valid_for: Duration) {
        *self.lease.lock() = Lease::new(asked, valid_for);
    }

    /// When the claim must be taken for lost unless it was renewed: a tenth before it may be.
    pub(super) fn fence_at(&self) -> Option<Instant> {
        let lease = *self.lease.lock();
        lease.map(|lease| lease.since + lease.valid_for.mul_f64(0.9))
    }

    /// Whether the claim must be taken for lost.
    pub(super) fn is_fenced(&self, now: Instant) -> bool {
        self.fence_at().is_some_and(|at| at <= now)
    }

    /// When another may have the job unless the claim was renewed.
    pub(super) fn lapses_at(&self) -> Option<Instant> {
        let lease = *self.lease.lock();
        lease.map(|lease| lease.since + lease.valid_for)
    }

    /// Whether a third of the claim's time has passed.
    pub(super) fn renewal_due(&self, now: Instant) -> bool {
        let lease = *self.lease.lock();
        lease.is_some_and(|lease| now >= lease.since + lease.valid_for / 3)
    }
}

fn gravity(reason: StopReason) -> u8 {
    match reason {
        StopReason::Shutdown => 0,
        StopReason::Timeout => 1,
        StopReason::Cancelled => 2,
        StopReason::LeaseLost => 3,
    }
}
