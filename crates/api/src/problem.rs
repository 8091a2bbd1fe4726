//! The one place where inner errors become status codes and problem documents.

use std::borrow::Cow;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, StatusCode, Version};
use steadfast_domain::InvalidField;
use steadfast_lifecycle::Phase;
use steadfast_queue::admission::{Outcome as QueueOutcome, Rejection, Why};
use steadfast_queue::lease_desk::WrongQueue;
use steadfast_queue::store::{Refusal, StoreError};
use steadfast_wire::{ErrorCode, Misread, Outcome, PROBLEM_CONTENT_TYPE, Problem};

use crate::access::Scope;
use crate::refusals::Cause;

/// Until when a refused client is to stay away where nothing better is known, give or take a fifth.
const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(1);

/// Characters of a rejected parameter that an answer repeats.
const VALUE_CHARS_SHOWN_MAX: usize = 64;

/// A request that is answered with a problem document. It travels as an extension of an empty response to
/// the outermost layer, which knows the request's method and trace id and completes it.
#[derive(Debug, Clone)]
pub(crate) struct Refused {
    pub(crate) code: ErrorCode,
    problem: Box<Problem>,
    /// Only for the log.
    cause: Option<Cause>,
    /// Whether the rest of the request is not worth reading.
    close: bool,
    /// Says what token would do (RFC 6750, section 3).
    challenge: Option<&'static str>,
}

/// Whether a request whose outcome is unknown can be sent again without harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// It has the same effect twice as once.
    Safe,
    /// It might do twice what was asked once.
    Unsafe,
}

impl Refused {
    /// A refusal with this code and sentence.
    pub(crate) fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self {
            code,
            problem: Box::new(Problem::new(code, detail, "")),
            cause: None,
            close: false,
            challenge: None,
        }
    }

    /// The sentence for people.
    pub(crate) fn detail(&self) -> &str {
        &self.problem.detail
    }

    /// The store is not open yet.
    pub(crate) fn starting() -> Self {
        Self::new(ErrorCode::Starting, "the server is opening its store; nothing is lost, try again shortly")
    }

    /// A request without a token where one is needed.
    pub(crate) fn no_token() -> Self {
        let detail = "this needs a token, in the header `Authorization: Bearer TOKEN`";
        Self::new(ErrorCode::Unauthenticated, detail).challenging("Bearer")
    }

    /// A request with something else than one token that is known. Nothing of it is repeated.
    pub(crate) fn unknown_token() -> Self {
        let detail =
            "the header Authorization has no token that this server knows; it may have been replaced";
        Self::new(ErrorCode::Unauthenticated, detail).challenging("Bearer error=\"invalid_token\"")
    }

    /// A request with a token that is good for other things.
    pub(crate) fn lacks(scope: Scope) -> Self {
        let detail = format!("the token lacks the scope `{}`, which this needs", scope.as_str());
        Self::new(ErrorCode::Forbidden, detail).challenging(match scope {
            Scope::Submit => "Bearer error=\"insufficient_scope\", scope=\"submit\"",
            Scope::Read => "Bearer error=\"insufficient_scope\", scope=\"read\"",
            Scope::Work => "Bearer error=\"insufficient_scope\", scope=\"work\"",
            Scope::Admin => "Bearer error=\"insufficient_scope\", scope=\"admin\"",
        })
    }

    fn challenging(self, challenge: &'static str) -> Self {
        Self { challenge: Some(challenge), ..self }
    }

    /// Something the server has a bound on is used up.
    pub(crate) fn overloaded(what: &str) -> Self {
        Self::new(ErrorCode::Overloaded, format!("the server already has as many {what} as it may"))
    }

    /// A part of the path, a query parameter or a header that is not valid.
    pub(crate) fn parameter(
        name: impl Into<Cow<'static, str>>,
        value: &str,
        allowed: impl Into<Cow<'static, str>>,
    ) -> Self {
        let (name, allowed) = (name.into(), allowed.into());
        let mut refused =
            Self::new(ErrorCode::InvalidParameter, format!("{name} is not valid: allowed is {allowed}"));
        refused.problem.parameter = Some(name);
        refused.problem.value = Some(value.chars().take(VALUE_CHARS_SHOWN_MAX).collect());
        refused.problem.allowed = Some(allowed);
        refused
    }

    /// The server's own fault; `cause` goes to the log only.
    pub(crate) fn internal(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let mut refused =
            Self::new(ErrorCode::Internal, "the server met a fault of its own; its log has the cause");
        refused.cause = Some(Arc::from(cause.into()));
        // How far it came before the fault is not known.
        refused.problem.outcome = Some(Outcome::Unknown);
        refused
    }

    /// A job that does not exist, or no longer.
    pub(crate) fn job_not_found() -> Self {
        Self::new(ErrorCode::JobNotFound, "there is no job with this id, or its retention has ended")
    }

    /// A queue that is not declared.
    pub(crate) fn queue_not_found(queue: &str) -> Self {
        let mut refused = Self::new(ErrorCode::QueueNotFound, "there is no queue of this name");
        refused.problem.queue = Some(queue.chars().take(VALUE_CHARS_SHOWN_MAX).collect());
        refused
    }

    /// A change that the job's state does not allow.
    pub(crate) fn state_conflict(state: &'static str, detail: impl Into<String>) -> Self {
        let mut refused = Self::new(ErrorCode::StateConflict, detail);
        refused.problem.state = Some(state.into());
        refused
    }

    /// A lease that is superseded, lapsed, or was settled otherwise.
    pub(crate) fn lease_lost() -> Self {
        Self::new(
            ErrorCode::LeaseLost,
            "the lease lapsed, another has the job, or it was settled in another way; nothing was changed",
        )
    }

    /// The server is not to get traffic.
    pub(crate) fn not_ready(checks: steadfast_wire::Checks) -> Self {
        let mut refused = Self::new(ErrorCode::NotReady, "the server is not to get traffic now");
        refused.problem.checks = Some(checks);
        refused
    }

    /// The same, and the connection is closed after the answer, since the rest of the request is not read.
    pub(crate) fn and_close(self) -> Self {
        Self { close: true, ..self }
    }

    /// A rejected change. `repeat` tells whether the same request may be sent again when it is not known what
    /// became of it.
    pub(crate) fn rejected(rejection: Rejection, repeat: Repeat, one_job: bool) -> Self {
        let Rejection { why, outcome, retry_after } = rejection;
        let mut refused = Self::of_why(why, one_job);
        if let Some(after) = retry_after {
            refused.problem.retry_after(after);
        }
        match outcome {
            QueueOutcome::None => {
                refused.problem.outcome = Some(Outcome::None);
                refused
            }
            QueueOutcome::Unknown => refused.in_doubt(repeat),
        }
    }

    /// The same, where it is not known from this answer what was done.
    pub(crate) fn in_doubt(mut self, repeat: Repeat) -> Self {
        self.problem.outcome = Some(Outcome::Unknown);
        self.problem.retryable &= repeat == Repeat::Safe;
        self
    }

    fn of_why(why: Why, one_job: bool) -> Self {
        let detail = why.to_string();
        match why {
            Why::Starting => Self::starting(),
            Why::ShuttingDown(phase) => Self::shutting_down(phase),
            Why::InvalidJob(faults, index) => Self::invalid_job(within(faults, index, one_job)),
            Why::UnknownKind { queue, index, .. } => {
                let pointer = within(vec![InvalidField::new("#/kind", &detail)], index, one_job);
                let mut refused = Self::new(ErrorCode::UnknownKind, detail);
                refused.problem.queue = Some(queue.as_str().to_owned());
                refused.problem.faults(pointer);
                refused
            }
            Why::PayloadTooLarge { index, .. } => {
                let pointer = within(vec![InvalidField::new("#/payload", &detail)], index, one_job);
                let mut refused = Self::new(ErrorCode::PayloadTooLarge, detail);
                refused.problem.faults(pointer);
                refused
            }
            Why::Refused(refusal) => Self::of_refusal(refusal),
            Why::Store(error) => Self::from(error),
            Why::TimedOut => Self::timed_out(),
            Why::Internal => {
                Self::new(ErrorCode::Internal, "the server met a fault of its own; its log has the cause")
            }
        }
    }

    fn of_refusal(refusal: Refusal) -> Self {
        let detail = refusal.to_string();
        let full = |code, queue: &str, depth: u64, capacity: u64| {
            let mut refused = Self::new(code, detail.clone());
            refused.problem.queue = Some(queue.to_owned());
            refused.problem.depth = Some(depth);
            refused.problem.capacity = Some(capacity);
            refused
        };
        match refusal {
            Refusal::QueueFull { queue, depth, capacity } => {
                full(ErrorCode::QueueFull, queue.as_str(), depth, capacity)
            }
            Refusal::QueueBytesFull { queue, bytes, capacity } => {
                full(ErrorCode::QueueBytesFull, queue.as_str(), bytes, capacity)
            }
            Refusal::LargerThanCapacity { queue, capacity, .. } => {
                let mut refused = Self::new(ErrorCode::PayloadTooLarge, detail);
                refused.problem.queue = Some(queue.as_str().to_owned());
                refused.problem.capacity = Some(capacity);
                refused
            }
            Refusal::QueueNotFound { queue } => Self::queue_not_found(queue.as_str()),
            Refusal::KeyMismatch => Self::new(ErrorCode::IdempotencyMismatch, detail),
            Refusal::KeyInFlight => Self::new(ErrorCode::IdempotencyInFlight, detail),
            Refusal::JobNotFound => Self::job_not_found(),
            Refusal::State(state) => Self::state_conflict(state.as_str(), detail),
            Refusal::DeadlinePassed | Refusal::UniqueKeyTaken => Self::new(ErrorCode::StateConflict, detail),
        }
    }

    /// Nothing new is taken any more.
    fn shutting_down(phase: Phase) -> Self {
        let mut refused = Self::new(
            ErrorCode::ShuttingDown,
            "the server is shutting down and takes nothing new; what it accepted is safe",
        );
        refused.problem.phase = Some(phase.as_str().into());
        refused
    }

    /// The server did not answer in time.
    pub(crate) fn timed_out() -> Self {
        Self::new(ErrorCode::TimedOut, "the server did not come to an answer in time")
    }

    fn invalid_job(faults: Vec<InvalidField>) -> Self {
        let detail = match &faults[..] {
            [fault] => fault.to_string(),
            more => format!("the request has {} faults, listed in errors", more.len()),
        };
        let mut refused = Self::new(ErrorCode::InvalidJob, detail);
        refused.problem.faults(faults);
        refused
    }

    /// The whole response, as the outermost layer sends it.
    pub(crate) fn into_whole_response(
        self,
        method: &Method,
        version: Version,
        trace_id: String,
    ) -> (Response, Option<Cause>) {
        let Self { code: _, mut problem, cause, close, challenge } = self;
        problem.trace_id = trace_id;
        match *method {
            Method::POST => problem.outcome = problem.outcome.or(Some(Outcome::None)),
            _ => problem.outcome = None,
        }
        let comes_back = matches!(problem.status, 429 | 503);
        if comes_back && problem.retry_after_ms.is_none() {
            problem.retry_after(RETRY_AFTER_DEFAULT.mul_f64(rand::random_range(0.8..1.2)));
        }
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response = Response::new(body.into());
        *response.status_mut() =
            StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_CONTENT_TYPE));
        if comes_back {
            let seconds = problem.retry_after_ms.unwrap_or(0).div_ceil(1_000);
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        if let Some(challenge) = challenge {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if close && version < Version::HTTP_2 {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        (response, cause)
    }
}

/// Faults whose pointers begin at a job, with pointers that begin at the body.
fn within(faults: Vec<InvalidField>, index: usize, one_job: bool) -> Vec<InvalidField> {
    if one_job {
        return faults;
    }
    let moved = |fault: InvalidField| {
        let rest = fault.pointer.strip_prefix('#').unwrap_or(&fault.pointer);
        InvalidField { pointer: format!("#/jobs/{index}{rest}"), detail: fault.detail }
    };
    faults.into_iter().map(moved).collect()
}

impl From<Misread> for Refused {
    fn from(misread: Misread) -> Self {
        match misread {
            Misread::NotJson { .. } => Self::new(ErrorCode::MalformedJson, misread.to_string()),
            Misread::Invalid(faults) => Self::invalid_job(faults),
        }
    }
}

impl From<WrongQueue> for Refused {
    fn from(wrong: WrongQueue) -> Self {
        match wrong {
            WrongQueue::NotFound(queue) => Self::queue_not_found(queue.as_str()),
            WrongQueue::NotPull(index) => {
                let detail = "is a push queue: the server runs its jobs itself and gives no leases";
                Self::invalid_job(vec![InvalidField::new(format!("#/queues/{index}"), detail)])
            }
        }
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full => Self::new(ErrorCode::StoreFull, "the store's disk is full"),
            StoreError::TimedOut => Self::timed_out(),
            StoreError::Unknown { .. } => {
                let detail =
                    "the store failed on the way; the same Idempotency-Key, or a look at the job, tells";
                Self::new(ErrorCode::StoreUnavailable, detail)
            }
            StoreError::Closed => Self::new(ErrorCode::StoreUnavailable, "the store is closed"),
            StoreError::Unavailable(_) => {
                let mut refused = Self::new(ErrorCode::StoreUnavailable, "the store does not answer");
                refused.cause = Some(Arc::new(error));
                refused
            }
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut response = Response::default();
        *response.status_mut() =
            StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response.extensions_mut().insert(self);
        response
    }
}
