use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use http::{HeaderMap, StatusCode};
use steadfast_lifecycle::DrainCause;
use steadfast_wire::{Drain, ErrorCode};

use crate::answer::{Answer, json};
use crate::app::App;
use crate::connections::Peer;
use crate::problem::Refused;

/// Headers that a proxy adds: behind one on this machine, everybody would be a peer on this machine.
const FORWARDED: [&str; 3] = ["forwarded", "x-forwarded-for", "via"];

/// `POST /v1/drain`: the same as SIGTERM, for peers on this machine.
pub(crate) async fn drain(
    State(app): State<Arc<App>>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
) -> Answer {
    let is_forwarded = FORWARDED.iter().any(|name| headers.contains_key(*name));
    if is_forwarded || !peer.is_some_and(|Extension(peer)| peer.is_loopback()) {
        let detail = "a drain can only be asked for from the machine the server runs on";
        return Err(Refused::new(ErrorCode::Forbidden, detail));
    }
    app.drain.request(DrainCause::Asked);
    let phase = app.phases.current().as_str().into();
    json(StatusCode::ACCEPTED, &Drain { status: "draining".into(), phase })
}
