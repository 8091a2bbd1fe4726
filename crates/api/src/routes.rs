//! Every route and every layer.

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
use steadfast_wire::ErrorCode;
use tower::ServiceBuilder;

use crate::app::App;
use crate::csrf::SameOrigin;
use crate::problem::Refused;
use crate::trace::Observe;
use crate::{drain, events, health, jobs, metrics, pages, queues, submit};

/// The server's whole outside as a service. Requests come with a [`Peer`](crate::Peer) extension when
/// [`Connections`](crate::Connections) accepted them.
pub fn router(app: Arc<App>) -> Router {
    // Submits and reads. Each takes a `WorkPlace`; here and below, what is over a class's places is refused at
    // once (`limits.rs`).
    let work = Router::new()
        .route("/jobs", post(submit::submit))
        .route("/v1/jobs", post(submit::submit).get(jobs::list))
        .route("/v1/jobs/batch", post(submit::submit_batch))
        .route("/v1/jobs/{id}", get(jobs::get))
        .route("/v1/jobs/{id}/retry", post(jobs::retry))
        .route("/v1/jobs/{id}/events", get(events::of_job))
        .route("/v1/queues", get(queues::list))
        .route("/v1/queues/{name}", get(queues::get));
    // What takes load off the server: a `ControlPlace`.
    let control = Router::new()
        .route("/v1/jobs/{id}/cancel", post(jobs::cancel))
        .route("/v1/queues/{name}/pause", post(queues::pause))
        .route("/v1/queues/{name}/resume", post(queues::resume));
    // What only looks, and asks the store: a `ProbePlace`.
    let probes = Router::new().route("/readyz", get(health::ready)).route("/metrics", get(metrics::metrics));
    // These touch nothing that could be overloaded, and are never refused for load.
    let free = Router::new()
        .route("/livez", get(health::live))
        .route("/healthz", get(health::live))
        .route("/v1/drain", post(drain::drain))
        .route("/problems/{code}", get(pages::problem))
        .route("/", get(pages::home));

    let layers = ServiceBuilder::new()
        // Trace id, counts, log line, panics, and the completion of problem documents.
        .layer(Observe(Arc::clone(&app)))
        // No changes on behalf of foreign web pages.
        .layer(SameOrigin);

    Router::new()
        .merge(work)
        .merge(control)
        .merge(probes)
        .merge(free)
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(layers)
        .with_state(app)
}

async fn not_found() -> Refused {
    Refused::new(ErrorCode::NotFound, "nothing is served at this path; GET / links what is")
}

/// The router adds `Allow`.
async fn method_not_allowed() -> Refused {
    Refused::new(ErrorCode::MethodNotAllowed, "the route has other methods: see the header Allow")
}
