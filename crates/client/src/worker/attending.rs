use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use steadfast_wire::lease::{HeartbeatRequest, Settle};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};

use super::attempt::{Attempt, Failure, Finish, Stop};
use super::settling::Ending;
use super::verdict::{Ended, Verdict, verdict};
use super::{CANCEL_GRACE, Counts, Stopping};

/// Runs one attempt from its lease to its settlement. The place is free when the server knows how it ended, or the
/// lease is over.
pub(super) async fn attend<H, F>(attempt: Attempt, handler: Arc<H>, place: OwnedSemaphorePermit)
where
    H: Fn(Attempt) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Finish, Failure>> + Send + 'static,
{
    let ended = run(&attempt, handler).await;
    let stop = attempt.stop_reason();
    match verdict(&attempt.lease.job, ended, stop) {
        Some(verdict) => settle(&attempt, verdict).await,
        None => count(&attempt, |counts| &counts.lost),
    }
    attempt.shared.held.remove(attempt.lease.id);
    drop(place);
}

/// Runs the handler until it returns, panics, or has been told to stop and did not. Its future is a task of its own,
/// so that a panic is caught and one that blocks does not keep its lease from being watched.
async fn run<H, F>(attempt: &Attempt, handler: Arc<H>) -> Ended
where
    H: Fn(Attempt) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Finish, Failure>> + Send + 'static,
{
    let mut task = JoinSet::new();
    let given = attempt.clone();
    task.spawn(async move { handler(given).await });
    loop {
        let told = attempt.stop_reason();
        tokio::select! {
            biased;
            joined = task.join_next() => return match joined {
                Some(Ok(returned)) => Ended::Returned(returned),
                Some(Err(_)) | None => Ended::Panicked,
            },
            () = time_is_up(attempt, told) => break,
            reason = next_reason(attempt, told) => attempt.lease.stop(reason),
        }
    }
    task.abort_all();
    // It ends at its next await; what blocks its thread goes on, without a word.
    Ended::CutOff
}

/// Why an attempt that was told `told` is to be told something else.
async fn next_reason(attempt: &Attempt, told: Option<Stop>) -> Stop {
    if told == Some(Stop::LeaseLost) {
        return std::future::pending().await;
    }
    let others = async {
        if told.is_some() {
            std::future::pending::<()>().await;
        }
        tokio::select! {
            biased;
            reason = attempt.lease.stopped() => reason,
            () = attempt.shared.stopped(Stopping::Cancelling) => Stop::Shutdown,
            () = sleep_until(attempt.deadline()) => Stop::Timeout,
        }
    };
    tokio::select! {
        biased;
        () = attempt.lease.lost() => Stop::LeaseLost,
        () = attempt.lease.nearly_over() => Stop::LeaseLost,
        reason = others => reason,
    }
}

/// Waits until an attempt that was told `told` may not go on.
async fn time_is_up(attempt: &Attempt, told: Option<Stop>) {
    let grace = async {
        match told {
            Some(Stop::LeaseLost) => sleep(attempt.lease.tenth.min(CANCEL_GRACE)).await,
            Some(Stop::Cancelled | Stop::Timeout) => sleep(CANCEL_GRACE).await,
            Some(Stop::Shutdown) | None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = attempt.shared.stopped(Stopping::Cut) => {}
        () = grace => {}
    }
}

/// Tells the server how the attempt ended; it is repeated until it is known, or the lease is over.
async fn settle(attempt: &Attempt, Verdict { settle, checkpoint }: Verdict) {
    let lease = &attempt.lease;
    if let Some(checkpoint) = checkpoint {
        let heartbeat = HeartbeatRequest { progress: None, checkpoint: Some(checkpoint) };
        // What cannot be stored is lost with the attempt that ran out of its time.
        if let Err(error) = attempt.shared.client.heartbeat(lease.id, &heartbeat).await {
            tracing::warn!(%error, job_id = %lease.job.id, "a checkpoint could not be stored");
        }
    }
    let counter: fn(&Counts) -> &AtomicU64 = match settle {
        Settle::Complete(_) => |counts| &counts.completed,
        Settle::Fail(_) => |counts| &counts.failed,
        Settle::Release(_) => |counts| &counts.released,
    };
    let (taken, answer) = oneshot::channel();
    let ending = Ending { lease: Arc::clone(lease), settle, taken };
    let sent = attempt.shared.endings.send(ending).await.is_ok();
    match sent && answer.await.unwrap_or(false) {
        true => count(attempt, counter),
        false => count(attempt, |counts| &counts.lost),
    }
}

fn count(attempt: &Attempt, counter: fn(&Counts) -> &AtomicU64) {
    counter(&attempt.shared.counts).fetch_add(1, Ordering::Relaxed);
}
