use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use steadfast_domain::Change;
use steadfast_lifecycle::Phase;

use super::Pool;
use super::attempts::{Held, Stage};
use crate::store::{ClaimLost, End, SUSPECT_INTERRUPTIONS, Settlement};

/// Settlements in one call.
const BATCH_MAX: usize = 256;
/// Calls at once. More than one, so that what ends during a commit can ride in the next one already. Each
/// beside others carries twice as much as the one before it, so that attempts which end one after another do
/// not use them up.
const CALLS_MAX: usize = 8;
/// The first pause before a settlement is tried again.
const RETRY_FIRST: Duration = Duration::from_millis(50);
/// The longest such pause.
const RETRY_MAX: Duration = Duration::from_secs(1);

/// Tells the store how attempts ended, until results are no longer taken. What is not answered by then is
/// part of the hand-back.
pub(super) async fn settle(pool: Arc<Pool>) {
    let mut calls = FuturesUnordered::new();
    loop {
        while calls.len() < CALLS_MAX {
            let batch = pool.attempts.take_decided(1 << calls.len(), BATCH_MAX);
            if batch.is_empty() {
                break;
            }
            calls.push(pool.settle_batch(batch));
        }
        tokio::select! {
            biased;
            () = pool.cut.cancelled() => return,
            Some(()) = calls.next() => {}
            () = pool.attempts.decided() => {}
        }
    }
}

impl Pool {
    /// Settles until the store has answered: a finished attempt is never given up for an outage, a full disk
    /// or doubt, since repeating a settlement is safe.
    async fn settle_batch(&self, batch: Vec<Settlement>) {
        let answers = self.settle_until_answered(&batch).await;
        for (settlement, answer) in batch.iter().zip(answers) {
            // Whoever takes the claim out of the table counts its end.
            if let Some(held) = self.attempts.release(settlement.id) {
                self.settled(&held, answer);
            }
        }
    }

    /// The store's answers, whenever it gives them.
    pub(super) async fn settle_until_answered(&self, batch: &[Settlement]) -> Vec<Result<Change, ClaimLost>> {
        let mut pause = RETRY_FIRST;
        loop {
            fail::fail_point!("pool::settle::before");
            match self.store.settle(batch.to_vec()).await {
                Ok(answers) => {
                    fail::fail_point!("pool::settle::after");
                    return answers;
                }
                // Once for each batch: an outage is told of elsewhere too.
                Err(error) if pause == RETRY_FIRST => {
                    let jobs = batch.len();
                    tracing::warn!(%error, jobs, "attempts cannot be settled; it is tried again until they can");
                }
                Err(_) => {}
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_MAX);
        }
    }

    /// Counts what the store answered about an attempt's end.
    pub(super) fn settled(&self, held: &Held, answer: Result<Change, ClaimLost>) {
        let job = &held.attempt.job;
        let Ok(change) = answer else {
            tracing::info!(job_id = %job.id, "an attempt's end is not taken: its claim is lost");
            return;
        };
        if change.state.is_terminal() {
            self.config.settle_rates.settled(&job.queue, job.payload_bytes);
            self.config.job_rates.finished(&job.queue);
        }
        // Another suspect may have waited for this one, and no hint tells of it.
        if job.interruptions >= SUSPECT_INTERRUPTIONS {
            self.slots.all_ready();
        }
        if self.phases.current() >= Phase::LameDuck
            && let Stage::Decided(verdict) = &held.stage
        {
            let mut report = self.report.lock();
            match verdict.end {
                End::HandBack { checkpoint: Some(_), .. } if !change.state.is_terminal() => {
                    report.checkpointed.push(job.id);
                }
                End::HandBack { checkpoint: None, .. } if !change.state.is_terminal() => {
                    report.handed_back.push(job.id);
                }
                _ => report.finished += 1,
            }
        }
    }
}
