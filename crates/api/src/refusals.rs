use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use steadfast_wire::ErrorCode;
use tokio::time::MissedTickBehavior;

/// Time between two summaries.
const SUMMARY_EVERY: Duration = Duration::from_secs(1);

/// Counts refusals by code. A log line for each would cost as much as the request, just when there are the
/// most of them: so one line a second has the counts.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<BTreeMap<&'static str, u64>>);

impl Refusals {
    /// Counts one.
    pub(crate) fn count(&self, code: ErrorCode) {
        *self.0.lock().entry(code.as_str()).or_default() += 1;
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
        let counts = std::mem::take(&mut *self.0.lock());
        if !counts.is_empty() {
            tracing::info!(?counts, "requests refused");
        }
    }
}
