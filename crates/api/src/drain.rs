use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use http::StatusCode;
use steadfast_wire::{Drain, ErrorCode};

use crate::answer::{Answer, json};
use crate::app::App;
use crate::connections::Peer;
use crate::problem::Refused;

/// `POST /v1/drain`: the same as SIGTERM, for peers on this machine.
pub(crate) async fn drain(State(app): State<Arc<App>>, peer: Option<Extension<Peer>>) -> Answer {
    if !peer.is_some_and(|Extension(peer)| peer.is_loopback()) {
        let detail = "a drain can only be asked for from the machine the server runs on";
        return Err(Refused::new(ErrorCode::Forbidden, detail));
    }
    app.drain.request();
    let phase = app.phases.current().as_str().into();
    json(StatusCode::ACCEPTED, &Drain { status: "draining".into(), phase })
}
