//! The store's housekeeping, done on time.

use std::sync::Arc;
use std::time::Duration;

use steadfast_domain::JobState;
use steadfast_lifecycle::{Phase, Phases};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use crate::store::{Hint, JobStore, StoreError};

/// Rows one step may touch, so that no step holds the store for long.
const STEP_ROWS_MAX: usize = 500;
/// The longest time between two steps: what expires is found within a second.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// The shortest time between a step that left nothing to do and the next one, however many hints come:
/// small beside the 50 ms within which a due job is to start.
const PAUSE_MIN: Duration = Duration::from_millis(5);

/// Promotes what is due, expires, recovers lost claims and prunes, by [`JobStore::upkeep`], until
/// [`Phase::Stopped`] or until the store is closed. Runs when the store says that something is next due, at
/// once when a hint tells of a job that waits for a time, and at least once a second.
pub async fn run_upkeep(store: Arc<dyn JobStore>, phases: Phases) {
    let mut hints = store.hints();
    let mut failing = false;
    while phases.current() < Phase::Stopped {
        // The step sees whatever was hinted before it: many hints at once are one reason for a step, not many.
        hints = hints.resubscribe();
        let pause = match store.upkeep(STEP_ROWS_MAX).await {
            Ok(step) if step.more => {
                tokio::task::yield_now().await;
                continue;
            }
            Ok(step) => {
                failing = false;
                step.next_due.unwrap_or(PAUSE_MAX)
            }
            Err(StoreError::Closed) => return,
            Err(error) => {
                // Once per outage: the store's own metrics tell the rest.
                if !failing {
                    tracing::warn!(%error, "housekeeping failed; it is tried again every second");
                }
                failing = true;
                PAUSE_MAX
            }
        };
        let next = Instant::now() + pause.clamp(PAUSE_MIN, PAUSE_MAX);
        tokio::select! {
            biased;
            _ = phases.at_least(Phase::Stopped) => return,
            () = tokio::time::sleep_until(next) => {}
            () = something_waits(&mut hints) => tokio::time::sleep(PAUSE_MIN).await,
        }
    }
}

/// Waits for a hint of a job that waits for its time: it may be due before anything known so far.
async fn something_waits(hints: &mut broadcast::Receiver<Hint>) {
    loop {
        match hints.recv().await {
            Ok(Hint::Changed(change, _))
                if matches!(change.state, JobState::Scheduled | JobState::Retryable) =>
            {
                return;
            }
            Ok(Hint::Everything) | Err(RecvError::Lagged(_)) => return,
            Ok(_) => {}
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}
