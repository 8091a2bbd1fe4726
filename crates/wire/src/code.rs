/// Every reason for which the API answers something else than what was asked, in the order of its page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// The body is not JSON.
    MalformedJson,
    /// A path or query parameter, or a header, is not one.
    InvalidParameter,
    /// No token, or none that is known.
    Unauthenticated,
    /// The caller may not do this.
    Forbidden,
    /// No route.
    NotFound,
    /// No such job.
    JobNotFound,
    /// No such queue.
    QueueNotFound,
    /// The route has other methods.
    MethodNotAllowed,
    /// The client was too slow.
    RequestTimeout,
    /// The job's state does not allow it.
    StateConflict,
    /// Whoever held the lease must not speak.
    LeaseLost,
    /// A submit with the same key is being committed.
    IdempotencyInFlight,
    /// More bytes than are allowed.
    PayloadTooLarge,
    /// A body that is not declared as JSON.
    UnsupportedMediaType,
    /// A job that breaks a rule.
    InvalidJob,
    /// A kind the queue does not take.
    UnknownKind,
    /// The key was used with another body.
    IdempotencyMismatch,
    /// No room for the jobs.
    QueueFull,
    /// No room for their payloads.
    QueueBytesFull,
    /// A fault of the server.
    Internal,
    /// The store is still opening.
    Starting,
    /// The server is not to get traffic.
    NotReady,
    /// The server is going down.
    ShuttingDown,
    /// As many requests as the server works on at once.
    Overloaded,
    /// The store is away.
    StoreUnavailable,
    /// The store's disk is full.
    StoreFull,
    /// The server was too slow.
    TimedOut,
}

use ErrorCode as Code;

impl ErrorCode {
    /// Every code.
    pub const ALL: [Self; 27] = [
        Code::MalformedJson,
        Code::InvalidParameter,
        Code::Unauthenticated,
        Code::Forbidden,
        Code::NotFound,
        Code::JobNotFound,
        Code::QueueNotFound,
        Code::MethodNotAllowed,
        Code::RequestTimeout,
        Code::StateConflict,
        Code::LeaseLost,
        Code::IdempotencyInFlight,
        Code::PayloadTooLarge,
        Code::UnsupportedMediaType,
        Code::InvalidJob,
        Code::UnknownKind,
        Code::IdempotencyMismatch,
        Code::QueueFull,
        Code::QueueBytesFull,
        Code::Internal,
        Code::Starting,
        Code::NotReady,
        Code::ShuttingDown,
        Code::Overloaded,
        Code::StoreUnavailable,
        Code::StoreFull,
        Code::TimedOut,
    ];

    /// The code of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == text)
    }

    /// The name used in JSON and in `/problems/{code}`.
    pub const fn as_str(self) -> &'static str {
        self.entry().0
    }

    /// The HTTP status it is answered with.
    pub const fn status(self) -> u16 {
        self.entry().1
    }

    /// Whether the same request may do better later, unless an answer says otherwise.
    pub const fn retryable(self) -> bool {
        self.entry().2
    }

    /// A short name for people.
    pub const fn title(self) -> &'static str {
        self.entry().3
    }

    /// What happened and what the reader can do.
    pub const fn description(self) -> &'static str {
        self.entry().4
    }

    /// The list: name, status, retryable, title, description. A straight table, however long.
    const fn entry(self) -> (&'static str, u16, bool, &'static str, &'static str) {
        match self {
            Code::MalformedJson => (
                "malformed_json",
                400,
                false,
                "The body is not valid JSON",
                "The request's body could not be read as one JSON document in UTF-8. `detail` says where.",
            ),
            Code::InvalidParameter => (
                "invalid_parameter",
                400,
                false,
                "A parameter is not valid",
                "A part of the path, a query parameter or a header has a value that is not allowed. The members \
                 `parameter`, `value` and `allowed` say which.",
            ),
            Code::Unauthenticated => (
                "unauthenticated",
                401,
                false,
                "A token is needed",
                "The server answers this only to those who bring a token it knows, in the header `Authorization: \
                 Bearer TOKEN`. Nothing was done. Whoever runs the server gives tokens.",
            ),
            Code::Forbidden => (
                "forbidden",
                403,
                false,
                "Not allowed",
                "The request was understood, but its sender may not do this; `detail` says why: a token lacks a scope, \
                 only the server's own machine may ask for this, or a web page or a job's delivery asks in somebody \
                 else's place.",
            ),
            Code::NotFound => (
                "not_found",
                404,
                false,
                "No such route",
                "Nothing is served at this path. `GET /` links what is.",
            ),
            Code::JobNotFound => (
                "job_not_found",
                404,
                false,
                "No such job",
                "No job has this id: it never existed, or its retention has ended and it was removed.",
            ),
            Code::QueueNotFound => (
                "queue_not_found",
                404,
                false,
                "No such queue",
                "The queue is not among the server's settings. `GET /v1/queues` lists those that are.",
            ),
            Code::MethodNotAllowed => (
                "method_not_allowed",
                405,
                false,
                "The route has other methods",
                "The path exists, but not with this method. The `Allow` header lists those it has.",
            ),
            Code::RequestTimeout => (
                "request_timeout",
                408,
                true,
                "The request did not arrive in time",
                "The client was too slow to send its request. Nothing was done; send it again.",
            ),
            Code::StateConflict => (
                "state_conflict",
                409,
                false,
                "The job's state does not allow it",
                "The job is in a state from which this change is not possible. The member `state` names it.",
            ),
            Code::LeaseLost => (
                "lease_lost",
                409,
                false,
                "The lease is lost",
                "The lease lapsed, another has the job, or it was settled in another way. Stop the attempt and \
                 forget the lease: nothing said under it is taken.",
            ),
            Code::IdempotencyInFlight => (
                "idempotency_in_flight",
                409,
                true,
                "A submit with this key is being committed",
                "Another request with the same `Idempotency-Key` is under way and how it ends is not known yet. \
                 Repeat this one shortly: it will be answered with that one's job.",
            ),
            Code::PayloadTooLarge => (
                "payload_too_large",
                413,
                false,
                "Too large",
                "The body, the payload or the whole batch exceeds a limit that waiting does not change. \
                 `detail` names the limit.",
            ),
            Code::UnsupportedMediaType => (
                "unsupported_media_type",
                415,
                false,
                "The body is not declared as JSON",
                "Send the body with `Content-Type: application/json` and without a content encoding.",
            ),
            Code::InvalidJob => (
                "invalid_job",
                422,
                false,
                "The job is not valid",
                "The body is JSON, but not a job, or another request, that this server can take. The member `errors` \
                 lists each fault with a JSON Pointer to its place.",
            ),
            Code::UnknownKind => (
                "unknown_kind",
                422,
                false,
                "The queue does not take this kind",
                "No handler of this kind runs the queue's jobs. Check the spelling, or the server's settings.",
            ),
            Code::IdempotencyMismatch => (
                "idempotency_mismatch",
                422,
                false,
                "The key was used with another body",
                "An earlier submit with this `Idempotency-Key` had a different body. Use a new key for a new job.",
            ),
            Code::QueueFull => (
                "queue_full",
                429,
                true,
                "The queue is full",
                "The queue, or the whole store, holds as many unfinished jobs as it may. Nothing was stored. \
                 Come back after `retry_after_ms`.",
            ),
            Code::QueueBytesFull => (
                "queue_bytes_full",
                429,
                true,
                "The queue is full",
                "The payloads of unfinished jobs take as many bytes as they may. Nothing was stored. Come back \
                 after `retry_after_ms`.",
            ),
            Code::Internal => (
                "internal",
                500,
                false,
                "A fault of the server",
                "The server met a fault of its own. Its log has the cause under the same `trace_id`.",
            ),
            Code::Starting => (
                "starting",
                503,
                true,
                "The server is starting",
                "The server is still opening its store. Come back after `retry_after_ms`.",
            ),
            Code::NotReady => (
                "not_ready",
                503,
                true,
                "Not ready for traffic",
                "Answered by `/readyz` while the server starts, drains, or its store does not answer. The member \
                 `checks` says which.",
            ),
            Code::ShuttingDown => (
                "shutting_down",
                503,
                true,
                "The server is shutting down",
                "The server takes nothing new any more. What it accepted before is safe. Use another replica, or \
                 come back after `retry_after_ms`.",
            ),
            Code::Overloaded => (
                "overloaded",
                503,
                true,
                "Too many requests at once",
                "The server works on as many requests, held answers, connections or body bytes as it may. \
                 Nothing was done. Come back after `retry_after_ms`.",
            ),
            Code::StoreUnavailable => (
                "store_unavailable",
                503,
                true,
                "The store is away",
                "The server's store does not answer. See `outcome` for whether something may have been stored.",
            ),
            Code::StoreFull => (
                "store_full",
                503,
                true,
                "The store's disk is full",
                "There is no disk space for new jobs. Nothing was stored; accepted jobs go on as far as there is \
                 room.",
            ),
            Code::TimedOut => (
                "timed_out",
                503,
                true,
                "The server was too slow",
                "The answer was not ready within the server's own time limit. See `outcome`: with `unknown`, a \
                 repeat under the same `Idempotency-Key` finds out.",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The compiler holds the table to every code, and this holds the list to the table.
    #[test]
    fn the_list_has_every_code_of_the_table() {
        let is_entry = |line: &&str| line.trim_start().starts_with("Code::") && line.contains(" => (");
        assert_eq!(include_str!("code.rs").lines().filter(is_entry).count(), ErrorCode::ALL.len());
    }

    #[test]
    fn every_code_has_its_own_name_and_reads_back() {
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::parse(code.as_str()), Some(code));
        }
    }
}
