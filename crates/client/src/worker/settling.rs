use std::sync::Arc;
use std::time::Duration;

use steadfast_wire::lease::{LeaseSettlement, Settle, SettlementsRequest};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};

use super::Shared;
use super::held::Lease;
use crate::Error;
use crate::backoff::Backoff;

/// Ends told in one request: with results of 64 KiB it stays below what a server reads, 8 MiB.
const TOGETHER_MAX: usize = 100;
/// The bounds of the delay before a request is repeated: the first and the longest.
const FIRST_DELAY: Duration = Duration::from_millis(50);
const LONGEST_DELAY: Duration = Duration::from_secs(2);

/// An end that the server is to know.
pub(super) struct Ending {
    pub(super) lease: Arc<Lease>,
    pub(super) settle: Settle,
    /// Whether the server took it.
    pub(super) taken: oneshot::Sender<bool>,
}

/// Tells the server how attempts ended, all that wait in one request, until nobody can have more to say. A request is
/// repeated until it is answered: the same word under the same lease gets the first answer. One that hangs is repeated,
/// too, since its connection may be dead while others are not; the repeat has more time, since the server may only be
/// slow. An end is given up when its lease is over, since the job may be another's then.
pub(super) async fn settle(shared: Arc<Shared>, mut endings: mpsc::Receiver<Ending>) {
    let lease = shared.config.lease;
    let mut patience = lease / 3;
    let mut backoff = Backoff::new(FIRST_DELAY, LONGEST_DELAY);
    let mut waiting = Vec::new();
    loop {
        let room = TOGETHER_MAX - waiting.len();
        if waiting.is_empty() {
            if endings.recv_many(&mut waiting, room).await == 0 {
                return;
            }
        } else {
            // What has come meanwhile goes with the repeat.
            waiting.extend(std::iter::from_fn(|| endings.try_recv().ok()).take(room));
        }
        give_up_late(&mut waiting);
        if waiting.is_empty() {
            continue;
        }
        match timeout(patience, tell(&shared, &mut waiting)).await {
            Ok(Ok(())) => {
                patience = lease / 3;
                backoff.reset();
            }
            Err(_) => {
                tracing::debug!(ends = waiting.len(), "ends are not answered in time; it is tried again");
                patience = lease.min(patience * 2);
                sleep(backoff.next(rand::random(), None)).await;
            }
            Ok(Err(error)) => {
                tracing::debug!(%error, ends = waiting.len(), "ends could not be told; it is tried again");
                if is_final(&error) {
                    tell_each(&shared, &mut waiting, patience).await;
                }
                sleep(backoff.next(rand::random(), error.retry_after())).await;
            }
        }
    }
}

/// Whether the server will never take what it refused with this. Who was given the leases had a token that was right.
fn is_final(error: &Error) -> bool {
    !error.may_pass() && !error.is_of_access()
}

fn give_up_late(waiting: &mut Vec<Ending>) {
    let now = Instant::now();
    for late in waiting.extract_if(.., |ending| ending.lease.validity().until <= now) {
        tracing::warn!(job_id = %late.lease.job.id, "the server could not be told in time how an attempt ended");
        let _ = late.taken.send(false);
    }
}

/// One request for all that wait; when it is answered, none waits.
async fn tell(shared: &Shared, waiting: &mut Vec<Ending>) -> Result<(), Error> {
    let settlement =
        |ending: &Ending| LeaseSettlement { lease: ending.lease.id, settle: ending.settle.clone() };
    let request = SettlementsRequest { settlements: waiting.iter().map(settlement).collect() };
    let answer = shared.client.settle_all(&request).await?;
    let mut answers = answer.settlements.into_iter();
    for ending in waiting.drain(..) {
        let taken = answers.next().is_some_and(|answer| answer.settled.is_some());
        // The attempt's task waits for it unless the run was dropped.
        let _ = ending.taken.send(taken);
    }
    Ok(())
}

/// What is refused as a whole is told one by one, so that none keeps the others from being told; one that is refused
/// alone is not told at all, and ends with its lease.
async fn tell_each(shared: &Shared, waiting: &mut Vec<Ending>, patience: Duration) {
    for ending in std::mem::take(waiting) {
        match timeout(patience, shared.client.settle(ending.lease.id, &ending.settle)).await {
            Ok(Ok(_)) => {
                let _ = ending.taken.send(true);
            }
            Ok(Err(error)) if is_final(&error) => {
                tracing::warn!(%error, job_id = %ending.lease.job.id, "the server does not take the end of an attempt");
                let _ = ending.taken.send(false);
            }
            Ok(Err(_)) | Err(_) => waiting.push(ending),
        }
    }
}
