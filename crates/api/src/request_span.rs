//! A request as a span, by OpenTelemetry's conventions for HTTP.

use std::borrow::Cow;

use axum::extract::Request;
use http::{Method, StatusCode, Version};
use opentelemetry::KeyValue;
use opentelemetry::trace::{SpanBuilder, SpanKind};
use steadfast_domain::TraceParent;
use steadfast_queue::spans::Span;

use crate::app::App;

/// What only looks at the server, again and again, would fill the traces.
const NOT_TRACED: [&str; 4] = ["/livez", "/healthz", "/readyz", "/metrics"];
/// A longer path is the client's invention and not worth its room.
const PATH_BYTES_MAX: usize = 256;

/// Begins the span of `request`, which `route` answers, inside of the client's. A stranger's is none: else whoever can
/// reach the port could fill the queue of those that wait to be exported.
pub(crate) fn begin(app: &App, request: &Request, route: Option<&str>, given: Option<&TraceParent>) -> Span {
    let tracer = &app.config.tracer;
    let is_traced =
        || !route.is_some_and(|route| NOT_TRACED.contains(&route)) && !app.access.is_strange(request);
    if !tracer.is_on() || !is_traced() {
        return Span::default();
    }
    tracer.begin(given, || describe(request, route))
}

/// The span's request was answered.
pub(crate) fn answered(span: &mut Span, status: StatusCode) {
    span.note(|| KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
    if status.is_server_error() {
        span.failed(status.as_str());
    }
}

fn describe(request: &Request, route: Option<&str>) -> SpanBuilder {
    let known = known_method(request.method());
    let name = match (known.unwrap_or("HTTP"), route) {
        (method, Some(route)) => Cow::Owned(format!("{method} {route}")),
        (method, None) => Cow::Borrowed(method),
    };
    let mut attributes = vec![
        KeyValue::new("http.request.method", known.unwrap_or("_OTHER")),
        KeyValue::new("network.protocol.version", version(request.version())),
    ];
    if let Some(route) = route {
        attributes.push(KeyValue::new("http.route", route.to_owned()));
    }
    if let Some(path) = shown_path(request.uri().path(), route) {
        attributes.push(KeyValue::new("url.path", path.to_owned()));
    }
    SpanBuilder::from_name(name).with_kind(SpanKind::Server).with_attributes(attributes)
}

/// The path, unless it holds a lease's id: who has that may settle the lease.
fn shown_path<'a>(path: &'a str, route: Option<&str>) -> Option<&'a str> {
    let holds_lease = route.is_none_or(|route| route.contains("{lease}"));
    (!holds_lease && path.len() <= PATH_BYTES_MAX).then_some(path)
}

/// A method of RFC 9110: a client may send any word.
fn known_method(method: &Method) -> Option<&'static str> {
    ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"]
        .into_iter()
        .find(|known| method.as_str() == *known)
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "2",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_shown_where_it_is_short_served_and_no_key() {
        assert_eq!(shown_path("/v1/jobs/7", Some("/v1/jobs/{id}")), Some("/v1/jobs/7"));
        assert_eq!(shown_path("/v1/leases/7/complete", Some("/v1/leases/{lease}/complete")), None);
        assert_eq!(shown_path("/wp-login.php", None), None);
        assert_eq!(shown_path(&"/".repeat(PATH_BYTES_MAX + 1), Some("/v1/jobs/{id}")), None);
    }

    #[test]
    fn a_span_is_named_by_few_words() {
        let request = |method: &str| Request::builder().method(method).uri("/any").body(().into()).unwrap();
        assert_eq!(describe(&request("POST"), Some("/v1/jobs")).name, "POST /v1/jobs");
        assert_eq!(describe(&request("GET"), None).name, "GET");
        assert_eq!(describe(&request("BREW"), None).name, "HTTP");
    }
}
