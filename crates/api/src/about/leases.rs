use http::StatusCode;
use schemars::JsonSchema;
use serde_json::{Value, json};
use steadfast_wire::lease::{
    CompleteRequest, FailRequest, HeartbeatAnswer, HeartbeatRequest, HeartbeatsAnswer, HeartbeatsRequest,
    LeaseAnswer, LeaseRequest, ReleaseRequest, SettledDocument, SettlementsAnswer, SettlementsRequest,
};
use steadfast_wire::{ErrorCode, schema};

use super::{STORE, example_job};
use crate::openapi::{Answer, Body, Operation, Parameter, Schemas, Tag};

const LEASE: &str = "019aa3c4-6f80-7000-8c4e-5b1f0c6a7d21.4294967297.30000";
const BODY: &[ErrorCode] = &[
    ErrorCode::MalformedJson,
    ErrorCode::RequestTimeout,
    ErrorCode::PayloadTooLarge,
    ErrorCode::UnsupportedMediaType,
    ErrorCode::InvalidJob,
    ErrorCode::StoreFull,
];

/// `POST /v1/leases`.
pub(crate) fn lease(schemas: &mut Schemas) -> Operation {
    let examples = [
        ("one", json!({ "worker": "host-1:4711" })),
        (
            "ten",
            json!({
                "queues": ["mail"], "kinds": ["send"], "worker": "host-1:4711", "limit": 10, "wait_ms": 20_000,
                "lease_ms": 30_000,
            }),
        ),
    ];
    let mut job = example_job("queued");
    job["state"] = "processing".into();
    job["attempt"] = 1.into();
    job["owner"] = "worker:host-1:4711".into();
    let leases = json!([
        { "lease": LEASE, "expires_at": "2026-11-21T00:00:30.000Z", "timeout_ms": 60_000, "job": job },
    ]);
    let answer = Answer::json(
        StatusCode::OK,
        "The jobs taken, or none when none were ready in time or the server drains.",
        schemas.answer::<LeaseAnswer>(),
    )
    .example(json!({ "leases": leases, "directive": "run" }));
    let answer = links("$response.body#/leases/0/lease", answer);
    Operation::new(Tag::Leases, "lease", "Take jobs to run them")
        .description(
            "For remote workers, from pull queues. With `wait_ms` the answer is held until a job is ready. Large \
             payloads may make it fewer than `limit`. A worker that goes away before it has the answer takes nothing.",
        )
        .body(Body::new(schemas.request::<LeaseRequest>(), "Who asks, and for what.", &examples))
        .answer(answer)
        .refuses(&[ErrorCode::QueueNotFound, ErrorCode::ShuttingDown])
        .refuses(BODY)
        .refuses(STORE)
}

/// `POST /v1/leases/{lease}/heartbeat`.
pub(crate) fn heartbeat(schemas: &mut Schemas) -> Operation {
    let examples = [("plain", json!({})), ("progress", json!({ "progress": { "done": 7, "of": 10 } }))];
    let answer = Answer::json(
        StatusCode::OK,
        "The lease holds, for as long as it did at first.",
        schemas.answer::<HeartbeatAnswer>(),
    )
    .example(json!({
        "expires_at": "2026-11-21T00:00:30.000Z", "cancel_requested": false, "directive": "run",
    }));
    let body = Body::new(schemas.request::<HeartbeatRequest>(), "What the attempt reports.", &examples);
    of_lease("heartbeat", "Keep a lease", schemas).body(body).answer(answer)
}

/// `POST /v1/leases/heartbeat`.
pub(crate) fn heartbeats(schemas: &mut Schemas) -> Operation {
    let examples = [("one", json!({ "heartbeats": [{ "lease": LEASE }] }))];
    let answer = Answer::json(
        StatusCode::OK,
        "What became of each, in the order of the request.",
        schemas.answer::<HeartbeatsAnswer>(),
    )
    .example(json!({
        "heartbeats": [{
            "lease": LEASE, "renewed": { "expires_at": "2026-11-21T00:00:30.000Z", "cancel_requested": false },
        }],
        "directive": "run",
    }));
    Operation::new(Tag::Leases, "heartbeats", "Keep many leases")
        .description("Each for itself: those that are lost say so. The body has at most 8 MiB.")
        .body(Body::new(schemas.request::<HeartbeatsRequest>(), "1 to 1,000 heartbeats.", &examples))
        .answer(answer)
        .refuses(BODY)
        .refuses(STORE)
}

/// `POST /v1/leases/{lease}/complete`.
pub(crate) fn complete(schemas: &mut Schemas) -> Operation {
    let examples = [("plain", json!({})), ("result", json!({ "result": { "n": 1 } }))];
    settle::<CompleteRequest>("complete", "Say that a job is done", "What it led to.", &examples, schemas)
}

/// `POST /v1/leases/{lease}/fail`.
pub(crate) fn fail(schemas: &mut Schemas) -> Operation {
    let examples = [
        ("for now", json!({ "code": "http_503", "message": "the shop did not answer" })),
        ("for good", json!({ "code": "no_such_user", "message": "user 7 is gone", "retryable": false })),
    ];
    settle::<FailRequest>("fail", "Say that an attempt failed", "What went wrong.", &examples, schemas)
        .description(
            "The job's retry policy says whether and when there is another attempt. Can be repeated safely: a repeat \
             is answered as the first time.",
        )
}

/// `POST /v1/leases/{lease}/release`.
pub(crate) fn release(schemas: &mut Schemas) -> Operation {
    let examples = [("plain", json!({})), ("checkpoint", json!({ "checkpoint": { "page": 7 } }))];
    let left = "What the next attempt is to find.";
    settle::<ReleaseRequest>("release", "Give a job back", left, &examples, schemas).description(
        "It is queued again at once, the attempt not counted. Can be repeated safely: a repeat is answered as the first \
         time.",
    )
}

/// `POST /v1/leases/settle`.
pub(crate) fn settle_many(schemas: &mut Schemas) -> Operation {
    let examples = [("one", json!({ "settlements": [{ "lease": LEASE, "complete": { "result": 7 } }] }))];
    let answer = Answer::json(
        StatusCode::OK,
        "What became of each, in the order of the request.",
        schemas.answer::<SettlementsAnswer>(),
    )
    .example(json!({ "settlements": [{ "lease": LEASE, "settled": settled() }] }));
    Operation::new(Tag::Leases, "settleMany", "Say how many attempts ended")
        .description(
            "Each for itself: those whose lease is lost say so. Can be repeated safely. The body has at most 8 MiB.",
        )
        .body(Body::new(schemas.request::<SettlementsRequest>(), "1 to 1,000 ends.", &examples))
        .answer(answer)
        .refuses(BODY)
        .refuses(STORE)
}

fn settle<T: JsonSchema>(
    id: &'static str,
    summary: &'static str,
    body: &str,
    examples: &[(&str, Value)],
    schemas: &mut Schemas,
) -> Operation {
    let answer = Answer::json(
        StatusCode::OK,
        "It is recorded, now or by an earlier request: what it made of the job.",
        schemas.answer::<SettledDocument>(),
    )
    .example(settled());
    let body = Body::new(schemas.request::<T>(), body, examples);
    of_lease(id, summary, schemas)
        .description("Can be repeated safely: a repeat is answered as the first time.")
        .body(body)
        .answer(answer)
}

fn of_lease(id: &'static str, summary: &'static str, schemas: &mut Schemas) -> Operation {
    Operation::new(Tag::Leases, id, summary)
        .parameter(Parameter::path(
            "lease",
            schemas.request::<schema::Lease>(),
            "The lease, as `POST /v1/leases` answered it.",
        ))
        .refuses(&[ErrorCode::InvalidParameter, ErrorCode::LeaseLost])
        .refuses(BODY)
        .refuses(STORE)
}

fn settled() -> Value {
    json!({
        "id": "019aa3c4-6f80-7000-8c4e-5b1f0c6a7d21", "state": "completed", "version": 2,
        "at": "2026-11-21T00:00:00.420Z",
    })
}

/// What can be done with a lease just taken.
fn links(lease: &str, answer: Answer) -> Answer {
    answer
        .link("heartbeat", "lease", lease, "Keep it.")
        .link("complete", "lease", lease, "Say that the job is done.")
        .link("fail", "lease", lease, "Say that the attempt failed.")
        .link("release", "lease", lease, "Give the job back.")
}
