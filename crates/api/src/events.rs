//! `GET /v1/jobs/{id}/events`: what happens to one job, as server-sent events.

use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use steadfast_domain::{JobId, Version};
use steadfast_queue::hub::{Followed, Follower};
use steadfast_wire::{JobDocument, ProcessingEvent, ProgressEvent, StateEvent};

use crate::access::InForce;
use crate::answer::Answer;
use crate::app::App;
use crate::jobs::read;
use crate::limits::WorkPlace;
use crate::parameters::{PathText, job_id};
use crate::problem::Refused;
use crate::sse::{self, Source, event};

/// Digits of a version in a `Last-Event-ID`: as many as any number of so many digits fits into.
pub(crate) const VERSION_DIGITS_MAX: usize = 19;

/// The handler.
pub(crate) async fn of_job(
    State(app): State<Arc<App>>,
    _place: WorkPlace,
    in_force: InForce,
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
    Ok(sse::stream(OneJob { id, follower, app: Arc::clone(&app) }, app.phases.clone(), in_force, slot))
}

/// The version a reader saw last.
fn last_event_id(headers: &HeaderMap) -> Result<Option<Version>, Refused> {
    let Some(value) = headers.get("last-event-id").filter(|value| !value.is_empty()) else { return Ok(None) };
    let text = String::from_utf8_lossy(value.as_bytes());
    let is_number = text.len() <= VERSION_DIGITS_MAX && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(number) if is_number => Ok(Some(Version(number))),
        _ => Err(Refused::parameter("Last-Event-ID", &text, "the id of an earlier event: a job's version")),
    }
}

struct OneJob {
    id: JobId,
    follower: Follower,
    app: Arc<App>,
}

impl Source for OneJob {
    /// Where the store fails, or an event cannot be written or has no room, the stream just ends: the reader comes
    /// back with the id it has.
    async fn next(&mut self) -> Option<Bytes> {
        let id = self.id;
        match self.follower.next().await {
            Ok(Some(Followed::State(change))) => {
                event("state", &id_field(change.version), &StateEvent::from(change))
            }
            Ok(Some(Followed::Processing { attempt })) => {
                event("state", "", &ProcessingEvent::new(id, attempt))
            }
            Ok(Some(Followed::Progress(progress))) => event("progress", "", &ProgressEvent { id, progress }),
            Ok(Some(Followed::End(job))) => {
                let end = event("end", &id_field(job.version), &JobDocument::full(*job))?;
                self.app.answer_memory.admit_part(end)
            }
            Ok(None) => None,
            Err(error) => {
                tracing::debug!(job_id = %id, %error, "an event stream ends early");
                None
            }
        }
    }
}

fn id_field(version: Version) -> String {
    format!("id: {}\n", version.0)
}
