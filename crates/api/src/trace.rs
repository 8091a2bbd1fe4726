//! The outermost layer: gives every request its trace id, counts and times it, catches a panic behind it,
//! completes problem documents, and says `Connection: close` when the server is on its way out.

use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::{MatchedPath, Request};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use http::header::CONNECTION;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use steadfast_domain::TraceParent;
use steadfast_lifecycle::Phase;
use steadfast_queue::spans::Span;
use steadfast_wire::ErrorCode;
use tokio::time::Instant;
use tower::{Layer, Service};

use crate::app::App;
use crate::connections::Peer;
use crate::problem::Refused;
use crate::refusals::Chain;
use crate::request_span;

/// A request that took longer is worth a line of its own.
const SLOW: Duration = Duration::from_secs(1);

/// The trace a request belongs to.
#[derive(Debug, Clone)]
pub(crate) enum Trace {
    /// A span of it is known: the request's own or, where requests are no spans, the client's.
    Known(TraceParent),
    /// Made here, so that an answer and the log can be brought together.
    Made(u128),
}

impl Trace {
    fn of(span: &Span, given: Option<TraceParent>) -> Self {
        match span.trace_parent().or(given) {
            Some(parent) => Self::Known(parent),
            None => Self::Made(rand::random::<u128>().max(1)),
        }
    }

    /// 32 hexadecimal digits.
    pub(crate) fn id(&self) -> String {
        match self {
            Self::Known(parent) => parent.trace_id().to_owned(),
            Self::Made(id) => format!("{id:032x}"),
        }
    }

    /// What a job made by the request carries on.
    pub(crate) fn parent(&self) -> Option<TraceParent> {
        match self {
            Self::Known(parent) => Some(parent.clone()),
            Self::Made(_) => None,
        }
    }
}

/// What the client sent as `traceparent`, if it is one.
fn given(headers: &HeaderMap) -> Option<TraceParent> {
    let text = headers.get("traceparent")?.to_str().ok()?;
    TraceParent::new(text).ok()
}

/// Marks a response that was held because the client asked for it: its time says nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WasHeld;

/// What is remembered of a request while it is worked on.
struct Seen {
    method: Method,
    version: Version,
    route: Option<MatchedPath>,
    trace: Trace,
    span: Span,
    peer: Option<Peer>,
    began: Instant,
}

/// The layer.
#[derive(Clone)]
pub(crate) struct Observe(pub(crate) Arc<App>);

/// The layer's service.
#[derive(Clone)]
pub(crate) struct Observed<S> {
    app: Arc<App>,
    inner: S,
}

impl<S> Layer<S> for Observe {
    type Service = Observed<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Observed { app: Arc::clone(&self.0), inner }
    }
}

impl<S> Service<Request> for Observed<S>
where
    S: Service<Request, Response = Response, Error = Infallible, Future: Send + 'static>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let seen = Seen::of(&request, &self.app);
        request.extensions_mut().insert(seen.trace.clone());
        Box::pin(observe(Arc::clone(&self.app), seen, self.inner.call(request)))
    }
}

async fn observe(
    app: Arc<App>,
    mut seen: Seen,
    answer: impl Future<Output = Result<Response, Infallible>>,
) -> Result<Response, Infallible> {
    // Counted first, the phase looked at second: a drain that has begun and waits cannot miss what passed.
    let mut unanswered = Some(app.requests().enter());
    if app.phases.current() >= Phase::Draining {
        unanswered = None;
    }
    let in_flight = app.metrics.begin();
    let response = match AssertUnwindSafe(answer).catch_unwind().await {
        Ok(Ok(response)) => response,
        Err(_) => Refused::internal("a request handler panicked").into_response(),
    };
    let mut response = complete(&app, &seen, response);
    drop((in_flight, unanswered));

    request_span::answered(&mut seen.span, response.status());
    app.metrics.count(&seen.method, seen.route.as_ref().map(MatchedPath::as_str), response.status());
    if app.phases.current() >= Phase::LameDuck {
        match seen.version {
            Version::HTTP_2 => {
                if let Some(peer) = seen.peer {
                    peer.go_away();
                }
            }
            // What is no longer HTTP says goodbye in its own way.
            _ if response.status() == StatusCode::SWITCHING_PROTOCOLS => {}
            _ => {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
        }
    }
    Ok(response)
}

/// Makes a refusal whole, and logs what is worth a line.
fn complete(app: &App, seen: &Seen, mut response: Response) -> Response {
    let refused = response.extensions_mut().remove::<Refused>();
    let code = refused.as_ref().map(|refused| refused.code);
    if let Some(refused) = refused {
        app.refusals.count(refused.code);
        let (whole, cause) = refused.into_whole_response(&seen.method, seen.version, seen.trace.id());
        let allow = response.headers_mut().remove(http::header::ALLOW);
        response = whole;
        if let Some(allow) = allow {
            response.headers_mut().insert(http::header::ALLOW, allow);
        }
        match cause {
            Some(cause) if code == Some(ErrorCode::Internal) => {
                tracing::error!(
                    http.request.method = %seen.method,
                    http.route = seen.route(),
                    trace_id = seen.trace.id(),
                    error = %Chain(&*cause),
                    "a request failed"
                );
            }
            Some(cause) => app.refusals.keep_cause(seen.trace.id(), cause),
            None => {}
        }
    }
    let took = seen.began.elapsed();
    let is_slow = took > SLOW && response.extensions().get::<WasHeld>().is_none();
    // Refusals with 503 are in the summary.
    log(seen, response.status(), took, is_slow || code == Some(ErrorCode::Internal));
    response
}

fn log(seen: &Seen, status: StatusCode, took: Duration, is_remarkable: bool) {
    let (method, route, status) = (&seen.method, seen.route(), status.as_u16());
    let trace_id = LazyId(&seen.trace);
    if is_remarkable {
        tracing::info!(
            http.request.method = %method, http.route = route, http.response.status_code = status,
            duration_ms = whole_ms(took), %trace_id, "request"
        );
    } else {
        tracing::debug!(
            http.request.method = %method, http.route = route, http.response.status_code = status,
            duration_ms = whole_ms(took), %trace_id, "request"
        );
    }
}

fn whole_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Seen {
    fn of(request: &Request, app: &App) -> Self {
        let given = given(request.headers());
        let route = request.extensions().get::<MatchedPath>();
        let span = request_span::begin(app, request, route.map(MatchedPath::as_str), given.as_ref());
        Self {
            method: request.method().clone(),
            version: request.version(),
            route: route.cloned(),
            trace: Trace::of(&span, given),
            span,
            peer: request.extensions().get::<Peer>().cloned(),
            began: Instant::now(),
        }
    }

    fn route(&self) -> &str {
        self.route.as_ref().map_or("none", MatchedPath::as_str)
    }
}

/// A trace id that is only written out when someone reads it.
struct LazyId<'a>(&'a Trace);

impl std::fmt::Display for LazyId<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.id())
    }
}
