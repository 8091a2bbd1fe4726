//! An OpenTelemetry collector in the test's own process: takes traces and metrics by OTLP over HTTP, and can stop
//! answering.

use std::collections::BTreeMap;
use std::future::IntoFuture;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{Metric, metric, number_data_point};
use opentelemetry_proto::tonic::trace::v1 as otlp;
use parking_lot::Mutex;
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::eventually::eventually;

/// The collector. It serves while this lives.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    shared: Arc<Shared>,
    _serving: JoinSet<std::io::Result<()>>,
}

#[derive(Debug)]
struct Shared {
    manner: watch::Sender<Manner>,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    requests: usize,
    spans: Vec<Span>,
    batches: Vec<usize>,
    metrics: Vec<Metric>,
    resource: BTreeMap<String, String>,
}

/// How a collector deals with requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// It takes them.
    Takes,
    /// It takes them, and leaves every span out: 200.
    Rejects,
    /// It takes none for now: 503.
    Refuses,
    /// It does not answer.
    Hangs,
}

/// A span as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: otlp::span::SpanKind,
    /// The trace's id, as hexadecimal digits.
    pub trace: String,
    /// Its own id.
    pub id: String,
    /// Its parent's; empty without one.
    pub parent: String,
    /// Whether its status is an error.
    pub is_error: bool,
    /// Its attributes, as text.
    pub attributes: BTreeMap<String, String>,
}

impl Collector {
    /// A collector that takes everything.
    pub async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let shared = Arc::new(Shared { manner: watch::Sender::new(Manner::Takes), taken: Mutex::default() });
        let router = Router::new()
            .route("/v1/traces", post(take_traces))
            .route("/v1/metrics", post(take_metrics))
            .with_state(Arc::clone(&shared));
        let mut serving = JoinSet::new();
        serving.spawn(axum::serve(listener, router).into_future());
        Self { address, shared, _serving: serving }
    }

    /// What `OTEL_EXPORTER_OTLP_ENDPOINT` is to be.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How it deals with requests from now on, with those that hang, too.
    pub fn behave(&self, manner: Manner) {
        self.shared.manner.send_replace(manner);
    }

    /// Every span it took, in the order of arrival.
    pub fn spans(&self) -> Vec<Span> {
        self.shared.taken.lock().spans.clone()
    }

    /// How many spans came together in each request.
    pub fn batches(&self) -> Vec<usize> {
        self.shared.taken.lock().batches.clone()
    }

    /// What the newest request said of its sender.
    pub fn resource(&self) -> BTreeMap<String, String> {
        self.shared.taken.lock().resource.clone()
    }

    /// The newest figure of a counter or gauge for the series with all these labels.
    pub fn figure(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let taken = self.shared.taken.lock();
        let metric = taken.metrics.iter().find(|metric| metric.name == name)?;
        let points = match metric.data.as_ref()? {
            metric::Data::Sum(sum) => &sum.data_points,
            metric::Data::Gauge(gauge) => &gauge.data_points,
            _ => return None,
        };
        let point = points.iter().find(|point| {
            let attributes = texts(&point.attributes);
            labels.iter().all(|(key, value)| attributes.get(*key).is_some_and(|found| found == value))
        })?;
        match point.value? {
            number_data_point::Value::AsDouble(value) => Some(value),
            number_data_point::Value::AsInt(value) => Some(value as f64),
        }
    }

    /// Waits until `count` requests have come, taken or not.
    pub async fn until_asked(&self, count: usize) {
        let what = format!("{count} requests at the collector");
        eventually(&what, || std::future::ready((self.shared.taken.lock().requests >= count).then_some(())))
            .await;
    }
}

async fn take_traces(State(shared): State<Arc<Shared>>, body: Bytes) -> Result<Vec<u8>, StatusCode> {
    let manner = shared.admit().await?;
    let request = ExportTraceServiceRequest::decode(body).map_err(|_| StatusCode::BAD_REQUEST)?;
    let mut spans = Vec::new();
    let mut taken = shared.taken.lock();
    for of_resource in request.resource_spans {
        taken.resource = texts(&of_resource.resource.unwrap_or_default().attributes);
        spans.extend(of_resource.scope_spans.into_iter().flat_map(|of_scope| of_scope.spans).map(Span::of));
    }
    let mut answer = ExportTraceServiceResponse::default();
    if manner == Manner::Rejects {
        let (rejected_spans, error_message) = (spans.len() as i64, "none is wanted".to_owned());
        answer.partial_success = Some(ExportTracePartialSuccess { rejected_spans, error_message });
    } else {
        taken.batches.push(spans.len());
        taken.spans.extend(spans);
    }
    Ok(answer.encode_to_vec())
}

async fn take_metrics(State(shared): State<Arc<Shared>>, body: Bytes) -> StatusCode {
    if let Err(status) = shared.admit().await {
        return status;
    }
    let Ok(request) = ExportMetricsServiceRequest::decode(body) else { return StatusCode::BAD_REQUEST };
    let mut taken = shared.taken.lock();
    for of_resource in request.resource_metrics {
        taken.resource = texts(&of_resource.resource.unwrap_or_default().attributes);
        taken.metrics = of_resource.scope_metrics.into_iter().flat_map(|of_scope| of_scope.metrics).collect();
    }
    StatusCode::OK
}

impl Shared {
    /// Waits as long as the collector hangs.
    async fn admit(&self) -> Result<Manner, StatusCode> {
        self.taken.lock().requests += 1;
        let mut manner = self.manner.subscribe();
        match manner.wait_for(|manner| *manner != Manner::Hangs).await.map(|manner| *manner) {
            Ok(manner @ (Manner::Takes | Manner::Rejects)) => Ok(manner),
            _ => Err(StatusCode::SERVICE_UNAVAILABLE),
        }
    }
}

impl Span {
    fn of(span: otlp::Span) -> Self {
        Self {
            kind: span.kind(),
            trace: hex(&span.trace_id),
            id: hex(&span.span_id),
            parent: hex(&span.parent_span_id),
            is_error: span.status.is_some_and(|status| status.code() == otlp::status::StatusCode::Error),
            attributes: texts(&span.attributes),
            name: span.name,
        }
    }
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &any_value::Value| match value {
        any_value::Value::StringValue(text) => text.clone(),
        any_value::Value::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    };
    attributes
        .iter()
        .filter_map(|pair| Some((pair.key.clone(), text(pair.value.as_ref()?.value.as_ref()?))))
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
