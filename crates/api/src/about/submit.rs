use http::HeaderName;
use http::StatusCode;
use http::header::LOCATION;
use serde_json::{Value, json};
use steadfast_domain::limits;
use steadfast_wire::{BatchAnswer, BatchRequest, ErrorCode, JobDocument, SubmitRequest};

use super::{STORE, example_job};
use crate::openapi::{Answer, Body, Operation, Parameter, Schemas, Tag};
use crate::submit::{IDEMPOTENCY_REPLAYED, PREFERENCE_APPLIED};

/// How a submit may be refused, whatever its number of jobs.
const REFUSED: &[ErrorCode] = &[
    ErrorCode::MalformedJson,
    ErrorCode::InvalidParameter,
    ErrorCode::QueueNotFound,
    ErrorCode::RequestTimeout,
    ErrorCode::IdempotencyInFlight,
    ErrorCode::PayloadTooLarge,
    ErrorCode::UnsupportedMediaType,
    ErrorCode::InvalidJob,
    ErrorCode::UnknownKind,
    ErrorCode::IdempotencyMismatch,
    ErrorCode::QueueFull,
    ErrorCode::QueueBytesFull,
    ErrorCode::ShuttingDown,
    ErrorCode::StoreFull,
];

/// `POST /v1/jobs`.
pub(crate) fn one(schemas: &mut Schemas) -> Operation {
    submit("submitJob", "Submit a job", schemas)
}

/// `POST /jobs`.
pub(crate) fn short(schemas: &mut Schemas) -> Operation {
    submit("submitJobShort", "Submit a job: the same as `POST /v1/jobs`", schemas)
}

fn submit(id: &'static str, summary: &'static str, schemas: &mut Schemas) -> Operation {
    let examples = [
        ("small", json!({ "kind": "echo", "payload": { "n": 1 } })),
        (
            "nap",
            json!({ "kind": "sleep", "payload": { "ms": 10 }, "priority": "high", "tags": { "team": "a" } }),
        ),
        (
            "delivery",
            json!({
                "kind": "http",
                "payload": { "url": "http://127.0.0.1:9000/hook", "body": { "n": 1 } },
                "delay_ms": 500,
                "timeout_ms": 60_000,
                "retry": { "max_attempts": 5, "backoff": "exponential", "initial_ms": 1_000 },
            }),
        ),
    ];
    let submitted = json!({
        "allOf": [schemas.answer::<JobDocument>()],
        "required": ["payload", "result", "checkpoint", "durability"],
    });
    Operation::new(Tag::Jobs, id, summary)
        .description(
            "Accepts the job durably, or refuses it at once. With an `Idempotency-Key` the same request can be \
             repeated safely; with `Prefer: wait` the answer is held until the job has ended.",
        )
        .parameter(idempotency_key())
        .parameter(prefer())
        .body(Body::new(schemas.request::<SubmitRequest>(), "The job. Only `kind` is required.", &examples))
        .answer(accepted(
            Answer::json(StatusCode::OK, "The client waited, and the job has ended.", submitted.clone())
                .example(with_durability(example_job("completed"))),
        ))
        .answer(accepted(
            Answer::json(
                StatusCode::ACCEPTED,
                "The job is accepted, as durably as `durability` says, and will run.",
                submitted,
            )
            .example(with_durability(example_job("queued"))),
        ))
        .refuses(REFUSED)
        .refuses(STORE)
}

/// `POST /v1/jobs/batch`.
pub(crate) fn batch(schemas: &mut Schemas) -> Operation {
    let examples =
        [("two", json!({ "jobs": [{ "kind": "echo" }, { "kind": "sleep", "payload": { "ms": 10 } }] }))];
    let whole = json!({ "items": { "required": ["payload", "result", "checkpoint"] } });
    let accepted = json!({
        "allOf": [schemas.answer::<BatchAnswer>()],
        "properties": { "jobs": whole },
    });
    let answer =
        Answer::json(StatusCode::ACCEPTED, "All jobs are accepted, in the order of the request.", accepted)
            .example(json!({ "jobs": [example_job("queued")], "durability": "fsync" }))
            .optional_header(IDEMPOTENCY_REPLAYED, json!({ "const": "true" }), REPLAYED);
    Operation::new(Tag::Jobs, "submitBatch", "Submit many jobs, all or none")
        .description("Pointers in `errors` begin with `#/jobs/{index}`. The body has at most 8 MiB.")
        .parameter(idempotency_key())
        .body(Body::new(schemas.request::<BatchRequest>(), "1 to 1,000 jobs.", &examples))
        .answer(links("$response.body#/jobs/0/id", answer))
        .refuses(REFUSED)
        .refuses(STORE)
}

const REPLAYED: &str = "An earlier request with the same key had made the job: this is how it is now.";

fn accepted(answer: Answer) -> Answer {
    let location = json!({ "type": "string", "pattern": "^/v1/jobs/[0-9a-f-]{36}$" });
    let applied = json!({ "type": "string", "pattern": "^wait=[0-9]+$" });
    let answer = answer
        .header(LOCATION, location, "Where the job is.")
        .optional_header(PREFERENCE_APPLIED, applied, "The answer was held for at most so many seconds.")
        .optional_header(IDEMPOTENCY_REPLAYED, json!({ "const": "true" }), REPLAYED);
    links("$response.body#/id", answer)
}

/// What can be done with a job just accepted.
fn links(id: &str, answer: Answer) -> Answer {
    answer
        .link("getJob", "id", id, "Look at the job, or wait for its end.")
        .link("streamJobEvents", "id", id, "Follow the job.")
        .link("cancelJob", "id", id, "Cancel the job.")
        .link("retryJob", "id", id, "Run the job again, once it is `dead` or `cancelled`.")
}

fn idempotency_key() -> Parameter {
    // A structured-field String, or the key itself, which then does not begin with a quote.
    let most = limits::KEY_BYTES_MAX;
    let quoted = format!(r##""([!#-\[\]-~]|\\["\\]){{1,{most}}}""##);
    let bare = format!(r"[!#-~][!-~]{{0,{}}}", most - 1);
    Parameter::header(
        "Idempotency-Key",
        json!({ "type": "string", "pattern": format!("^({quoted}|{bare})$") }),
        "The client's name for this submission: 1 to 255 visible ASCII characters, as a structured-field String or \
         bare. The same key with the same body is answered with the job that it made, as long as that is stored; with \
         another body it is refused.",
    )
}

fn prefer() -> Parameter {
    Parameter::header(
        HeaderName::from_static("prefer").as_str(),
        json!({ "type": "string", "examples": ["wait=10"] }),
        "`wait=N` (RFC 7240): hold the answer until the job has ended, for at most N seconds, 30 at most. What is not \
         understood is ignored.",
    )
}

fn with_durability(mut job: Value) -> Value {
    job["durability"] = "fsync".into();
    job
}
