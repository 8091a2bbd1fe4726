use std::sync::Arc;
use std::time::Duration;

use steadfast_wire::lease::{HeartbeatsRequest, LeaseHeartbeat, LeaseRenewed};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::Shared;
use super::attempt::Stop;
use super::held::{Checkpoint, Lease};

/// Heartbeats in one request: with checkpoints of 64 KiB it stays below what a server reads, 8 MiB.
const TOGETHER_MAX: usize = 100;
/// How often progress is sent: at most this often.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// One lease's part of a round.
struct Entry {
    lease: Arc<Lease>,
    heartbeat: LeaseHeartbeat,
    checkpoint: Option<Checkpoint>,
}

/// Keeps the leases alive, tells progress and stores checkpoints, for all attempts together.
pub(super) async fn renew(shared: Arc<Shared>) {
    let lease = shared.config.lease;
    // Half of the third of a lease after which it is due: it is renewed before half of it has passed.
    let mut tick = interval(PROGRESS_EVERY.min(lease / 6));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut progress_due = Instant::now();
    let mut failing = false;
    loop {
        tokio::select! {
            biased;
            () = shared.wake_renewing.notified() => {}
            _ = tick.tick() => {}
        }
        let with_progress = progress_due.elapsed() >= PROGRESS_EVERY;
        if with_progress {
            progress_due = Instant::now();
        }
        let mut round: Vec<Entry> =
            shared.held.all().into_iter().filter_map(|lease| entry(&shared, lease, with_progress)).collect();
        while !round.is_empty() {
            let rest = round.split_off(round.len().min(TOGETHER_MAX));
            failing = !send(&shared, std::mem::replace(&mut round, rest), failing).await;
        }
    }
}

/// What there is to say of a lease now: every third of its time that it holds.
fn entry(shared: &Shared, lease: Arc<Lease>, with_progress: bool) -> Option<Entry> {
    let is_due = lease.validity().asked.elapsed() >= shared.config.lease / 3;
    let mut reports = lease.reports.lock();
    let progress = if with_progress { reports.progress.take() } else { None };
    let checkpoint = reports.take_checkpoint();
    drop(reports);
    if !is_due && progress.is_none() && checkpoint.is_none() {
        return None;
    }
    let value = checkpoint.as_ref().map(|checkpoint| checkpoint.value.clone());
    let heartbeat = LeaseHeartbeat { lease: lease.id, progress, checkpoint: value };
    Some(Entry { lease, heartbeat, checkpoint })
}

/// Sends one request; whether it was answered.
async fn send(shared: &Shared, entries: Vec<Entry>, failing: bool) -> bool {
    let asked = Instant::now();
    let lease = shared.config.lease;
    let request =
        HeartbeatsRequest { heartbeats: entries.iter().map(|entry| entry.heartbeat.clone()).collect() };
    // One that hangs must not keep the next from being tried.
    match timeout(lease / 3, shared.client.heartbeats(&request)).await {
        Ok(Ok(answer)) => {
            for (entry, answer) in entries.into_iter().zip(answer.heartbeats) {
                entry.answered(&answer, asked, lease);
            }
            return true;
        }
        Ok(Err(error)) if !failing => tracing::warn!(%error, "leases cannot be renewed; it is tried again"),
        Err(_) if !failing => tracing::warn!("leases are not renewed in time; it is tried again"),
        Ok(Err(_)) | Err(_) => {}
    }
    entries.into_iter().for_each(Entry::unanswered);
    false
}

impl Entry {
    fn answered(self, answer: &LeaseRenewed, asked: Instant, lease: Duration) {
        let Some(renewed) = answer.renewed else { return self.lease.stop(Stop::LeaseLost) };
        self.lease.renewed(asked, lease);
        if renewed.cancel_requested {
            self.lease.stop(Stop::Cancelled);
        }
        if let Some(checkpoint) = self.checkpoint {
            checkpoint.tell_stored();
        }
    }

    /// What it had to say is said the next time, unless there is something newer.
    fn unanswered(self) {
        let mut reports = self.lease.reports.lock();
        reports.progress = reports.progress.take().or(self.heartbeat.progress);
        if let Some(checkpoint) = self.checkpoint {
            reports.put_back(checkpoint);
        }
    }
}
