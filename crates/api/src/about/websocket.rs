use http::StatusCode;
use http::header::{SEC_WEBSOCKET_ACCEPT, UPGRADE};
use serde_json::json;
use steadfast_wire::ErrorCode;

use crate::openapi::{Answer, Operation, Schemas, Tag};

/// `GET /v1/ws`.
pub(crate) fn open(_: &mut Schemas) -> Operation {
    Operation::new(Tag::Jobs, "openWebSocket", "Follow jobs over a WebSocket")
        .description(
            "After the handshake of RFC 6455 messages are JSON texts. The client says \
             `{\"subscribe\":{\"job\":\"…\"}}`, with `\"after\":n` beside to go on from a version, \
             `{\"subscribe\":{\"queue\":\"…\"}}`, `{\"subscribe\":\"all\"}`, or `unsubscribe` with the same. The server \
             says `subscribed`, `unsubscribed`, or `error` with a `code` and goes on; then `state` and `progress` as \
             `AnyJobEvent` has them, `end` of a subscribed job, and `resync` when events of queues were missed. A \
             server that goes away says `server_shutdown` with `reconnect_after_ms`, and closes with 1012.",
        )
        .answer(
            Answer::empty(StatusCode::SWITCHING_PROTOCOLS, "The connection is a WebSocket from now on.")
                .header(UPGRADE, json!({ "const": "websocket" }), "What is spoken from now on.")
                .header(SEC_WEBSOCKET_ACCEPT, json!({ "type": "string" }), "Proves that it was understood."),
        )
        .refuses(&[
            ErrorCode::InvalidParameter,
            ErrorCode::Forbidden,
            ErrorCode::Starting,
            ErrorCode::Overloaded,
        ])
}
