//! Every route and every layer.

use std::sync::Arc;

use axum::Router;
use steadfast_wire::ErrorCode;
use tower::ServiceBuilder;

use crate::access::Needs;
use crate::app::App;
use crate::csrf::SameOrigin;
use crate::described::Described;
use crate::problem::Refused;
use crate::trace::Observe;
use crate::{
    about, all_events, drain, events, health, jobs, leases, metrics, openapi, pages, queues, submit,
    websocket,
};

/// The server's whole outside as a service. Requests come with a [`Peer`](crate::Peer) extension when
/// [`Connections`](crate::Connections) accepted them.
pub fn router(app: Arc<App>) -> Router {
    match app.config.has_admin_listener {
        true => served(everybodys(), app),
        false => served(routes(), app),
    }
}

/// What the admin listener serves.
pub(crate) fn admin_router(app: Arc<App>) -> Router {
    served(admins(), app)
}

fn served(routes: Described, app: Arc<App>) -> Router {
    let layers = ServiceBuilder::new()
        // Trace id, counts, log line, panics, and the completion of problem documents.
        .layer(Observe(Arc::clone(&app)))
        // No changes and no WebSockets on behalf of foreign web pages.
        .layer(SameOrigin);

    routes
        .into_router()
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(layers)
        .with_state(app)
}

/// Every route: its path, what it needs of its caller, what answers it, and what describes it in the OpenAPI document.
pub(crate) fn routes() -> Described {
    everybodys().merge(figures())
}

/// For those who run the server. Whoever reaches the admin listener needs no token (`access/guard.rs`).
fn admins() -> Described {
    steering().merge(probes()).merge(figures()).merge(documents())
}

fn everybodys() -> Described {
    // Submits and reads. Each takes a `WorkPlace`; here and below, what is over a class's places is refused at
    // once (`limits.rs`).
    let work = Described::default()
        .post("/jobs", Needs::Submit, submit::submit, about::submit::short)
        .post("/v1/jobs", Needs::Submit, submit::submit, about::submit::one)
        .get("/v1/jobs", Needs::Read, jobs::list, about::jobs::list)
        .post("/v1/jobs/batch", Needs::Submit, submit::submit_batch, about::submit::batch)
        .get("/v1/jobs/{id}", Needs::Read, jobs::get, about::jobs::get)
        .post("/v1/jobs/{id}/retry", Needs::Submit, jobs::retry, about::jobs::retry)
        .get("/v1/jobs/{id}/events", Needs::Read, events::of_job, about::events::of_job)
        .get("/v1/events", Needs::Read, all_events::of_all, about::events::of_all)
        .get("/v1/ws", Needs::Read, websocket::open, about::websocket::open)
        .post("/v1/leases", Needs::Work, leases::lease, about::leases::lease)
        .get("/v1/queues", Needs::Read, queues::list, about::queues::list)
        .get("/v1/queues/{name}", Needs::Read, queues::get, about::queues::get);
    // What takes load off the server: a `ControlPlace`, which is waited for.
    let control = Described::default()
        .post("/v1/jobs/{id}/cancel", Needs::Submit, jobs::cancel, about::jobs::cancel)
        .post("/v1/leases/heartbeat", Needs::Work, leases::heartbeats, about::leases::heartbeats)
        .post("/v1/leases/settle", Needs::Work, leases::settle_many, about::leases::settle_many)
        .post("/v1/leases/{lease}/heartbeat", Needs::Work, leases::heartbeat, about::leases::heartbeat)
        .post("/v1/leases/{lease}/complete", Needs::Work, leases::complete, about::leases::complete)
        .post("/v1/leases/{lease}/fail", Needs::Work, leases::fail, about::leases::fail)
        .post("/v1/leases/{lease}/release", Needs::Work, leases::release, about::leases::release);

    work.merge(control).merge(steering()).merge(probes()).merge(documents())
}

/// A `ControlPlace`, too, but for the drain, which is never refused for load.
fn steering() -> Described {
    Described::default()
        .post("/v1/queues/{name}/pause", Needs::Admin, queues::pause, about::queues::pause)
        .post("/v1/queues/{name}/resume", Needs::Admin, queues::resume, about::queues::resume)
        .post("/v1/drain", Needs::AdminOrLocal, drain::drain, about::server::drain)
}

/// Readiness asks the store, and takes a `ProbePlace`. That the server lives is said whatever the load.
fn probes() -> Described {
    Described::default()
        .get("/readyz", Needs::Nothing, health::ready, about::server::ready)
        .get("/livez", Needs::Nothing, health::live, about::server::live)
        .get("/healthz", Needs::Nothing, health::live, about::server::health)
}

/// A `ProbePlace`.
fn figures() -> Described {
    Described::default().get("/metrics", Needs::Read, metrics::metrics, about::server::metrics)
}

/// These touch nothing that could be overloaded, and are never refused for load.
fn documents() -> Described {
    Described::default()
        .get("/openapi.json", Needs::Nothing, openapi::serve, about::documents::openapi)
        .get("/problems/{code}", Needs::Nothing, pages::problem, about::documents::problem)
        .get("/", Needs::Nothing, pages::home, about::documents::home)
}

async fn not_found() -> Refused {
    Refused::new(ErrorCode::NotFound, "nothing is served at this path; GET / links what is")
}

/// The router adds `Allow`.
async fn method_not_allowed() -> Refused {
    Refused::new(ErrorCode::MethodNotAllowed, "the route has other methods: see the header Allow")
}
