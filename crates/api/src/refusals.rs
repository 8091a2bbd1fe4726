use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use steadfast_wire::ErrorCode;
use tokio::time::MissedTickBehavior;

/// Time between two summaries.
const SUMMARY_EVERY: Duration = Duration::from_secs(1);

/// Why a request was refused; never shown to the client.
pub(crate) type Cause = Arc<dyn Error + Send + Sync>;

/// Counts refusals by code. A log line for each would cost as much as the request, just when there are the
/// most of them: so one line a second has the counts, and the newest cause that there was.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    by_code: BTreeMap<&'static str, u64>,
    newest_cause: Option<(String, Cause)>,
}

impl Refusals {
    /// Counts one.
    pub(crate) fn count(&self, code: ErrorCode) {
        *self.0.lock().by_code.entry(code.as_str()).or_default() += 1;
    }

    /// Keeps the cause of one until the next summary.
    pub(crate) fn keep_cause(&self, trace_id: String, cause: Cause) {
        self.0.lock().newest_cause = Some((trace_id, cause));
    }

    /// Logs what was counted, once a second, for ever.
    pub(crate) async fn summarize(&self) {
        let mut ticks = tokio::time::interval(SUMMARY_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.log();
        }
    }

    /// Logs what was counted since the last time, if anything was.
    pub(crate) fn log(&self) {
        let Counted { by_code, newest_cause } = std::mem::take(&mut *self.0.lock());
        if by_code.is_empty() {
            return;
        }
        match newest_cause {
            Some((trace_id, cause)) => tracing::warn!(?by_code, trace_id, ?cause, "requests refused"),
            None => tracing::info!(?by_code, "requests refused"),
        }
    }
}
