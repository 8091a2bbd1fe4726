use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;
use steadfast_lifecycle::DrainCause;
use steadfast_wire::Drain;

use crate::answer::{Answer, json};
use crate::app::App;

/// `POST /v1/drain`: the same as SIGTERM.
pub(crate) async fn drain(State(app): State<Arc<App>>) -> Answer {
    app.drain.request(DrainCause::Asked);
    let phase = app.phases.current().as_str().into();
    json(StatusCode::ACCEPTED, &Drain { status: "draining".into(), phase })
}
