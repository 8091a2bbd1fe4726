//! Server-sent events: how they are written, and the one way a stream of them lives and ends.

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::unfold;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, HeaderValue};
use serde::Serialize;
use steadfast_lifecycle::{Phase, Phases};
use steadfast_wire::ShutdownEvent;
use tokio::time::sleep;

use crate::access::InForce;
use crate::limits::HeldSlot;

/// A comment is sent after so long a silence, so that proxies and clients see that the stream lives.
const HEARTBEAT: Duration = Duration::from_secs(15);
const COMMENT: &str = ":\n\n";
/// When a reader is to come back after a shutdown, in milliseconds: spread, so that not all come at once.
const RECONNECT_MS: std::ops::Range<u64> = 1_000..5_000;

pub(crate) const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Where a stream's events come from.
pub(crate) trait Source: Send + 'static {
    /// The next event as it is sent; `None` ends the stream. Cancelling it must lose nothing.
    fn next(&mut self) -> impl Future<Output = Option<Bytes>> + Send;
}

/// One open stream.
struct Open<S> {
    source: S,
    phases: Phases,
    in_force: InForce,
    ended: bool,
    _slot: HeldSlot,
}

/// The answer that streams what `source` has until it ends, its reader may read no more, or the server drains.
pub(crate) fn stream(source: impl Source, phases: Phases, in_force: InForce, slot: HeldSlot) -> Response {
    let open = Open { source, phases, in_force, ended: false, _slot: slot };
    let events = unfold(open, |mut open| async move {
        let event = open.next().await?;
        Some((Ok::<_, Infallible>(event), open))
    });
    let mut response = Response::new(Body::from_stream(events));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    response
}

impl<S: Source> Open<S> {
    async fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        tokio::select! {
            biased;
            phase = self.phases.at_least(Phase::Draining) => {
                self.ended = true;
                shutdown(phase)
            }
            () = self.in_force.ended() => None,
            event = self.source.next() => event,
            () = sleep(HEARTBEAT) => Some(COMMENT.into()),
        }
    }
}

/// When a reader of a server that drains is to come back, in milliseconds.
pub(crate) fn reconnect_after_ms() -> u64 {
    rand::random_range(RECONNECT_MS)
}

/// Tells the reader that the server goes away, and when to come back.
fn shutdown(phase: Phase) -> Option<Bytes> {
    let reconnect_after_ms = reconnect_after_ms();
    let data = ShutdownEvent { reconnect_after_ms, phase: phase.as_str().into() };
    event("server_shutdown", &format!("retry: {reconnect_after_ms}\n"), &data)
}

/// One event. `fields` are further lines, each with its end.
pub(crate) fn event(name: &'static str, fields: &str, data: &impl Serialize) -> Option<Bytes> {
    let data = json(data)?;
    Some(format!("event: {name}\n{fields}data: {data}\n\n").into())
}

/// An event's data in one line.
pub(crate) fn json(data: &impl Serialize) -> Option<String> {
    let json = serde_json::to_string(data);
    let json = json.inspect_err(|error| tracing::error!(%error, "an event cannot be written")).ok()?;
    // A client's own JSON may have line breaks between its tokens, never raw within strings; an event may not.
    Some(if json.contains(['\r', '\n']) { json.replace(['\r', '\n'], " ") } else { json })
}
