use std::borrow::Cow;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use steadfast_domain::InvalidField;

use crate::health::Checks;
use crate::{ErrorCode, FAULTS_MAX, schema};

/// The shortest and the longest time after which an answer asks its client to come back, in milliseconds.
const RETRY_AFTER_MS_MIN: u64 = 50;
const RETRY_AFTER_MS_MAX: u64 = 60_000;

/// The media type of a [`Problem`].
pub const PROBLEM_CONTENT_TYPE: &str = "application/problem+json";

/// A problem document (RFC 9457): what every error is answered with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// `/problems/{code}`, relative to the server.
    #[serde(rename = "type")]
    pub kind: Cow<'static, str>,
    /// What the code means, the same each time.
    pub title: Cow<'static, str>,
    /// The HTTP status.
    pub status: u16,
    /// What happened this time, and what the reader can do.
    pub detail: String,
    /// The code's name; [`ErrorCode::parse`] reads it, a newer server may have others.
    #[schemars(with = "schema::Code", description = "The code's name; a newer server may have others.")]
    pub code: Cow<'static, str>,
    /// Whether the same request may do better later.
    pub retryable: bool,
    /// When to try again, in milliseconds from now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u64", range(min = RETRY_AFTER_MS_MIN, max = RETRY_AFTER_MS_MAX))]
    pub retry_after_ms: Option<u64>,
    /// Whether the request may have had an effect; with every answer to a POST.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Outcome")]
    pub outcome: Option<Outcome>,
    /// Under which the server's log has this request: 32 hexadecimal digits.
    #[schemars(with = "schema::TraceId")]
    pub trace_id: String,
    /// The faults of an `invalid_job`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = FAULTS_MAX))]
    pub errors: Vec<Fault>,
    /// The queue concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub queue: Option<String>,
    /// How much of the capacity is taken: jobs, or bytes with `queue_bytes_full`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u64")]
    pub depth: Option<u64>,
    /// The whole capacity, in the same unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u64")]
    pub capacity: Option<u64>,
    /// The job's state, of a `state_conflict`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "schema::State")]
    pub state: Option<Cow<'static, str>>,
    /// The server's phase, of a `shutting_down`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "schema::PhaseName")]
    pub phase: Option<Cow<'static, str>>,
    /// What `/readyz` looked at, of a `not_ready`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Checks")]
    pub checks: Option<Checks>,
    /// The parameter concerned, of an `invalid_parameter`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub parameter: Option<Cow<'static, str>>,
    /// Its value, cut to its first characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub value: Option<String>,
    /// What would be allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub allowed: Option<Cow<'static, str>>,
}

/// Whether a refused request may have had an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Nothing happened, and nothing will.
    None,
    /// It happened whole or not at all; the same idempotency key finds out.
    Unknown,
}

/// One fault of a submitted job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fault {
    /// Where: a JSON Pointer as a URI fragment (RFC 6901, section 6), such as `#/retry/max_attempts`.
    pub pointer: String,
    /// What is wrong and what is allowed.
    pub detail: String,
}

impl Problem {
    /// The problem document of a code, with its defaults and no further members.
    pub fn new(code: ErrorCode, detail: impl Into<String>, trace_id: impl Into<String>) -> Self {
        Self {
            kind: format!("/problems/{}", code.as_str()).into(),
            title: code.title().into(),
            status: code.status(),
            detail: detail.into(),
            code: code.as_str().into(),
            retryable: code.retryable(),
            retry_after_ms: None,
            outcome: None,
            trace_id: trace_id.into(),
            errors: Vec::new(),
            queue: None,
            depth: None,
            capacity: None,
            state: None,
            phase: None,
            checks: None,
            parameter: None,
            value: None,
            allowed: None,
        }
    }

    /// When to try again, brought into the 50 ms to 60 s that the API promises.
    pub fn retry_after(&mut self, after: Duration) {
        let ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        self.retry_after_ms = Some(ms.clamp(RETRY_AFTER_MS_MIN, RETRY_AFTER_MS_MAX));
    }

    /// The faults of a submitted job, the first [`FAULTS_MAX`] of them.
    pub fn faults(&mut self, faults: Vec<InvalidField>) {
        self.errors = faults
            .into_iter()
            .take(FAULTS_MAX)
            .map(|fault| Fault { pointer: fault.pointer, detail: fault.detail })
            .collect();
    }
}
