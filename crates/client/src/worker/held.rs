use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use steadfast_domain::{RawJson, TraceParent};
use steadfast_wire::JobDocument;
use steadfast_wire::lease::{LeaseDocument, LeaseId};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::attempt::Stop;

/// The leases that are to be kept alive.
#[derive(Default)]
pub(super) struct Held(Mutex<BTreeMap<LeaseId, Arc<Lease>>>);

/// One lease and the attempt under it.
pub(super) struct Lease {
    pub(super) id: LeaseId,
    pub(super) job: JobDocument,
    pub(super) trace_parent: Option<TraceParent>,
    /// When the attempt's time is up.
    pub(super) deadline: Instant,
    pub(super) reports: Mutex<Reports>,
    validity: watch::Sender<Validity>,
    /// A tenth of its time: so long an attempt has to return when it is nearly over, and as much is kept in hand for
    /// clocks and answers that are late.
    pub(super) tenth: Duration,
    stop: watch::Sender<Option<Stop>>,
}

/// For how long a lease is known to hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Validity {
    /// When the call was sent that gave or renewed it.
    pub(super) asked: Instant,
    pub(super) until: Instant,
}

/// What an attempt has to say before its end.
#[derive(Default)]
pub(super) struct Reports {
    pub(super) progress: Option<RawJson>,
    checkpoint: Option<Checkpoint>,
}

/// A checkpoint that waits to be stored. A newer one takes its place and answers whoever waited for it, too.
pub(super) struct Checkpoint {
    pub(super) value: RawJson,
    stored: Vec<oneshot::Sender<()>>,
}

impl Held {
    pub(super) fn insert(&self, lease: &Arc<Lease>) {
        self.0.lock().insert(lease.id, Arc::clone(lease));
    }

    pub(super) fn remove(&self, id: LeaseId) {
        self.0.lock().remove(&id);
    }

    pub(super) fn all(&self) -> Vec<Arc<Lease>> {
        self.0.lock().values().cloned().collect()
    }
}

impl Lease {
    /// A lease whose answer has just come. It may be as old as the call, which may have waited for it: it is taken to
    /// be new, but its first heartbeat is due as if it were as old.
    pub(super) fn new(document: LeaseDocument, asked: Instant, lease: Duration) -> Self {
        let LeaseDocument { lease: id, timeout_ms, traceparent, job, .. } = document;
        let now = Instant::now();
        Self {
            id,
            job,
            trace_parent: traceparent.and_then(|trace| TraceParent::new(&trace).ok()),
            deadline: now + Duration::from_millis(timeout_ms),
            reports: Mutex::default(),
            validity: watch::Sender::new(Validity { asked, until: now + lease }),
            tenth: lease / 10,
            stop: watch::Sender::new(None),
        }
    }

    /// It was renewed by a call that was sent at `asked`.
    pub(super) fn renewed(&self, asked: Instant, lease: Duration) {
        self.validity.send_replace(Validity { asked, until: asked + lease });
    }

    pub(super) fn validity(&self) -> Validity {
        *self.validity.borrow()
    }

    /// Tells the attempt to stop. A lost lease overrides every other reason; else the first one stays.
    pub(super) fn stop(&self, reason: Stop) {
        self.stop.send_if_modified(|stop| {
            let counts = stop.is_none() || (reason == Stop::LeaseLost && *stop != Some(reason));
            if counts {
                *stop = Some(reason);
            }
            counts
        });
    }

    pub(super) fn stop_reason(&self) -> Option<Stop> {
        *self.stop.borrow()
    }

    pub(super) async fn stopped(&self) -> Stop {
        let mut stop = self.stop.subscribe();
        match stop.wait_for(Option::is_some).await.map(|reason| *reason) {
            Ok(Some(reason)) => reason,
            _ => std::future::pending().await,
        }
    }

    pub(super) async fn lost(&self) {
        let mut stop = self.stop.subscribe();
        if stop.wait_for(|stop| *stop == Some(Stop::LeaseLost)).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until the lease is nearly over, not having been renewed: two tenths of it are left.
    pub(super) async fn nearly_over(&self) {
        let mut validity = self.validity.subscribe();
        loop {
            let warn_at = validity.borrow_and_update().until - 2 * self.tenth;
            tokio::select! {
                biased;
                changed = validity.changed() => if changed.is_err() { std::future::pending::<()>().await },
                () = tokio::time::sleep_until(warn_at) => return,
            }
        }
    }
}

impl Reports {
    /// Puts a checkpoint up; whoever waits is answered when it is stored, and sees a closed channel when it never is.
    pub(super) fn checkpoint(&mut self, value: RawJson) -> oneshot::Receiver<()> {
        let (sender, stored) = oneshot::channel();
        let checkpoint =
            self.checkpoint.get_or_insert_with(|| Checkpoint { value: value.clone(), stored: Vec::new() });
        checkpoint.value = value;
        checkpoint.stored.push(sender);
        stored
    }

    pub(super) fn take_checkpoint(&mut self) -> Option<Checkpoint> {
        self.checkpoint.take()
    }

    /// It was not stored: it waits again, unless a newer one does, which then answers for both.
    pub(super) fn put_back(&mut self, mut older: Checkpoint) {
        match &mut self.checkpoint {
            Some(newer) => newer.stored.append(&mut older.stored),
            None => self.checkpoint = Some(older),
        }
    }
}

impl Checkpoint {
    pub(super) fn tell_stored(self) {
        for waiting in self.stored {
            // The attempt may have stopped waiting.
            let _ = waiting.send(());
        }
    }
}
