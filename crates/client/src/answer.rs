use std::time::{Duration, SystemTime};

use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use serde::de::DeserializeOwned;
use steadfast_wire::{PROBLEM_CONTENT_TYPE, Problem};

use crate::Error;

/// Bytes of one answer that are read at most: a page of 1,000 jobs stays well below.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Reads a successful answer as a `T`, any other as the error it is.
pub(crate) async fn read<T: DeserializeOwned>(server: &str, response: Response) -> Result<T, Error> {
    let status = response.status();
    if !status.is_success() {
        return Err(refusal(server, response).await);
    }
    decode(status, &read_body(server, response).await?)
}

/// Reads an answer that is not successful as the error it is.
pub(crate) async fn refusal(server: &str, response: Response) -> Error {
    let (status, retry_after) = (response.status(), retry_after(response.headers()));
    let is_problem = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.starts_with(PROBLEM_CONTENT_TYPE));
    let body = match read_body(server, response).await {
        Ok(body) => body,
        Err(error) => return error,
    };
    if !is_problem {
        let (status, reason) = (status.as_u16(), "not a problem document".to_owned());
        return Error::Unexpected { status, reason, retry_after };
    }
    match decode::<Problem>(status, &body) {
        Ok(mut problem) => {
            // The member is exact where the header has whole seconds.
            problem.retry_after_ms = problem.retry_after_ms.or(retry_after.map(whole_ms));
            Error::Refused(Box::new(problem))
        }
        Err(error) => error,
    }
}

/// How long to stay away, from now: `Retry-After` in seconds or as a date (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    let until = |date: SystemTime| date.duration_since(SystemTime::now()).unwrap_or_default();
    let seconds = text.parse().map(Duration::from_secs).ok();
    seconds.or_else(|| httpdate::parse_http_date(text).ok().map(until))
}

fn whole_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

async fn read_body(server: &str, mut response: Response) -> Result<Vec<u8>, Error> {
    let interrupted = |source| Error::Interrupted { server: server.to_owned(), source };
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(interrupted)? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(unexpected(response.status(), &format!("more than {ANSWER_BYTES_MAX} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn decode<T: DeserializeOwned>(status: StatusCode, body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|error| unexpected(status, &error.to_string()))
}

fn unexpected(status: StatusCode, reason: &str) -> Error {
    Error::Unexpected { status: status.as_u16(), reason: reason.to_owned(), retry_after: None }
}
