use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Pool;
use super::attempt::Attempt;
use crate::handler::{CheckpointError, StopReason};
use crate::store::{ClaimLost, Renewal, Renewed, Speaker, StoreError};

/// How often progress is written: at most this often for each job.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// What asks for a round of renewals before its time.
#[derive(Debug, Default)]
pub(super) struct Renewals {
    /// A checkpoint waits, or everything is to be renewed.
    pub(super) wake: Arc<Notify>,
    all: AtomicBool,
}

impl Renewals {
    /// Renews every claim once, soon: the answers tell of cancels whose hints were missed.
    pub(super) fn renew_all(&self) {
        self.all.store(true, Ordering::Release);
        self.wake.notify_one();
    }
}

/// One attempt's part of a round, and what its answer is for.
struct Entry {
    attempt: Arc<Attempt>,
    renewal: Renewal,
    stored: Option<oneshot::Sender<Result<(), CheckpointError>>>,
}

/// Keeps claims alive, writes progress and stores checkpoints, all in one call for all attempts, until
/// results are no longer taken. Claims whose verdict waits for the store are kept alive too.
pub(super) async fn renew(pool: Arc<Pool>) {
    // Half of the third of a lease after which it is due: it is renewed before half of it has passed.
    let mut tick = interval(PROGRESS_EVERY.min(pool.config.lease / 6).max(Duration::from_millis(1)));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut progress_due = Instant::now();
    let mut failing = false;
    loop {
        // An idle server is not woken: without claims there is nothing to renew.
        tokio::select! {
            biased;
            () = pool.cut.cancelled() => return,
            () = pool.attempts.any() => {}
        }
        tokio::select! {
            biased;
            () = pool.cut.cancelled() => return,
            () = pool.renewals.wake.notified() => {}
            _ = tick.tick() => {}
        }
        let now = Instant::now();
        let with_progress = progress_due <= now;
        if with_progress {
            progress_due = now + PROGRESS_EVERY;
        }
        let round = pool.round(now, with_progress);
        if round.is_empty() {
            continue;
        }
        // A renewal may be abandoned: what it does, if it does, is harmless.
        tokio::select! {
            biased;
            () = pool.cut.cancelled() => return,
            result = pool.renew_round(round) => pool.note(result, &mut failing),
        }
    }
}

impl Pool {
    /// What is to be renewed now: claims a third through their time, and those with something to write.
    fn round(&self, now: Instant, with_progress: bool) -> Vec<Entry> {
        let all = self.renewals.all.swap(false, Ordering::AcqRel);
        let mut round = Vec::new();
        for attempt in self.attempts.all() {
            let progress = if with_progress { attempt.reports.take_progress() } else { None };
            let checkpoint = attempt.reports.take_checkpoint();
            if !(all || progress.is_some() || checkpoint.is_some() || attempt.renewal_due(now)) {
                continue;
            }
            if let Some(progress) = &progress {
                self.hub.report_progress(&attempt.job, progress);
            }
            let (checkpoint, stored) = checkpoint.map(|c| (c.value, c.stored)).unzip();
            let renewal = Renewal {
                id: attempt.id,
                by: Speaker::Server,
                lease: self.config.lease,
                progress,
                checkpoint,
            };
            round.push(Entry { attempt, renewal, stored });
        }
        round
    }

    async fn renew_round(&self, round: Vec<Entry>) -> Result<(), StoreError> {
        let asked = Instant::now();
        let renewals = round.iter().map(|entry| entry.renewal.clone()).collect();
        match self.store.renew(renewals).await {
            Ok(answers) => {
                for (entry, answer) in round.into_iter().zip(answers) {
                    entry.answered(answer, asked);
                }
                Ok(())
            }
            Err(error) => {
                round.into_iter().for_each(Entry::unanswered);
                Err(error)
            }
        }
    }

    fn note(&self, result: Result<(), StoreError>, failing: &mut bool) {
        if let Err(error) = &result
            && !*failing
        {
            tracing::warn!(%error, "claims cannot be renewed; it is tried again until they can");
        }
        *failing = result.is_err();
    }
}

impl Entry {
    fn answered(self, answer: Result<Renewed, ClaimLost>, asked: Instant) {
        match &answer {
            Ok(renewed) => {
                self.attempt.renewed(asked, renewed.valid_for);
                if renewed.cancel_requested {
                    self.attempt.stop(StopReason::Cancelled);
                }
            }
            Err(ClaimLost) => self.attempt.stop(StopReason::LeaseLost),
        }
        if let Some(stored) = self.stored {
            // The attempt may have stopped waiting.
            let _ = stored.send(answer.map(|_| ()).map_err(|ClaimLost| CheckpointError::ClaimLost));
        }
    }

    fn unanswered(self) {
        if let Some(progress) = self.renewal.progress {
            self.attempt.reports.return_progress(progress);
        }
        if let Some(stored) = self.stored {
            let _ = stored.send(Err(CheckpointError::StoreUnavailable));
        }
    }
}
