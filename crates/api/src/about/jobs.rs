use http::StatusCode;
use serde_json::{Value, json};
use steadfast_domain::limits;
use steadfast_wire::{ErrorCode, JobDocument, JobPage, schema};

use super::{STORE, example_job};
use crate::jobs::LIST_LIMIT_DEFAULT;
use crate::openapi::{Answer, Operation, Parameter, Schemas, Tag};

/// `GET /v1/jobs/{id}`.
pub(crate) fn get(schemas: &mut Schemas) -> Operation {
    let wait = json!({ "type": "integer", "minimum": 0, "maximum": limits::WAIT_MAX.as_millis() as u64 });
    Operation::new(Tag::Jobs, "getJob", "Look at a job")
        .parameter(id(schemas))
        .parameter(Parameter::query(
            "wait_ms",
            wait,
            "Hold the answer until the job has ended, for at most so many milliseconds.",
        ))
        .answer(job(StatusCode::OK, "The job as it is now.", "completed", schemas))
        .refuses(&[ErrorCode::InvalidParameter, ErrorCode::JobNotFound])
        .refuses(STORE)
}

/// `GET /v1/jobs`.
pub(crate) fn list(schemas: &mut Schemas) -> Operation {
    let limit = json!({
        "type": "integer", "minimum": 1, "maximum": limits::LIST_LIMIT_MAX, "default": LIST_LIMIT_DEFAULT,
    });
    let tag = json!({
        "type": "string",
        "pattern": r"^[^:\u0000-\u001f\u007f-\u009f]+:[^\u0000-\u001f\u007f-\u009f]*$",
        "examples": ["team:a"],
    });
    let page = Answer::json(
        StatusCode::OK,
        "A page of jobs, newest first, without payload, result and checkpoint. A page of a filtered list may have \
         fewer jobs than asked for and still be followed by another.",
        schemas.answer::<JobPage>(),
    );
    Operation::new(Tag::Jobs, "listJobs", "List jobs")
        .parameter(Parameter::query("queue", schemas.request::<schema::Name>(), "Only those of this queue."))
        .parameter(Parameter::query("state", schemas.request::<schema::State>(), "Only those in this state."))
        .parameter(Parameter::query("kind", schemas.request::<schema::Name>(), "Only those of this kind."))
        .parameter(Parameter::query("tag", tag, "Only those with this tag: `key:value`."))
        .parameter(Parameter::query("limit", limit, "How many jobs the page may have."))
        .parameter(Parameter::query(
            "cursor",
            schemas.request::<schema::Id>(),
            "The `next_cursor` of the page before.",
        ))
        .answer(page)
        .refuses(&[ErrorCode::InvalidParameter])
        .refuses(STORE)
}

/// `POST /v1/jobs/{id}/cancel`.
pub(crate) fn cancel(schemas: &mut Schemas) -> Operation {
    Operation::new(Tag::Jobs, "cancelJob", "Cancel a job")
        .description("Can be repeated safely, and is taken while the server drains.")
        .parameter(id(schemas))
        .answer(job(StatusCode::OK, "The job is cancelled.", "cancelled", schemas).link(
            "retryJob",
            "id",
            "$response.body#/id",
            "Run the job after all.",
        ))
        .answer(job(
            StatusCode::ACCEPTED,
            "The job is running, and was asked to end: `cancel_requested`.",
            "processing",
            schemas,
        ))
        .refuses(&[
            ErrorCode::InvalidParameter,
            ErrorCode::JobNotFound,
            ErrorCode::StateConflict,
            ErrorCode::StoreFull,
        ])
        .refuses(STORE)
}

/// `POST /v1/jobs/{id}/retry`.
pub(crate) fn retry(schemas: &mut Schemas) -> Operation {
    Operation::new(Tag::Jobs, "retryJob", "Run a `dead` or `cancelled` job again")
        .description("It needs room, as a submit does. Its attempts begin anew; its errors are kept.")
        .parameter(id(schemas))
        .answer(job(StatusCode::OK, "The job is queued again.", "queued", schemas))
        .refuses(&[
            ErrorCode::InvalidParameter,
            ErrorCode::JobNotFound,
            ErrorCode::QueueNotFound,
            ErrorCode::StateConflict,
            ErrorCode::PayloadTooLarge,
            ErrorCode::QueueFull,
            ErrorCode::QueueBytesFull,
            ErrorCode::ShuttingDown,
            ErrorCode::StoreFull,
        ])
        .refuses(STORE)
}

/// A job's id in the path.
pub(super) fn id(schemas: &mut Schemas) -> Parameter {
    Parameter::path("id", schemas.request::<schema::Id>(), "The job's id.")
}

/// A whole job.
fn job(status: StatusCode, description: &'static str, state: &str, schemas: &mut Schemas) -> Answer {
    let whole: Value = json!({
        "allOf": [schemas.answer::<JobDocument>()],
        "required": ["payload", "result", "checkpoint"],
    });
    Answer::json(status, description, whole).example(example_job(state))
}
