use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use steadfast_wire::ErrorCode;
use tokio::sync::Notify;

/// Time between two summaries.
const SUMMARY_EVERY: Duration = Duration::from_secs(1);

/// Why a request was refused; never shown to the client.
pub(crate) type Cause = Arc<dyn Error + Send + Sync>;

/// An error and all its causes, each of which says only its own part. Never its `Debug`, which may hold what a database
/// said of a job's payload.
pub(crate) struct Chain<'a>(pub(crate) &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(inner) = cause {
            write!(f, ": {inner}")?;
            cause = inner.source();
        }
        Ok(())
    }
}

/// Counts refusals by code. A log line for each would cost as much as the request, just when there are the
/// most of them: so one line a second has the counts, and the newest cause that there was.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    counted: Mutex<Counted>,
    /// The first since the last summary was counted.
    first: Notify,
}

#[derive(Debug, Default)]
struct Counted {
    by_code: BTreeMap<&'static str, u64>,
    newest_cause: Option<(String, Cause)>,
}

impl Refusals {
    /// Counts one.
    pub(crate) fn count(&self, code: ErrorCode) {
        let is_first = {
            let by_code = &mut self.counted.lock().by_code;
            let is_first = by_code.is_empty();
            *by_code.entry(code.as_str()).or_default() += 1;
            is_first
        };
        if is_first {
            self.first.notify_one();
        }
    }

    /// Keeps the cause of one until the next summary.
    pub(crate) fn keep_cause(&self, trace_id: String, cause: Cause) {
        self.counted.lock().newest_cause = Some((trace_id, cause));
    }

    /// Logs what was counted, once a second, for ever. While nothing is refused it does not wake at all.
    pub(crate) async fn summarize(&self) {
        loop {
            self.first.notified().await;
            tokio::time::sleep(SUMMARY_EVERY).await;
            self.log();
        }
    }

    /// Logs what was counted since the last time, if anything was.
    pub(crate) fn log(&self) {
        let Counted { by_code, newest_cause } = std::mem::take(&mut *self.counted.lock());
        if by_code.is_empty() {
            return;
        }
        match newest_cause {
            Some((trace_id, cause)) => {
                tracing::warn!(?by_code, trace_id, error = %Chain(&*cause), "requests refused");
            }
            None => tracing::info!(?by_code, "requests refused"),
        }
    }
}
