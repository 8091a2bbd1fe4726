//! `GET /v1/ws`: what happens to jobs, over a WebSocket (RFC 6455).
//!
//! The handshake is answered here. Then hyper gives up the connection, and its task, which counts it and can cut
//! it, goes on with the [`Session`].

mod session;
mod subscriptions;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::access::InForce;
use crate::answer::Answer;
use crate::app::App;
use crate::connections::Peer;
use crate::limits::WorkPlace;
use crate::problem::Refused;
use session::Session;

/// The handler.
pub(crate) async fn open(
    State(app): State<Arc<App>>,
    _place: WorkPlace,
    in_force: InForce,
    mut request: Request,
) -> Answer {
    app.services()?;
    let accept = accept_key(request.headers())?;
    let upgrade = request.extensions_mut().remove::<OnUpgrade>();
    let (Some(upgrade), Some(peer)) = (upgrade, request.extensions().get::<Peer>()) else {
        return Err(Refused::parameter("Upgrade", "", "websocket, over HTTP/1.1"));
    };
    let slot = app.held.take()?;
    let session_app = Arc::clone(&app);
    peer.goes_on_with(async move {
        match upgrade.await {
            Ok(socket) => Session::new(session_app, TokioIo::new(socket), slot).await.run(in_force).await,
            Err(_) => false,
        }
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    Ok(response)
}

/// Checks a handshake (RFC 6455, section 4.2.1) and returns what proves that it was understood.
fn accept_key(headers: &HeaderMap) -> Result<HeaderValue, Refused> {
    let expect = |name: HeaderName, is_good: fn(&str) -> bool, allowed: &'static str| {
        let text = headers.get(&name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        match is_good(text) {
            true => Ok(text),
            false => Err(Refused::parameter(name.as_str().to_owned(), text, allowed)),
        }
    };
    expect(UPGRADE, |text| has_token(text, "websocket"), "websocket: this route speaks nothing else")?;
    expect(CONNECTION, |text| has_token(text, "upgrade"), "Upgrade")?;
    expect(SEC_WEBSOCKET_VERSION, |text| text == "13", "13")?;
    // 16 bytes in Base64.
    let key = expect(SEC_WEBSOCKET_KEY, |text| text.len() == 24, "16 bytes in Base64")?;
    HeaderValue::try_from(derive_accept_key(key.as_bytes())).map_err(Refused::internal)
}

fn has_token(list: &str, token: &str) -> bool {
    list.split(',').any(|item| item.trim().eq_ignore_ascii_case(token))
}
