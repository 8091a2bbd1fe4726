use std::time::Duration;

use steadfast_domain::Change;
use tokio::time::Instant;

use super::attempts::{Held, Stage};
use super::supervision::END_WAIT;
use super::{Pool, PoolReport};
use crate::store::{ClaimLost, End, Settlement, Speaker};

impl Pool {
    /// Takes no more results: from here on nothing a handler returns counts, and every supervisor cuts its
    /// handler off.
    pub(super) fn cut(&self) {
        self.attempts.cut();
        self.cut.cancel();
    }

    /// Waits for handlers that were cut off to end: a moment, and at most half of what is left until
    /// `deadline`, since the other half is the hand-back's.
    pub(super) async fn wait_for_ends(&self, deadline: Instant) {
        let left = deadline.saturating_duration_since(Instant::now());
        // Those that have not ended in time are found in the table.
        let _ = tokio::time::timeout(END_WAIT.min(left / 2), self.tasks.idle()).await;
    }

    /// Gives back every claim still held, in one call: at once what has ended, after `rest_after` what may
    /// still run, and what was decided in time as it was decided.
    pub(super) async fn hand_back_all(&self, deadline: Instant, rest_after: Duration) -> PoolReport {
        fail::fail_point!("pool::hand_back::before");
        let held = self.attempts.release_all();
        let batch: Vec<Settlement> = held.iter().map(|held| settlement(held, rest_after)).collect();
        if !batch.is_empty() {
            let answers = tokio::time::timeout_at(deadline, self.settle_until_answered(&batch)).await;
            match answers {
                Ok(answers) => {
                    held.iter().zip(answers).for_each(|(held, answer)| self.handed_back(held, answer));
                }
                Err(_) => {
                    let mut report = self.report.lock();
                    report.unsettled.extend(held.iter().map(|held| held.attempt.id.job));
                }
            }
        }
        fail::fail_point!("pool::hand_back::after");
        std::mem::take(&mut *self.report.lock())
    }

    fn handed_back(&self, held: &Held, answer: Result<Change, ClaimLost>) {
        self.settled(held, answer);
        // Under a lost claim there was nothing left to hand back.
        let Ok(change) = answer else { return };
        let mut report = self.report.lock();
        match held.stage {
            Stage::Decided(_) => {}
            Stage::Over | Stage::Running if change.state.is_terminal() => report.finished += 1,
            Stage::Over => report.handed_back.push(change.id),
            Stage::Running => report.abandoned.push(change.id),
        }
    }
}

fn settlement(held: &Held, rest_after: Duration) -> Settlement {
    let end = match &held.stage {
        Stage::Decided(verdict) => verdict.end.clone(),
        Stage::Over => End::HandBack { checkpoint: None, after: Duration::ZERO },
        Stage::Running => End::HandBack { checkpoint: None, after: rest_after },
    };
    Settlement { id: held.attempt.id, by: Speaker::Server, end }
}
