use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use http::header::LOCATION;
use http::request::Parts;
use http::{HeaderName, HeaderValue, StatusCode};
use steadfast_domain::limits;
use steadfast_queue::store::{Durability as StoreDurability, How, KeyScope, Submitted};
use steadfast_wire::{BatchAnswer, Durability, JobDocument, JobText, read_batch, read_job};

use crate::access::tenant_of;
use crate::answer::{self, Answer, json};
use crate::app::{App, Services};
use crate::body::{BodyOf, ENVELOPE_BYTES_MAX, JsonBody};
use crate::held::hold;
use crate::idempotency::key_of;
use crate::prefer::wait_of;
use crate::problem::{Refused, Repeat};
use crate::trace::{Trace, WasHeld};

pub(crate) const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
pub(crate) const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// `POST /v1/jobs` and `POST /jobs`.
pub(crate) async fn submit(
    State(app): State<Arc<App>>,
    Extension(trace): Extension<Trace>,
    request: Request,
) -> Answer {
    let (head, body) = request.into_parts();
    let services = match open(&app, &head) {
        Ok(services) => services,
        Err(refused) => return Err(refused.before(&app, body).await),
    };
    let bytes_max = app.config.payload_bytes_max + ENVELOPE_BYTES_MAX;
    let body = JsonBody::read(&app, &head.headers, body, BodyOf::Work, bytes_max).await?;
    let place = app.limits.take_work()?;
    let tenant = tenant_of(&head.extensions);
    let key = key_of(&head.headers, &tenant, KeyScope::Submit, body.bytes())?;
    let mut job = read_job(body.text()?)?;
    job.tenant = tenant;
    job.trace = trace.parent();
    let holding = (place, body.into_share());

    let repeat = if key.is_some() { Repeat::Safe } else { Repeat::Unsafe };
    let submitted = services.admission.submit(vec![job], key, holding).await;
    let submitted = submitted.map_err(|rejection| Refused::rejected(rejection, repeat, true))?;
    let Some(submitted) = submitted.into_iter().next() else {
        return Err(Refused::internal("a submit of one job was answered with none"));
    };
    accepted(&app, services, submitted, wait_of(&head.headers)).await
}

/// `POST /v1/jobs/batch`.
pub(crate) async fn submit_batch(
    State(app): State<Arc<App>>,
    Extension(trace): Extension<Trace>,
    request: Request,
) -> Answer {
    let (head, body) = request.into_parts();
    let services = match open(&app, &head) {
        Ok(services) => services,
        Err(refused) => return Err(refused.before(&app, body).await),
    };
    let body = JsonBody::read(&app, &head.headers, body, BodyOf::Work, limits::BATCH_BYTES_MAX).await?;
    let place = app.limits.take_work()?;
    let tenant = tenant_of(&head.extensions);
    let key = key_of(&head.headers, &tenant, KeyScope::Batch, body.bytes())?;
    let mut jobs = read_batch(body.text()?)?;
    for job in &mut jobs {
        job.trace = trace.parent();
        job.tenant = tenant.clone();
    }
    let holding = (place, body.into_share());

    let repeat = if key.is_some() { Repeat::Safe } else { Repeat::Unsafe };
    let submitted = services.admission.submit(jobs, key, holding).await;
    let submitted = submitted.map_err(|rejection| Refused::rejected(rejection, repeat, false))?;
    let replayed = submitted.iter().any(|submitted| submitted.how == How::Replayed);
    let answer = BatchAnswer {
        jobs: submitted.into_iter().map(document_of).collect(),
        durability: durability_of(services),
    };
    let mut response = json(StatusCode::ACCEPTED, &answer)?;
    mark_replayed(&mut response, replayed);
    Ok(app.answer_memory.count(response))
}

/// What takes submits, if it takes any now: asked before a body is read for nothing.
fn open<'a>(app: &'a App, head: &Parts) -> Result<&'a Services, Refused> {
    let services = app.services()?;
    services.admission.open().map_err(|rejection| Refused::rejected(rejection, Repeat::Safe, true))?;
    app.limits.work_is_open(&head.extensions)?;
    Ok(services)
}

/// The answer to an accepted job, held until its end if the client would like that and there is a slot for
/// it. From here on nothing may fail: the job exists.
async fn accepted(app: &App, services: &Services, submitted: Submitted, wait: Option<Duration>) -> Answer {
    let Submitted { mut job, how } = submitted;
    let id = job.id;
    let mut applied = None;
    if let Some(wait) = wait
        && !job.state.is_terminal()
        && let Ok(slot) = app.held.take()
    {
        applied = Some(wait);
        // Boxed: it is rare, and large.
        if let Ok(Some(held)) = Box::pin(hold(app, services, id, wait, slot)).await {
            job = held;
        }
    }
    let status = match wait {
        Some(_) if job.state.is_terminal() => StatusCode::OK,
        _ => StatusCode::ACCEPTED,
    };
    let (durability, deduplicated) = (Some(durability_of(services)), how == How::Deduplicated);
    let mut response = answer::job(status, JobText { job: &job, durability, deduplicated })?;
    if let Ok(location) = HeaderValue::try_from(format!("/v1/jobs/{id}")) {
        response.headers_mut().insert(LOCATION, location);
    }
    if let Some(wait) = applied {
        response.extensions_mut().insert(WasHeld);
        if let Ok(value) = HeaderValue::try_from(format!("wait={}", wait.as_secs())) {
            response.headers_mut().insert(PREFERENCE_APPLIED, value);
        }
    }
    mark_replayed(&mut response, how == How::Replayed);
    Ok(app.answer_memory.count(response))
}

fn document_of(submitted: Submitted) -> JobDocument {
    let deduplicated = submitted.how == How::Deduplicated;
    JobDocument { deduplicated, ..JobDocument::full(submitted.job) }
}

fn durability_of(services: &Services) -> Durability {
    match services.admission.durability() {
        StoreDurability::Fsync => Durability::Fsync,
        StoreDurability::Commit => Durability::Commit,
        StoreDurability::Memory => Durability::Memory,
    }
}

fn mark_replayed(response: &mut Response, replayed: bool) {
    if replayed {
        response.headers_mut().insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
}
