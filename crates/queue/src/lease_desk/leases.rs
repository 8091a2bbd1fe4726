use std::fmt;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use steadfast_domain::{Job, Timestamp};
use steadfast_lifecycle::{Phase, Phases, Tasks};
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::store::{ClaimId, End, JobStore, Settlement, Speaker};

/// How often a hand-back that the store could not take is tried again.
const RETRY_EVERY: Duration = Duration::from_millis(500);

/// One job for a worker.
#[derive(Debug)]
pub struct Lease {
    /// The claim.
    pub id: ClaimId,
    /// Until when it holds, by this process's clock.
    pub expires_at: Timestamp,
    /// The job, as it was claimed.
    pub job: Job,
}

/// Jobs for a worker that does not have them yet.
#[derive(Debug)]
pub struct Leases {
    leases: Vec<Lease>,
    undelivered: Undelivered,
    payload_bytes: usize,
    /// Whether there may be more that is ready.
    pub(super) more: bool,
}

/// Leases on their way to their worker. Dropped before they are [`delivered`](Self::delivered) they go back to their
/// queues at once: no attempt and no interruption is counted.
#[derive(Debug)]
pub struct Undelivered {
    ids: Vec<ClaimId>,
    lapse_at: Instant,
    hand_back: HandBack,
}

/// What a hand-back needs. `Drop` cannot wait, so it is a task of its own, which a drain waits for.
#[derive(Clone)]
pub(super) struct HandBack {
    pub(super) store: Arc<dyn JobStore>,
    pub(super) tasks: Tasks,
    pub(super) phases: Phases,
}

impl Leases {
    /// No leases yet, of this length.
    pub(super) fn none(hand_back: HandBack, lease: Duration) -> Self {
        let undelivered = Undelivered { ids: Vec::new(), lapse_at: Instant::now() + lease, hand_back };
        Self { leases: Vec::new(), undelivered, payload_bytes: 0, more: false }
    }

    pub(super) fn push(&mut self, lease: Lease) {
        self.undelivered.ids.push(lease.id);
        self.payload_bytes += lease.job.payload_bytes;
        self.leases.push(lease);
    }

    pub(super) fn payload_bytes(&self) -> usize {
        self.payload_bytes
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.leases.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }

    /// The leases, to be told to the worker, and what is to be told when it has them.
    pub fn into_parts(self) -> (Vec<Lease>, Undelivered) {
        (self.leases, self.undelivered)
    }
}

impl Undelivered {
    /// The worker has them.
    pub fn delivered(&mut self) {
        self.ids.clear();
    }
}

impl Drop for Undelivered {
    fn drop(&mut self) {
        // Outside of a runtime the process is ending; the leases lapse.
        if !self.ids.is_empty() && Handle::try_current().is_ok() {
            let hand_back = self.hand_back.clone().run(mem::take(&mut self.ids), self.lapse_at);
            self.hand_back.tasks.spawn("lease hand-back", hand_back);
        }
    }
}

impl HandBack {
    /// Tries until the store has answered, the leases have lapsed by themselves, or the process goes.
    async fn run(self, ids: Vec<ClaimId>, lapse_at: Instant) {
        tracing::info!(leases = ids.len(), "leases go back: their worker went away before it had them");
        let back = |id| Settlement {
            id,
            by: Speaker::Server,
            end: End::HandBack { checkpoint: None, after: Duration::ZERO },
        };
        let settlements: Vec<Settlement> = ids.into_iter().map(back).collect();
        while let Err(error) = self.store.settle(settlements.clone()).await {
            tracing::debug!(%error, "leases cannot be handed back now");
            tokio::select! {
                biased;
                _ = self.phases.at_least(Phase::Handback) => return,
                () = tokio::time::sleep_until(lapse_at) => return,
                () = tokio::time::sleep(RETRY_EVERY) => {}
            }
        }
    }
}

impl fmt::Debug for HandBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HandBack")
    }
}
