//! `GET /v1/jobs/{id}/events`: what happens to one job, as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::Stream;
use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use steadfast_domain::{JobId, Version};
use steadfast_lifecycle::{Phase, Phases};
use steadfast_queue::hub::{Followed, Follower};
use steadfast_wire::{JobDocument, ProcessingEvent, ProgressEvent, ShutdownEvent, StateEvent};

use crate::answer::Answer;
use crate::app::App;
use crate::jobs::read;
use crate::limits::{HeldSlot, WorkPlace};
use crate::parameters::{PathText, job_id};
use crate::problem::Refused;

/// A comment is sent after so long a silence, so that proxies and clients see that the stream lives.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// When a reader is to come back after a shutdown, in milliseconds: spread, so that not all come at once.
const RECONNECT_MS: std::ops::Range<u64> = 1_000..5_000;

pub(crate) const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The handler.
pub(crate) async fn of_job(
    State(app): State<Arc<App>>,
    _place: WorkPlace,
    headers: HeaderMap,
    path: PathText,
) -> Answer {
    let services = app.services()?;
    let id = job_id(path)?;
    let after = last_event_id(&headers)?;
    let slot = app.held.take()?;
    // Subscribed before the state is read, so that no change falls between the two.
    let follower = services.hub.follow(id, after);
    let job = read(&app, services, id).await?.ok_or_else(Refused::job_not_found)?;
    if job.state.is_terminal() && after.is_some_and(|after| after >= job.version) {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let events = Events { id, follower, phases: app.phases.clone(), ended: false, _slot: slot };
    let keep_alive = KeepAlive::new().interval(HEARTBEAT);
    let mut response = Sse::new(events.into_stream()).keep_alive(keep_alive).into_response();
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    Ok(response)
}

/// The version a reader saw last.
fn last_event_id(headers: &HeaderMap) -> Result<Option<Version>, Refused> {
    let Some(value) = headers.get("last-event-id").filter(|value| !value.is_empty()) else { return Ok(None) };
    let text = String::from_utf8_lossy(value.as_bytes());
    let version = text.parse().map(|number| Some(Version(number)));
    version.map_err(|_| {
        Refused::parameter("Last-Event-ID", &text, "the id of an earlier event: a job's version")
    })
}

/// One open stream.
struct Events {
    id: JobId,
    follower: Follower,
    phases: Phases,
    ended: bool,
    _slot: HeldSlot,
}

impl Events {
    fn into_stream(self) -> impl Stream<Item = Result<Event, Infallible>> {
        futures_util::stream::unfold(self, |mut events| async move {
            let event = events.next().await?;
            Some((Ok(event), events))
        })
    }

    /// The next event; `None` ends the stream. Where the store fails or an event cannot be written, the
    /// stream just ends: the reader comes back with the id it has.
    async fn next(&mut self) -> Option<Event> {
        if self.ended {
            return None;
        }
        let followed = tokio::select! {
            biased;
            phase = self.phases.at_least(Phase::Draining) => {
                self.ended = true;
                return shutdown(phase);
            }
            followed = self.follower.next() => followed,
        };
        let id = self.id;
        match followed {
            Ok(Some(Followed::State(change))) => {
                event("state", &StateEvent::from(change)).map(|event| event.id(change.version.0.to_string()))
            }
            Ok(Some(Followed::Processing { attempt })) => event("state", &ProcessingEvent::new(id, attempt)),
            Ok(Some(Followed::Progress(progress))) => event("progress", &ProgressEvent { id, progress }),
            Ok(Some(Followed::End(job))) => {
                self.ended = true;
                let version = job.version.0.to_string();
                event("end", &JobDocument::full(*job)).map(|event| event.id(version))
            }
            Ok(None) => None,
            Err(error) => {
                tracing::debug!(job = %id, %error, "an event stream ends early");
                None
            }
        }
    }
}

/// Tells the reader that the server goes away, and when to come back.
fn shutdown(phase: Phase) -> Option<Event> {
    let reconnect_after_ms = rand::random_range(RECONNECT_MS);
    let data = ShutdownEvent { reconnect_after_ms, phase: phase.as_str().into() };
    event("server_shutdown", &data).map(|event| event.retry(Duration::from_millis(reconnect_after_ms)))
}

fn event(name: &'static str, data: &impl Serialize) -> Option<Event> {
    let data =
        serde_json::to_string(data).inspect_err(|error| tracing::error!(%error, name, "an event")).ok()?;
    // A client's own JSON may have line breaks between its tokens, never raw within strings; an event may not.
    Some(Event::default().event(name).data(data.replace(['\r', '\n'], " ")))
}
