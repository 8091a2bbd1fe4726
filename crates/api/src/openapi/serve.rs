use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, StatusCode};
use sha2::{Digest, Sha256};

use super::openapi_document;

/// Bytes of the digest that names a text.
const TAG_BYTES: usize = 16;

/// `GET /openapi.json`. The text is made once, at the first request.
pub(crate) async fn serve(headers: HeaderMap) -> Response {
    static TAG: LazyLock<String> = LazyLock::new(|| tag_of(openapi_document()));
    let named = [(ETAG, TAG.as_str()), (CACHE_CONTROL, "no-cache")];
    if is_there(&headers, &TAG) {
        return (StatusCode::NOT_MODIFIED, named).into_response();
    }
    let text = Bytes::from_static(openapi_document().as_bytes());
    (named, [(CONTENT_TYPE, "application/json")], text).into_response()
}

/// A strong entity tag.
fn tag_of(text: &str) -> String {
    let digest = Sha256::digest(text);
    let hex: String = digest.iter().take(TAG_BYTES).map(|byte| format!("{byte:02x}")).collect();
    format!("\"{hex}\"")
}

/// Whether the client has this text already (RFC 9110, section 13.1.2, with its weak comparison).
fn is_there(headers: &HeaderMap, tag: &str) -> bool {
    let values = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut given = values.flat_map(|value| value.split(',')).map(str::trim);
    given.any(|given| given == "*" || given.strip_prefix("W/").unwrap_or(given) == tag)
}
