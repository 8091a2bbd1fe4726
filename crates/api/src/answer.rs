use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
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
    Ok(of_json(status, text.into()))
}

/// A job.
pub(crate) fn job(status: StatusCode, job: JobText<'_>) -> Answer {
    Ok(of_json(status, job_text(job)?))
}

/// A job's JSON.
pub(crate) fn job_text(job: JobText<'_>) -> Result<Bytes, Refused> {
    Ok(job.to_json().map_err(Refused::internal)?.into_bytes().into())
}

/// An answer of JSON that is written already.
pub(crate) fn of_json(status: StatusCode, text: Bytes) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
