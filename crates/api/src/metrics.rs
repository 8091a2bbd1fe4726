use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use http::header::CONTENT_TYPE;
use http::{Method, StatusCode};
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TEXT_FORMAT, TextEncoder};
use steadfast_domain::JobState;
use steadfast_queue::store::QueueStatus;
use tokio::time::timeout;

use crate::answer::Answer;
use crate::app::App;
use crate::health::CHECK_TIMEOUT;
use crate::limits::ProbePlace;
use crate::problem::Refused;

/// What the outside counts.
pub(crate) struct HttpMetrics {
    requests: IntCounterVec,
    in_flight: IntGauge,
    /// Open connections; kept by whoever accepts them.
    pub(crate) connections: IntGauge,
}

/// One request in flight, until it is dropped.
pub(crate) struct Begun<'a>(&'a IntGauge);

impl HttpMetrics {
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            requests: IntCounterVec::new(
                Opts::new("steadfast_http_requests_total", "Requests answered."),
                &["method", "route", "status"],
            )?,
            in_flight: IntGauge::new(
                "steadfast_http_requests_in_flight",
                "Requests being worked on or held.",
            )?,
            connections: IntGauge::new("steadfast_http_connections", "Open connections.")?,
        };
        registry.register(Box::new(metrics.requests.clone()))?;
        registry.register(Box::new(metrics.in_flight.clone()))?;
        registry.register(Box::new(metrics.connections.clone()))?;
        Ok(metrics)
    }

    /// Counts a request as in flight.
    pub(crate) fn begin(&self) -> Begun<'_> {
        self.in_flight.inc();
        Begun(&self.in_flight)
    }

    /// Counts an answer. What a client can choose freely is counted as `other`, so that labels stay few.
    pub(crate) fn count(&self, method: &Method, route: Option<&str>, status: StatusCode) {
        let method = match *method {
            Method::GET
            | Method::HEAD
            | Method::POST
            | Method::PUT
            | Method::PATCH
            | Method::DELETE
            | Method::OPTIONS => method.as_str(),
            _ => "other",
        };
        self.requests.with_label_values(&[method, route.unwrap_or("other"), status.as_str()]).inc();
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// `GET /metrics`, in Prometheus' text format 0.0.4.
pub(crate) async fn metrics(State(app): State<Arc<App>>, _place: ProbePlace) -> Answer {
    let text = TextEncoder::new().encode_to_string(&app.gather().await).map_err(Refused::internal)?;
    Ok(([(CONTENT_TYPE, TEXT_FORMAT)], text).into_response())
}

impl App {
    /// Every metric as it is now. Without a store, or while it does not answer, the figures that describe it are left
    /// out.
    pub async fn gather(&self) -> Vec<MetricFamily> {
        let mut families = self.registry.gather();
        if let Some(services) = self.attached()
            && let Ok(Ok(queues)) = timeout(CHECK_TIMEOUT, services.store.queues()).await
        {
            match queue_families(&queues) {
                Ok(of_queues) => families.extend(of_queues),
                Err(error) => tracing::error!(%error, "the figures of the queues cannot be shown"),
            }
        }
        families
    }
}

/// The store's own figures, made anew for each scrape: it is their truth, not this process.
fn queue_families(queues: &[QueueStatus]) -> Result<Vec<MetricFamily>, prometheus::Error> {
    let registry = Registry::new();
    let jobs = IntGaugeVec::new(Opts::new("steadfast_jobs", "Stored jobs by state."), &["queue", "state"])?;
    let gauge = |name, help| IntGaugeVec::new(Opts::new(name, help), &["queue"]);
    let capacity_jobs = gauge("steadfast_queue_capacity_jobs", "Jobs that are not terminal, at most.")?;
    let capacity_bytes = gauge("steadfast_queue_capacity_bytes", "Bytes of their payloads, at most.")?;
    let bytes = gauge("steadfast_queue_bytes", "Payload bytes of jobs that are not terminal.")?;
    let oldest = GaugeVec::new(
        Opts::new("steadfast_oldest_ready_age_seconds", "For how long the oldest ready job has been due."),
        &["queue"],
    )?;
    for status in queues {
        let queue = status.name.as_str();
        for state in JobState::ALL {
            jobs.with_label_values(&[queue, state.as_str()]).set(signed(status.depth_in(state)));
        }
        capacity_jobs.with_label_values(&[queue]).set(signed(status.capacity_jobs));
        capacity_bytes.with_label_values(&[queue]).set(signed(status.capacity_bytes));
        bytes.with_label_values(&[queue]).set(signed(status.bytes));
        let age = status.oldest_ready_at.map_or(0.0, |at| status.now.since(at).as_secs_f64());
        oldest.with_label_values(&[queue]).set(age);
    }
    registry.register(Box::new(jobs))?;
    registry.register(Box::new(capacity_jobs))?;
    registry.register(Box::new(capacity_bytes))?;
    registry.register(Box::new(bytes))?;
    registry.register(Box::new(oldest))?;
    Ok(registry.gather())
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
