use std::sync::Arc;

use steadfast_lifecycle::Phase;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::Pool;
use crate::handler::StopReason;
use crate::store::{ClaimId, Hint};

/// Passes on the store's hints until results are no longer taken.
pub(super) async fn listen(pool: Arc<Pool>, mut hints: Receiver<Hint>) {
    let cut = pool.cut.cancelled();
    tokio::pin!(cut);
    loop {
        let hint = tokio::select! {
            biased;
            () = &mut cut => return,
            hint = hints.recv() => hint,
        };
        match hint {
            Ok(Hint::Ready(queue)) => pool.slots.ready(&queue),
            Ok(Hint::Queues) => pool.slots.all_ready(),
            Ok(Hint::CancelRequested(claim)) => pool.cancel(claim),
            Ok(Hint::Changed(..)) => {}
            Ok(Hint::Everything) => pool.look_at_everything(),
            Err(RecvError::Lagged(missed)) => {
                tracing::debug!(missed, "the pool lagged behind the store's hints");
                pool.look_at_everything();
            }
            Err(RecvError::Closed) => return,
        }
    }
}

/// Does to the attempts what each phase of a drain means for them.
pub(super) async fn follow_phases(pool: Arc<Pool>) {
    let phases = async {
        pool.phases.at_least(Phase::LameDuck).await;
        pool.draining.send_replace(true);
        pool.phases.at_least(Phase::Cancelling).await;
        for attempt in pool.attempts.all() {
            attempt.stop(StopReason::Shutdown);
        }
        pool.phases.at_least(Phase::Handback).await;
        pool.cut();
    };
    tokio::select! {
        biased;
        () = pool.cut.cancelled() => {}
        () = phases => {}
    }
}

impl Pool {
    /// Hints were missed: there may be work, and running attempts may have been asked to stop.
    fn look_at_everything(&self) {
        self.slots.all_ready();
        self.renewals.renew_all();
    }

    fn cancel(&self, claim: ClaimId) {
        if let Some(attempt) = self.attempts.get_or_miss(claim) {
            attempt.stop(StopReason::Cancelled);
        }
    }
}
