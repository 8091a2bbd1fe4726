use axum::response::Response;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use steadfast_wire::JobText;

use crate::problem::Refused;

/// What a handler answers.
pub(crate) type Answer = Result<Response, Refused>;

/// A JSON answer.
pub(crate) fn json(status: StatusCode, document: &impl Serialize) -> Answer {
    let text = serde_json::to_vec(document).map_err(Refused::internal)?;
    Ok(of_json(status, text))
}

/// A job.
pub(crate) fn job(status: StatusCode, job: JobText<'_>) -> Answer {
    let text = job.to_json().map_err(Refused::internal)?;
    Ok(of_json(status, text.into_bytes()))
}

fn of_json(status: StatusCode, text: Vec<u8>) -> Response {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
