use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use http::StatusCode;
use parking_lot::Mutex;
use steadfast_lifecycle::Phase;
use steadfast_wire::{Checks, Health, Ready};
use tokio::time::Instant;

use crate::answer::{Answer, json};
use crate::app::App;
use crate::limits::ProbePlace;
use crate::problem::Refused;

/// How long the store may fail to answer before the server counts as not ready.
const STORE_AWAY_MAX: Duration = Duration::from_secs(5);
/// How long a probe or a scrape waits for the store: whoever asks gives up after a few seconds.
pub(crate) const CHECK_TIMEOUT: Duration = Duration::from_secs(1);

/// Since when the store has failed its readiness checks.
#[derive(Debug, Default)]
pub(crate) struct StoreHealth(Mutex<Option<Instant>>);

/// `GET /livez` and `/healthz`: the process runs and answers, in every phase.
pub(crate) async fn live(State(app): State<Arc<App>>) -> Answer {
    let phase = app.phases.current().as_str().into();
    json(StatusCode::OK, &Health { status: "alive".into(), phase })
}

/// `GET /readyz`: whether the server is to get traffic.
pub(crate) async fn ready(State(app): State<Arc<App>>, _place: ProbePlace) -> Answer {
    readiness(&app).await.map_err(Refused::not_ready)?;
    json(StatusCode::OK, &Ready { status: "ready".into() })
}

/// Whether the server is to get traffic; an error says why not. `steadfast_ready` is as it was found last.
pub(crate) async fn readiness(app: &App) -> Result<(), Checks> {
    let store = store(app).await;
    let phase = app.phases.current();
    let is_ready = phase == Phase::Ready && store == "ok";
    app.metrics.ready.set(is_ready.into());
    if is_ready { Ok(()) } else { Err(Checks { phase: phase.as_str().into(), store: store.into() }) }
}

/// `ok`, `opening`, or `unavailable` once it has not answered for [`STORE_AWAY_MAX`].
async fn store(app: &App) -> &'static str {
    let Some(services) = app.attached() else { return "opening" };
    let asked = Instant::now();
    let answered = tokio::time::timeout(CHECK_TIMEOUT, services.store.check()).await;
    let mut away_since = app.store_health.0.lock();
    if matches!(answered, Ok(Ok(()))) {
        *away_since = None;
        return "ok";
    }
    let away_for = away_since.get_or_insert(asked).elapsed();
    if away_for >= STORE_AWAY_MAX { "unavailable" } else { "ok" }
}
