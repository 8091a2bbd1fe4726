//! Traces and metrics on their way to a collector, by OTLP (ADR 0027): off unless OpenTelemetry's variables name one.
//!
//! ```text
//!  api, pool, handlers ──▶ Tracer ──a span ends──▶ SpanQueue ──▶ spans.rs ─┐
//!                                                  bounded               ├─▶ Collector ──▶ HTTP, protobuf
//!  /metrics' own families ──────every interval───▶ metrics.rs ───────────┘
//! ```
//!
//! Everything behind the queue runs on a thread of its own: a collector that hangs slows down nothing, and what it does
//! not take is dropped and counted.
//!
//! **Invariant:** who ends a span never waits. Spans that wait are bounded, and so is the time that the end of the
//! process gives to those still here.

mod collector;
mod families;
mod metrics;
mod resource;
mod span_queue;
mod spans;

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use prometheus::{IntCounterVec, Opts, Registry};
use steadfast_api::App;
use steadfast_queue::spans::Tracer;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

use self::collector::Collector;
use self::span_queue::{Processor, SpanQueue};
use crate::settings::TelemetrySettings;

/// The name of what makes the spans and the metrics, as they say it.
const SCOPE: &str = "steadfast";

/// How long the thread may take to say what it leaves behind.
const LAST_WORD_LIMIT: Duration = Duration::from_millis(50);

/// Why there is no telemetry although it is wanted.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// Somebody else has a metric of its name.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The TLS library refused its configuration.
    #[error("TLS could not be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// The HTTP client could not be built.
    #[error("the HTTP client could not be built: {0}")]
    Client(#[from] reqwest::Error),
    /// The operating system has no thread for it.
    #[error("no thread: {0}")]
    Thread(#[from] io::Error),
}

/// What is to be exported, before there is anything to export. The default is nothing.
#[derive(Default)]
pub(crate) struct Telemetry {
    tracer: Tracer,
    spans: Option<spans::Export>,
    metrics: Option<metrics::Export>,
}

/// The thread that exports, if one does.
#[derive(Debug)]
pub(crate) struct Exporting(Option<Running>);

/// A thread that exports until it is told to come to an end. Nobody joins it: it may be looking up a name.
#[derive(Debug)]
struct Running {
    finish: watch::Sender<Option<Instant>>,
    ended: oneshot::Receiver<Result<(), CutOff>>,
}

/// The time was up before everything was out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct CutOff {
    /// Spans that no collector has taken, those of a batch under way among them.
    spans: usize,
}

/// When to come to an end, once that is asked for.
#[derive(Debug, Clone)]
struct Finish(watch::Receiver<Option<Instant>>);

impl Telemetry {
    /// Prepares what the settings want.
    ///
    /// # Errors
    /// When its client cannot be built, or one of its metrics is in `registry` already.
    pub(crate) fn new(settings: &TelemetrySettings, registry: &Registry) -> Result<Self, TelemetryError> {
        let resource = resource::of(&settings.resource);
        let mut telemetry = Self::default();
        if let Some(traces) = &settings.traces {
            let dropped = dropped_spans(registry)?;
            let queue_full = dropped.with_label_values(&["queue_full"]);
            let queue = Arc::new(SpanQueue::new(traces.waiting_max, traces.batch_max, queue_full));
            let provider = SdkTracerProvider::builder()
                .with_span_processor(Processor(Arc::clone(&queue)))
                .with_sampler(traces.sampler.clone())
                // What is exported says whose it is for all spans at once.
                .with_resource(Resource::builder_empty().build())
                .build();
            telemetry.tracer = Tracer::new(provider.tracer(SCOPE));
            let collector = Collector::new("traces", &traces.collector)?;
            let settings = traces.clone();
            telemetry.spans =
                Some(spans::Export::new(collector, queue, resource.clone(), settings, &dropped));
        }
        if let Some(metrics) = &settings.metrics {
            let collector = Collector::new("metrics", &metrics.collector)?;
            telemetry.metrics = Some(metrics::Export::new(collector, resource, metrics.interval));
        }
        Ok(telemetry)
    }

    /// Begins spans, where spans are exported.
    pub(crate) fn tracer(&self) -> Tracer {
        self.tracer.clone()
    }

    /// Begins to export, the metrics as `app` has them.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub(crate) fn begin(self, app: Arc<App>) -> io::Result<Exporting> {
        let Self { tracer: _, spans, metrics } = self;
        if spans.is_none() && metrics.is_none() {
            return Ok(Exporting(None));
        }
        let running = Running::begin(async move |finish| export(spans, metrics, &app, &finish).await)?;
        Ok(Exporting(Some(running)))
    }
}

impl Exporting {
    /// Exports what is still here, and the metrics for the last time, until `deadline` at most.
    pub(crate) async fn finish(self, deadline: Instant) {
        let Some(running) = self.0 else { return };
        if let Err(CutOff { spans }) = running.finish(deadline).await {
            tracing::warn!(spans, "the collector did not take the last of the telemetry in time");
        }
    }
}

impl Running {
    fn begin<E>(export: E) -> io::Result<Self>
    where
        E: AsyncFnOnce(Finish) -> Result<(), CutOff> + Send + 'static,
    {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (finish, asked) = watch::channel(None);
        let (say, ended) = oneshot::channel();
        thread::Builder::new().name("telemetry".to_owned()).spawn(move || {
            let end = runtime.block_on(export(Finish(asked)));
            // A name is looked up by a call that blocks, for as long as the resolver likes.
            runtime.shutdown_background();
            let _ = say.send(end);
        })?;
        Ok(Self { finish, ended })
    }

    /// Lets it come to an end until `deadline`; what it says of that. One that says nothing has printed its panic.
    async fn finish(self, deadline: Instant) -> Result<(), CutOff> {
        self.finish.send_replace(Some(deadline));
        match timeout_at(deadline + LAST_WORD_LIMIT, self.ended).await {
            Ok(Ok(end)) => end,
            Ok(Err(_)) | Err(_) => Ok(()),
        }
    }
}

/// Exports until the end is asked for and everything is out, or its time is up.
async fn export(
    spans: Option<spans::Export>,
    metrics: Option<metrics::Export>,
    app: &App,
    finish: &Finish,
) -> Result<(), CutOff> {
    let all = async {
        tokio::join!(
            async {
                if let Some(spans) = &spans {
                    spans.run(finish).await;
                }
            },
            async {
                if let Some(metrics) = metrics {
                    metrics.run(app, finish).await;
                }
            },
        );
    };
    let overdue = async { sleep_until(finish.asked().await).await };
    tokio::select! {
        biased;
        () = all => Ok(()),
        () = overdue => Err(CutOff { spans: spans.as_ref().map_or(0, spans::Export::unsent) }),
    }
}

impl Finish {
    /// Waits until the end is asked for; until when it may take.
    async fn asked(&self) -> Instant {
        let mut asked = self.0.clone();
        match asked.wait_for(Option::is_some).await.map(|deadline| *deadline) {
            Ok(Some(deadline)) => deadline,
            // Whoever could ask is gone: the server did not start.
            Ok(None) | Err(_) => Instant::now(),
        }
    }
}

fn dropped_spans(registry: &Registry) -> Result<IntCounterVec, prometheus::Error> {
    let help = "Spans dropped: more waited than may, or the collector did not take them.";
    let dropped = IntCounterVec::new(Opts::new("steadfast_spans_dropped_total", help), &["reason"])?;
    registry.register(Box::new(dropped.clone()))?;
    Ok(dropped)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, RecvTimeoutError};

    use tokio::task::spawn_blocking;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn the_end_does_not_wait_for_a_name_that_is_being_looked_up() {
        let (resolver, answer) = mpsc::sync_channel::<()>(1);
        let (say, looked_up) = oneshot::channel();
        let running = Running::begin(async move |finish: Finish| {
            let (begin, begun) = oneshot::channel();
            spawn_blocking(move || {
                begin.send(()).unwrap();
                say.send(answer.recv_timeout(PATIENCE)).unwrap();
            });
            begun.await.unwrap();
            finish.asked().await;
            Err(CutOff { spans: 3 })
        });
        let end = running.unwrap().finish(Instant::now() + 2 * PATIENCE).await;
        drop(resolver);
        assert_eq!(looked_up.await, Ok(Err(RecvTimeoutError::Disconnected)), "it was still looking");
        assert_eq!(end, Err(CutOff { spans: 3 }));
    }
}
