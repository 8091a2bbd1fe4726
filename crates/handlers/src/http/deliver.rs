use opentelemetry::KeyValue;
use opentelemetry::trace::{SpanBuilder, SpanKind};
use reqwest::Request;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use steadfast_domain::{Job, JobId, TraceParent};
use steadfast_queue::spans::Span;
use steadfast_queue::{Failure, Finish, StopReason};

use super::answer;
use super::client::Clients;
use super::failure::{Endpoint, send_failure};
use super::request::Delivery;

/// What an endpoint is told about the attempt: by these it recognises a delivery it has seen before.
#[derive(Debug)]
pub(super) struct Identity {
    job: String,
    attempt: u32,
    trace: TraceParent,
}

impl Identity {
    /// The newest attempt of `job`, whose delivery is `span`. Where that is none, the endpoint is told of a new span of
    /// the job's trace or, without one, of a new trace.
    pub(super) fn of(job: &Job, span: &Span) -> Self {
        let trace = span.trace_parent().unwrap_or_else(|| match &job.trace {
            Some(parent) => parent.child(rand::random()),
            None => TraceParent::from_ids(rand::random(), rand::random()),
        });
        Self { job: job.id.to_string(), attempt: job.attempt, trace }
    }

    fn write(&self, headers: &mut HeaderMap) {
        let attempt = self.attempt.to_string();
        let texts = [
            (JobId::HEADER, self.job.as_str()),
            ("steadfast-attempt", &attempt),
            ("idempotency-key", &self.job),
            ("traceparent", self.trace.as_str()),
        ];
        for (name, text) in texts {
            // Digits, hexadecimal digits and hyphens: always a valid value.
            if let Ok(value) = HeaderValue::from_str(text) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
    }
}

impl Delivery {
    /// Its span, by OpenTelemetry's conventions for HTTP. Of the URL it has host and port only: the rest is the
    /// payload's, and many endpoints have their key in it.
    pub(super) fn span(&self) -> SpanBuilder {
        SpanBuilder::from_name(self.method.to_string()).with_kind(SpanKind::Client).with_attributes([
            KeyValue::new("http.request.method", self.method.to_string()),
            KeyValue::new("url.scheme", self.url.scheme().to_owned()),
            KeyValue::new("server.address", self.url.host_str().unwrap_or_default().to_owned()),
            KeyValue::new("server.port", i64::from(self.url.port_or_known_default().unwrap_or_default())),
        ])
    }

    /// The request that one attempt sends.
    pub(super) fn into_request(self, identity: &Identity) -> Request {
        let mut request = Request::new(self.method, self.url);
        *request.headers_mut() = self.headers;
        identity.write(request.headers_mut());
        *request.body_mut() = self.body.map(Into::into);
        request
    }
}

/// Sends `request` and judges the answer, unless `stopped` comes first. Then the request is dropped, which
/// closes its connection. Whether the endpoint has acted on it is not known, so there is nothing to keep:
/// when the job runs again the endpoint recognises it by its key.
pub(super) async fn deliver(
    clients: &Clients,
    request: Request,
    span: &mut Span,
    stopped: impl Future<Output = StopReason>,
) -> Result<Finish, Failure> {
    let endpoint = Endpoint::of(request.url());
    let client = clients.for_url(request.url())?;
    tokio::pin!(stopped);
    let response = tokio::select! {
        biased;
        sent = client.execute(request) => sent.map_err(|error| send_failure(&endpoint, &error))?,
        _ = &mut stopped => return Ok(Finish::Yield { checkpoint: None }),
    };
    span.note(|| KeyValue::new("http.response.status_code", i64::from(response.status().as_u16())));
    answer::judge(&endpoint, response, stopped).await
}
