use axum::response::Response;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use serde::Serialize;

use crate::problem::Refused;

/// Room for a job with a small payload.
const USUAL_BYTES: usize = 1_024;

/// What a handler answers.
pub(crate) type Answer = Result<Response, Refused>;

/// A JSON answer.
pub(crate) fn json(status: StatusCode, document: &impl Serialize) -> Answer {
    let mut text = Vec::with_capacity(USUAL_BYTES);
    serde_json::to_writer(&mut text, document).map_err(Refused::internal)?;
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}
