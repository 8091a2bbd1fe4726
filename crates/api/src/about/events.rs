use http::StatusCode;
use http::header::CACHE_CONTROL;
use serde_json::{Value, json};
use steadfast_wire::{
    AnyJobEvent, ErrorCode, JobDocument, ProcessingEvent, ProgressEvent, ShutdownEvent, StateEvent, schema,
};

use super::STORE;
use super::jobs::id;
use crate::events::VERSION_DIGITS_MAX;
use crate::openapi::{Answer, Operation, Parameter, Schemas, Tag};
use crate::sse::X_ACCEL_BUFFERING;

/// `GET /v1/jobs/{id}/events`.
pub(crate) fn of_job(schemas: &mut Schemas) -> Operation {
    let version = json!({ "type": "string", "pattern": "^[0-9]*$", "maxLength": VERSION_DIGITS_MAX });
    let events = json!([
        event("state", true, schemas.answer::<StateEvent>()),
        event("state", false, schemas.answer::<ProcessingEvent>()),
        event("progress", false, schemas.answer::<ProgressEvent>()),
        event("end", true, schemas.answer::<JobDocument>()),
        event("server_shutdown", false, schemas.answer::<ShutdownEvent>()),
    ]);
    Operation::new(Tag::Jobs, "streamJobEvents", "Follow a job by server-sent events")
        .description(
            "Every durable change of state comes once and in order, as `state` with the job's version as its id, also \
             over a resume with `Last-Event-ID`. `state` with `processing` and `progress` are hints without an id, of \
             which the newest counts. `end` brings the whole job and is the last event. A server that goes away sends \
             `server_shutdown` with a time to come back. Comments come as heartbeats.",
        )
        .parameter(id(schemas))
        .parameter(Parameter::header("Last-Event-ID", version, "The version of the last change that was seen."))
        .answer(stream("The job's events, until its end. The schema is that of each event.", events))
        .answer(Answer::empty(StatusCode::NO_CONTENT, "The reader has seen `end`: there is nothing more to come."))
        .refuses(&[ErrorCode::InvalidParameter, ErrorCode::JobNotFound])
        .refuses(STORE)
}

/// `GET /v1/events`.
pub(crate) fn of_all(schemas: &mut Schemas) -> Operation {
    let seen = json!({ "type": "string" });
    let resync = json!({
        "type": "object", "properties": { "type": { "const": "resync" } }, "required": ["type"],
    });
    let events = json!([
        event("state", false, schemas.answer::<AnyJobEvent<'_>>()),
        event("progress", false, schemas.answer::<AnyJobEvent<'_>>()),
        event("resync", false, resync),
        event("server_shutdown", false, schemas.answer::<ShutdownEvent>()),
    ]);
    Operation::new(Tag::Jobs, "streamEvents", "Follow all jobs by server-sent events")
        .description(
            "What happens from now on to every job, or to those of one queue: durable changes, and hints that an attempt \
             runs and how far it is. Nothing is repeated: `resync` says that something may have been missed, and the \
             reader lists. A reader that comes back with a `Last-Event-ID` is told so at once.",
        )
        .parameter(Parameter::query("queue", schemas.request::<schema::Name>(), "Only jobs of this queue."))
        .parameter(Parameter::header("Last-Event-ID", seen, "There was a stream before: something was missed."))
        .answer(stream("Events, until the server or the reader goes. The schema is that of each event.", events))
        .refuses(&[ErrorCode::InvalidParameter, ErrorCode::QueueNotFound])
        .refuses(STORE)
}

/// A stream of server-sent events, each one of these.
fn stream(description: &'static str, events: Value) -> Answer {
    Answer::of(StatusCode::OK, description, "text/event-stream", json!({ "anyOf": events }))
        .header(CACHE_CONTROL, json!({ "const": "no-store" }), "Nobody keeps it.")
        .header(X_ACCEL_BUFFERING, json!({ "const": "no" }), "Proxies pass it on as it comes.")
}

/// One event: its name, whether it has an id, and its data, which is JSON.
fn event(name: &str, has_id: bool, data: Value) -> Value {
    let mut event = json!({
        "type": "object",
        "properties": {
            "event": { "const": name },
            "data": { "type": "string", "contentMediaType": "application/json", "contentSchema": data },
        },
        "required": ["event", "data"],
    });
    if has_id {
        event["properties"]["id"] = json!({ "type": "string", "pattern": "^[0-9]+$" });
        event["required"] = json!(["event", "data", "id"]);
    }
    event
}
