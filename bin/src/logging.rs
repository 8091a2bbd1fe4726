//! Log lines go to standard error, as text for people or as one JSON object a line, by way of a bounded
//! buffer: a reader that stalls costs lines, which are counted, never a request.

use std::io::{IsTerminal, stderr};
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, Registry};
use tracing::{Level, Metadata};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;

use crate::settings::{LogFormat, Settings, log_filter};

/// Lines waiting for standard error at most; more are dropped.
const BUFFERED_LINES_MAX: usize = 8_192;

/// Libraries that headers, addresses and bodies go through. What they write of those at `debug` and `trace` is theirs to
/// choose, in every version anew: so they are held at `info`, whatever the filter says.
const INDISCREET: [&str; 9] = [
    "h2",
    "hyper",
    "hyper_util",
    "reqwest",
    "rustls",
    "tokio_postgres",
    "tokio_tungstenite",
    "tower",
    "tungstenite",
];

/// The log, until it is dropped: then what is buffered is written, waiting about a second at most for
/// whoever reads it.
#[derive(Debug)]
pub struct Logging {
    dropped: ErrorCounter,
    _writer: WorkerGuard,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The filter of the settings is not one.
    #[error("the log filter: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// The process logs elsewhere already.
    #[error("the process has a log already")]
    Set(#[from] tracing::subscriber::SetGlobalDefaultError),
}

impl Logging {
    /// Makes this the process's log.
    ///
    /// # Errors
    /// When the process has one already.
    pub fn begin(settings: &Settings) -> Result<Self, LoggingError> {
        let (writer, guard) = NonBlockingBuilder::default()
            .lossy(true)
            .buffered_lines_limit(BUFFERED_LINES_MAX)
            .thread_name("log-writer")
            .finish(stderr());
        let dropped = writer.error_counter();
        let terminal = stderr().is_terminal();
        let format = settings.log_format.unwrap_or(if terminal { LogFormat::Text } else { LogFormat::Json });
        let lines = fmt().with_env_filter(log_filter(&settings.log)?).with_writer(writer);
        let discreet = filter_fn(is_discreet);
        match format {
            LogFormat::Text => {
                let lines = lines.with_ansi(terminal).finish();
                tracing::subscriber::set_global_default(lines.with(discreet))?;
            }
            LogFormat::Json => {
                let lines = lines.json().flatten_event(true).with_span_list(false).finish();
                tracing::subscriber::set_global_default(lines.with(discreet))?;
            }
        }
        Ok(Self { dropped, _writer: guard })
    }

    /// Registers `steadfast_log_lines_dropped_total`.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        let help = "Log lines dropped because standard error was not read in time.";
        let dropped = IntCounter::new("steadfast_log_lines_dropped_total", help)?;
        registry.register(Box::new(DroppedLines {
            writers: self.dropped.clone(),
            counted: AtomicU64::new(0),
            dropped,
        }))
    }
}

/// Whether a line is of nobody who has seen what clients and endpoints say.
fn is_discreet(line: &Metadata<'_>) -> bool {
    let library = line.target().split("::").next().unwrap_or_default();
    *line.level() <= Level::INFO || !INDISCREET.contains(&library)
}

/// Reads the writer's own count when it is asked for.
struct DroppedLines {
    writers: ErrorCounter,
    counted: AtomicU64,
    dropped: IntCounter,
}

impl Collector for DroppedLines {
    fn desc(&self) -> Vec<&Desc> {
        self.dropped.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let all = self.writers.dropped_lines() as u64;
        self.dropped.inc_by(all.saturating_sub(self.counted.fetch_max(all, Ordering::Relaxed)));
        self.dropped.collect()
    }
}
