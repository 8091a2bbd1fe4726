use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use http::StatusCode;
use steadfast_domain::{Invalid, Job, JobId, JobState, KindName, QueueName, limits};
use steadfast_queue::store::{Cancel, ListQuery, StoreError};
use steadfast_wire::{JobDocument, JobPage};

use crate::answer::{self, Answer, job_text, json, of_json};
use crate::app::{App, Services};
use crate::held::hold;
use crate::limits::{ControlPlace, WorkPlace};
use crate::parameters::{Parameters, PathText, job_id};
use crate::problem::{Refused, Repeat};
use crate::trace::WasHeld;

/// Rows of a list page whose request names no limit.
pub(crate) const LIST_LIMIT_DEFAULT: u64 = 50;

const NAME_ALLOWED: &str = "1 to 64 characters of a-z, 0-9, '.', '_' and '-'";
const STATE_ALLOWED: &str = "scheduled, queued, processing, retryable, completed, dead, cancelled or expired";
const TAG_ALLOWED: &str = "key:value without control characters";
const CURSOR_ALLOWED: &str = "the next_cursor of the page before";

/// `GET /v1/jobs/{id}`, held with `?wait_ms=` until the job is terminal.
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    place: WorkPlace,
    path: PathText,
    query: Query<Vec<(String, String)>>,
) -> Answer {
    let services = app.services()?;
    let id = job_id(path)?;
    let parameters = Parameters::new(query, &["wait_ms"])?;
    let wait_ms = parameters.whole("wait_ms", 0, limits::WAIT_MAX.as_millis() as u64)?;
    if let Some(text) = app.read_cache.get(id) {
        return app.answer_memory.admit(of_json(StatusCode::OK, text));
    }
    let job = match wait_ms {
        None | Some(0) => read(&app, services, id).await?,
        Some(ms) => {
            let slot = app.held.take()?;
            drop(place);
            hold(&app, services, id, Duration::from_millis(ms), slot).await?
        }
    };
    let job = job.ok_or_else(Refused::job_not_found)?;
    let text = job_text((&job).into())?;
    app.read_cache.keep(&job, &text);
    let mut response = of_json(StatusCode::OK, text);
    if wait_ms.is_some() {
        response.extensions_mut().insert(WasHeld);
    }
    app.answer_memory.admit(response)
}

/// `GET /v1/jobs`.
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    _place: WorkPlace,
    query: Query<Vec<(String, String)>>,
) -> Answer {
    let services = app.services()?;
    let parameters = Parameters::new(query, &["queue", "state", "kind", "tag", "limit", "cursor"])?;
    let limit = parameters.whole("limit", 1, limits::LIST_LIMIT_MAX as u64)?;
    let query = ListQuery {
        queue: parameters.get("queue", QueueName::new, NAME_ALLOWED)?,
        state: parameters.get("state", JobState::parse, STATE_ALLOWED)?,
        kind: parameters.get("kind", KindName::new, NAME_ALLOWED)?,
        tag: parameters.get("tag", tag, TAG_ALLOWED)?,
        limit: limit.unwrap_or(LIST_LIMIT_DEFAULT) as usize,
        before: parameters.get("cursor", JobId::from_str, CURSOR_ALLOWED)?,
    };
    let page = in_time(&app, services.store.list(&query)).await?;
    let page = JobPage {
        jobs: page.jobs.into_iter().map(JobDocument::listed).collect(),
        next_cursor: page.next.map(|id| id.to_string()),
    };
    app.answer_memory.admit(json(StatusCode::OK, &page)?)
}

/// `POST /v1/jobs/{id}/cancel`.
pub(crate) async fn cancel(State(app): State<Arc<App>>, place: ControlPlace, path: PathText) -> Answer {
    let services = app.services()?;
    let id = job_id(path)?;
    // The change keeps the place when its client goes away; this request keeps it until it is answered.
    let place = Arc::new(place);
    let cancelled = services.admission.cancel(id, Arc::clone(&place)).await;
    let only_asked = match cancelled.map_err(|rejection| Refused::rejected(rejection, Repeat::Safe, true))? {
        Cancel::Done(_) | Cancel::AlreadyTerminal(JobState::Cancelled) => false,
        Cancel::Requested => true,
        Cancel::AlreadyTerminal(state) => return Err(not_cancellable(state)),
        Cancel::NotFound => return Err(Refused::job_not_found()),
    };
    let job = read(&app, services, id).await.and_then(|job| job.ok_or_else(Refused::job_not_found));
    let job = job.map_err(|refused| refused.in_doubt(Repeat::Safe))?;
    // What was asked to stop may have ended since: the status says what the document says.
    let status = match job.state {
        JobState::Cancelled => StatusCode::OK,
        state if only_asked && state.is_terminal() => return Err(not_cancellable(state)),
        _ if only_asked => StatusCode::ACCEPTED,
        _ => StatusCode::OK,
    };
    shown(&app, &job, status).map_err(|refused| refused.in_doubt(Repeat::Safe))
}

fn not_cancellable(state: JobState) -> Refused {
    let state = state.as_str();
    Refused::state_conflict(state, format!("the job is {state} and cannot be cancelled"))
}

/// `POST /v1/jobs/{id}/retry`.
pub(crate) async fn retry(State(app): State<Arc<App>>, place: WorkPlace, path: PathText) -> Answer {
    let services = app.services()?;
    let id = job_id(path)?;
    let place = Arc::new(place);
    let reopened = services.admission.reopen(id, Arc::clone(&place)).await;
    reopened.map_err(|rejection| Refused::rejected(rejection, Repeat::Unsafe, true))?;
    let answer = changed(&app, services, id, StatusCode::OK).await;
    answer.map_err(|refused| refused.in_doubt(Repeat::Unsafe))
}

/// The job after a change that was done, which a failure to read it does not undo.
async fn changed(app: &App, services: &Services, id: JobId, status: StatusCode) -> Answer {
    let job = read(app, services, id).await?.ok_or_else(Refused::job_not_found)?;
    shown(app, &job, status)
}

fn shown(app: &App, job: &Job, status: StatusCode) -> Answer {
    Ok(app.answer_memory.count(answer::job(status, job.into())?))
}

/// The job as its store has it.
pub(crate) async fn read(app: &App, services: &Services, id: JobId) -> Result<Option<Job>, Refused> {
    Ok(in_time(app, services.store.get(&[id])).await?.pop().flatten())
}

/// What the store answers within the server's own time limit.
pub(crate) async fn in_time<T>(
    app: &App,
    answer: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, Refused> {
    match tokio::time::timeout(app.config.request_timeout, answer).await {
        Ok(answer) => answer.map_err(Refused::from),
        Err(_) => Err(Refused::timed_out()),
    }
}

fn tag(text: &str) -> Result<(String, String), Invalid> {
    match text.split_once(':') {
        // No tag has a control character, and PostgreSQL has no text with NUL.
        Some((key, value)) if !key.is_empty() && !text.contains(char::is_control) => {
            Ok((key.to_owned(), value.to_owned()))
        }
        _ => Err(Invalid::new(TAG_ALLOWED)),
    }
}
