use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use http::header::CONTENT_TYPE;
use http::{Method, StatusCode};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry, TEXT_FORMAT, TextEncoder};
use steadfast_queue::metrics::OTHER;
use steadfast_queue::store::QueueStatus;
use tokio::time::timeout;

use crate::answer::Answer;
use crate::app::App;
use crate::health::{CHECK_TIMEOUT, readiness};
use crate::limits::ProbePlace;
use crate::problem::Refused;

/// What the outside counts.
pub(crate) struct HttpMetrics {
    requests: IntCounterVec,
    in_flight: IntGauge,
    /// What `/readyz` says; kept by it.
    pub(crate) ready: IntGauge,
    /// Open connections; kept by whoever accepts them.
    pub(crate) connections: IntGauge,
    /// Connections that came to nothing under TLS; kept by whoever greets them.
    pub(crate) handshakes_refused: IntCounter,
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
            ready: IntGauge::new(
                "steadfast_ready",
                "1 while /readyz says that the server is ready, else 0.",
            )?,
            connections: IntGauge::new("steadfast_http_connections", "Open connections.")?,
            handshakes_refused: IntCounter::new(
                "steadfast_tls_handshakes_refused_total",
                "Connections that brought no TLS, or none that could be agreed on.",
            )?,
        };
        registry.register(Box::new(metrics.requests.clone()))?;
        registry.register(Box::new(metrics.in_flight.clone()))?;
        registry.register(Box::new(metrics.ready.clone()))?;
        registry.register(Box::new(metrics.connections.clone()))?;
        registry.register(Box::new(metrics.handshakes_refused.clone()))?;
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
    /// Every metric as it is now. Without a store, the figures about jobs are left out; while it does not answer, those
    /// that describe what is stored, and the counters are as it answered last.
    pub async fn gather(&self) -> Vec<MetricFamily> {
        // Side by side, so that a store that hangs is waited for once.
        let (_, (_, of_store)) = tokio::join!(readiness(self), self.ask_store());
        let mut families = self.registry.gather();
        families.extend(of_store);
        families
    }

    /// Every queue as the store answers now; `None` if it does not. When it is closed, the counters that
    /// [`gather`](Self::gather) shows are as of the last answer: as of this one.
    pub async fn last_queues(&self) -> Option<Vec<QueueStatus>> {
        self.ask_store().await.0
    }

    /// The store's answer, and the figures to be shown of it, or without it.
    async fn ask_store(&self) -> (Option<Vec<QueueStatus>>, Vec<MetricFamily>) {
        let Some(services) = self.attached() else { return (None, Vec::new()) };
        let Ok(Ok(queues)) = timeout(CHECK_TIMEOUT, services.store.queues()).await else {
            return (None, self.store_figures.silent());
        };
        let label = |kind| services.admission.kind_label(kind);
        let figures = self.store_figures.answered(&queues, label, OTHER).unwrap_or_else(|error| {
            tracing::error!(%error, "the figures of the store cannot be shown");
            Vec::new()
        });
        (Some(queues), figures)
    }
}
