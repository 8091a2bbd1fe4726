use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use steadfast_domain::{Change, limits};
use steadfast_queue::handler::Failure;
use steadfast_queue::lease_desk::{
    Directive as DeskDirective, Ending, Heartbeat, Kept, Lease, Leases, Settling,
};
use steadfast_queue::store::{ClaimId, ClaimLost};
use steadfast_wire::lease::{
    self, CompleteRequest, Directive, FailRequest, HeartbeatAnswer, HeartbeatRequest, HeartbeatsAnswer,
    LeaseAnswer, LeaseDocument, LeaseHeartbeat, LeaseId, LeaseOrder, LeaseRenewed, LeaseSettled,
    LeaseSettlement, ReleaseRequest, RenewedDocument, Settle, SettledDocument, SettlementsAnswer,
};
use steadfast_wire::{ErrorCode, JobDocument, Misread};
use tokio::time::Instant;

use crate::answer::{Answer, json};
use crate::app::{App, Services};
use crate::body::{BodyOf, BodyShare, ENVELOPE_BYTES_MAX, JsonBody};
use crate::connections::Peer;
use crate::delivery::delivering;
use crate::limits::{ControlPlace, WorkPlace};
use crate::parameters::{PathText, text_of};
use crate::problem::{Refused, Repeat};
use crate::trace::WasHeld;

/// Bytes of the body of one heartbeat or one settlement.
const CONTROL_BYTES_MAX: usize = limits::CHECKPOINT_BYTES_MAX + ENVELOPE_BYTES_MAX;

/// What a change keeps until it is done.
type Holding = (Arc<ControlPlace>, BodyShare);

/// `POST /v1/leases`, held while nothing is ready. Those who wait are many: what reads the request is boxed, and gone
/// with everything of it before the wait.
pub(crate) async fn lease(State(app): State<Arc<App>>, request: Request) -> Answer {
    let (services, asked, place, peer) = Box::pin(asked_for(&app, request)).await?;
    let LeaseOrder { queues, kinds, worker, limit, wait, lease } = asked;
    let order = services.desk.order(worker, queues, kinds, limit, lease)?;

    let line = (!wait.is_zero()).then(|| services.desk.line_up(&order));
    let taken = match &line {
        Some(line) => line.look(place).await,
        None => services.desk.take(&order, place).await,
    };
    let mut leases = taken.map_err(|rejection| Refused::rejected(rejection, Repeat::Safe, true))?;
    let mut was_held = false;
    if let Some(line) = line
        && leases.is_empty()
        && services.desk.directive() == DeskDirective::Run
    {
        let _slot = app.held.take()?;
        was_held = true;
        let waited = line.wait(Instant::now() + wait).await;
        leases = waited.map_err(|rejection| Refused::rejected(rejection, Repeat::Safe, true))?;
    }
    let mut response = leased(&app, services, leases, lease, peer)?;
    if was_held {
        response.extensions_mut().insert(WasHeld);
    }
    Ok(response)
}

/// What a worker asks for, a place for it, and who it is.
async fn asked_for(
    app: &App,
    request: Request,
) -> Result<(&Services, LeaseOrder, WorkPlace, Option<Peer>), Refused> {
    let (head, body) = request.into_parts();
    let open = app.services().and_then(|services| {
        app.limits.work_is_open(&head.extensions)?;
        Ok(services)
    });
    let services = match open {
        Ok(services) => services,
        Err(refused) => return Err(refused.before(app, body).await),
    };
    let body = JsonBody::read(app, &head.headers, body, BodyOf::Work, ENVELOPE_BYTES_MAX).await?;
    let place = app.limits.take_work()?;
    let asked = lease::read_lease_request(body.text()?)?;
    Ok((services, asked, place, head.extensions.get().cloned()))
}

/// The answer that has these leases. They go back if it cannot be made, or cannot be sent.
fn leased(app: &App, services: &Services, leases: Leases, length: Duration, peer: Option<Peer>) -> Answer {
    let (mut leases, undelivered) = leases.into_parts();
    if peer.as_ref().is_some_and(Peer::is_gone) {
        leases.clear();
    }
    let lease_ms = length.as_millis() as u64;
    let document = |Lease { id, expires_at, job }: Lease| LeaseDocument {
        lease: LeaseId { job: id.job, fence: id.fence, lease_ms },
        expires_at,
        timeout_ms: job.timeout.get().as_millis() as u64,
        traceparent: job.trace.as_ref().map(|trace| trace.as_str().to_owned()),
        job: JobDocument::full(job),
    };
    let (directive, retry_after_ms) = directive(services);
    let answer =
        LeaseAnswer { leases: leases.into_iter().map(document).collect(), directive, retry_after_ms };
    let response = app.answer_memory.admit(json(StatusCode::OK, &answer)?)?;
    match answer.leases.is_empty() {
        true => Ok(response),
        false => Ok(delivering(response, undelivered, peer)),
    }
}

/// `POST /v1/leases/{lease}/heartbeat`.
pub(crate) async fn heartbeat(State(app): State<Arc<App>>, path: PathText, request: Request) -> Answer {
    let lease = lease_of(path)?;
    let (services, HeartbeatRequest { progress, checkpoint }, holding) =
        asked(&app, request, CONTROL_BYTES_MAX, lease::read_heartbeat).await?;
    let renewed = renew(services, vec![LeaseHeartbeat { lease, progress, checkpoint }], holding).await?.pop();
    let RenewedDocument { expires_at, cancel_requested } =
        renewed.and_then(|renewed| renewed.renewed).ok_or_else(Refused::lease_lost)?;
    let (directive, retry_after_ms) = directive(services);
    json(StatusCode::OK, &HeartbeatAnswer { expires_at, cancel_requested, directive, retry_after_ms })
}

/// `POST /v1/leases/heartbeat`.
pub(crate) async fn heartbeats(State(app): State<Arc<App>>, request: Request) -> Answer {
    let (services, heartbeats, holding) =
        asked(&app, request, limits::BATCH_BYTES_MAX, lease::read_heartbeats).await?;
    let heartbeats = renew(services, heartbeats, holding).await?;
    let (directive, retry_after_ms) = directive(services);
    done(&app, &HeartbeatsAnswer { heartbeats, directive, retry_after_ms })
}

/// `POST /v1/leases/{lease}/complete`.
pub(crate) async fn complete(State(app): State<Arc<App>>, path: PathText, request: Request) -> Answer {
    settle_one(&app, path, request, |body| lease::read_complete(body).map(Settle::Complete)).await
}

/// `POST /v1/leases/{lease}/fail`.
pub(crate) async fn fail(State(app): State<Arc<App>>, path: PathText, request: Request) -> Answer {
    settle_one(&app, path, request, |body| lease::read_fail(body).map(Settle::Fail)).await
}

/// `POST /v1/leases/{lease}/release`.
pub(crate) async fn release(State(app): State<Arc<App>>, path: PathText, request: Request) -> Answer {
    settle_one(&app, path, request, |body| lease::read_release(body).map(Settle::Release)).await
}

/// `POST /v1/leases/settle`.
pub(crate) async fn settle_many(State(app): State<Arc<App>>, request: Request) -> Answer {
    let (services, settlements, holding) =
        asked(&app, request, limits::BATCH_BYTES_MAX, lease::read_settlements).await?;
    let leases: Vec<LeaseId> = settlements.iter().map(|settlement| settlement.lease).collect();
    let answers = settle(services, settlements, holding).await?;
    let settled = |(lease, answer): (LeaseId, Result<Change, ClaimLost>)| LeaseSettled {
        lease,
        settled: answer.ok().map(SettledDocument::from),
        code: answer.is_err().then(|| ErrorCode::LeaseLost.as_str().into()),
    };
    done(&app, &SettlementsAnswer { settlements: leases.into_iter().zip(answers).map(settled).collect() })
}

async fn settle_one(
    app: &App,
    path: PathText,
    request: Request,
    read: impl FnOnce(&str) -> Result<Settle, Misread>,
) -> Answer {
    let lease = lease_of(path)?;
    let (services, settle_as, holding) = asked(app, request, CONTROL_BYTES_MAX, read).await?;
    let settlement = LeaseSettlement { lease, settle: settle_as };
    match settle(services, vec![settlement], holding).await?.pop() {
        Some(Ok(change)) => json(StatusCode::OK, &SettledDocument::from(change)),
        Some(Err(ClaimLost)) | None => Err(Refused::lease_lost()),
    }
}

/// The body of a heartbeat or a settlement, read, and what it is to keep. Neither waits for a drain to pass.
async fn asked<T>(
    app: &App,
    request: Request,
    bytes_max: usize,
    read: impl FnOnce(&str) -> Result<T, Misread>,
) -> Result<(&Services, T, Holding), Refused> {
    let (head, body) = request.into_parts();
    let services = match app.services() {
        Ok(services) => services,
        Err(refused) => return Err(refused.before(app, body).await),
    };
    let body = JsonBody::read(app, &head.headers, body, BodyOf::Control, bytes_max).await?;
    let place = Arc::new(app.limits.take_control().await?);
    let asked = read(body.text()?)?;
    Ok((services, asked, (place, body.into_share())))
}

async fn renew(
    services: &Services,
    heartbeats: Vec<LeaseHeartbeat>,
    holding: Holding,
) -> Result<Vec<LeaseRenewed>, Refused> {
    let leases: Vec<LeaseId> = heartbeats.iter().map(|heartbeat| heartbeat.lease).collect();
    let heartbeat = |LeaseHeartbeat { lease, progress, checkpoint }| Heartbeat {
        id: claim_of(lease),
        lease: Duration::from_millis(lease.lease_ms),
        progress,
        checkpoint,
    };
    let answers = services.desk.renew(heartbeats.into_iter().map(heartbeat).collect(), holding).await;
    let answers = answers.map_err(|rejection| Refused::rejected(rejection, Repeat::Safe, true))?;
    let renewed = |(lease, answer): (LeaseId, Result<Kept, ClaimLost>)| LeaseRenewed {
        lease,
        renewed: answer
            .ok()
            .map(|Kept { expires_at, cancel_requested }| RenewedDocument { expires_at, cancel_requested }),
        code: answer.is_err().then(|| ErrorCode::LeaseLost.as_str().into()),
    };
    Ok(leases.into_iter().zip(answers).map(renewed).collect())
}

async fn settle(
    services: &Services,
    settlements: Vec<LeaseSettlement>,
    holding: Holding,
) -> Result<Vec<Result<Change, ClaimLost>>, Refused> {
    let settling = |LeaseSettlement { lease, settle }| Settling {
        id: claim_of(lease),
        ending: match settle {
            Settle::Complete(CompleteRequest { result }) => Ending::Complete { result },
            Settle::Fail(FailRequest { code, message, retryable: true }) => {
                Ending::Fail(Failure::retryable(code, message))
            }
            Settle::Fail(FailRequest { code, message, retryable: false }) => {
                Ending::Fail(Failure::permanent(code, message))
            }
            Settle::Release(ReleaseRequest { checkpoint }) => Ending::Release { checkpoint },
        },
    };
    let answers = services.desk.settle(settlements.into_iter().map(settling).collect(), holding).await;
    answers.map_err(|rejection| Refused::rejected(rejection, Repeat::Safe, true))
}

/// The answer to a change that was done.
fn done(app: &App, document: &impl Serialize) -> Answer {
    let response: Response = json(StatusCode::OK, document)?;
    Ok(app.answer_memory.count(response))
}

fn directive(services: &Services) -> (Directive, Option<u64>) {
    match services.desk.directive() {
        DeskDirective::Run => (Directive::Run, None),
        DeskDirective::Quiet(retry_after) => (Directive::Quiet, Some(retry_after.as_millis() as u64)),
    }
}

fn claim_of(lease: LeaseId) -> ClaimId {
    ClaimId { job: lease.job, fence: lease.fence }
}

/// The lease in the path. What this server never gives is a fault of the request; what it may have given, and does not
/// know any more, is lost.
fn lease_of(path: PathText) -> Result<LeaseId, Refused> {
    let text = text_of(path, "lease")?;
    LeaseId::from_str(&text)
        .map_err(|_| Refused::parameter("lease", &text, "a lease, as POST /v1/leases answered it"))
}
