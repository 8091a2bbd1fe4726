use std::task::{Context, Poll};

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use futures_util::future::{Either, Ready, ok};
use http::header::{HOST, ORIGIN, UPGRADE};
use steadfast_wire::ErrorCode;
use tower::{Layer, Service};

use crate::problem::Refused;

/// Refuses changes that a foreign web page asks for through somebody's browser, and WebSockets, which a page may open
/// anywhere and read. Browsers say so themselves; programs send neither header.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SameOrigin;

/// The layer's service.
#[derive(Debug, Clone)]
pub(crate) struct OnlySameOrigin<S>(S);

impl<S> Layer<S> for SameOrigin {
    type Service = OnlySameOrigin<S>;

    fn layer(&self, inner: S) -> Self::Service {
        OnlySameOrigin(inner)
    }
}

impl<S: Service<Request, Response = Response>> Service<Request> for OnlySameOrigin<S> {
    type Response = Response;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<Response, S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let matters = !request.method().is_safe() || request.headers().contains_key(UPGRADE);
        if matters && is_foreign(&request) {
            let detail = "a page of another origin can ask neither for a change nor for a WebSocket";
            return Either::Right(ok(Refused::new(ErrorCode::Forbidden, detail).into_response()));
        }
        Either::Left(self.0.call(request))
    }
}

fn is_foreign(request: &Request) -> bool {
    let headers = request.headers();
    if headers.get("sec-fetch-site").is_some_and(|site| site.as_bytes() == b"cross-site") {
        return true;
    }
    let Some(origin) = headers.get(ORIGIN) else { return false };
    let origin = origin.to_str().ok().and_then(|origin| origin.parse::<http::Uri>().ok());
    // HTTP/2 names the host in the target, HTTP/1.1 in a header.
    let host = request.uri().authority().map(|authority| authority.as_str().to_owned());
    let host = host.or_else(|| headers.get(HOST)?.to_str().ok().map(str::to_owned));
    let Some((origin, host)) = origin.zip(host) else { return true };
    let Some(authority) = origin.authority() else { return true };
    let default_port = if origin.scheme_str() == Some("https") { 443 } else { 80 };
    let same = authority.as_str().eq_ignore_ascii_case(&host);
    !same && !format!("{authority}:{default_port}").eq_ignore_ascii_case(&host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    fn foreign(headers: &[(&str, &str)]) -> bool {
        let mut request = Request::builder().method("POST").uri("/v1/jobs");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        is_foreign(&request.body(Body::empty()).unwrap())
    }

    #[test]
    fn programs_and_own_pages_pass() {
        assert!(!foreign(&[("host", "localhost:8080")]));
        assert!(!foreign(&[("host", "localhost:8080"), ("origin", "http://localhost:8080")]));
        assert!(!foreign(&[("host", "jobs.example:80"), ("origin", "http://jobs.example")]));
        assert!(!foreign(&[("host", "localhost"), ("sec-fetch-site", "same-origin")]));
    }

    #[test]
    fn foreign_pages_do_not() {
        assert!(foreign(&[("host", "localhost:8080"), ("sec-fetch-site", "cross-site")]));
        assert!(foreign(&[("host", "localhost:8080"), ("origin", "http://evil.example")]));
        assert!(foreign(&[("host", "localhost:8080"), ("origin", "http://localhost:9090")]));
        assert!(foreign(&[("host", "localhost:8080"), ("origin", "null")]));
    }
}
