use http::StatusCode;
use serde_json::{Value, json};
use steadfast_wire::{ErrorCode, QueueDocument, QueueList, schema};

use super::STORE;
use crate::openapi::{Answer, Operation, Parameter, Schemas, Tag};

/// `GET /v1/queues`.
pub(crate) fn list(schemas: &mut Schemas) -> Operation {
    let queues = Answer::json(StatusCode::OK, "Every queue, by name.", schemas.answer::<QueueList>())
        .example(json!({ "queues": [example()] }))
        .link("getQueue", "name", "$response.body#/queues/0/name", "Look at one of them.");
    Operation::new(Tag::Queues, "listQueues", "List the queues").answer(queues).refuses(STORE)
}

/// `GET /v1/queues/{name}`.
pub(crate) fn get(schemas: &mut Schemas) -> Operation {
    Operation::new(Tag::Queues, "getQueue", "Look at a queue")
        .parameter(name(schemas))
        .answer(queue("The queue as it is now.", schemas))
        .refuses(&[ErrorCode::InvalidParameter, ErrorCode::QueueNotFound])
        .refuses(STORE)
}

/// `POST /v1/queues/{name}/pause`.
pub(crate) fn pause(schemas: &mut Schemas) -> Operation {
    change(Operation::new(Tag::Queues, "pauseQueue", "Start no more jobs of a queue"), schemas)
        .description("Jobs are accepted still, and those that run go on. Can be repeated safely.")
}

/// `POST /v1/queues/{name}/resume`.
pub(crate) fn resume(schemas: &mut Schemas) -> Operation {
    change(Operation::new(Tag::Queues, "resumeQueue", "Start jobs of a queue again"), schemas)
        .description("Can be repeated safely.")
}

fn change(operation: Operation, schemas: &mut Schemas) -> Operation {
    operation
        .parameter(name(schemas))
        .answer(queue("It is done: the queue as it is now.", schemas))
        .refuses(&[ErrorCode::InvalidParameter, ErrorCode::QueueNotFound, ErrorCode::StoreFull])
        .refuses(STORE)
}

fn name(schemas: &mut Schemas) -> Parameter {
    Parameter::path("name", schemas.request::<schema::Name>(), "The queue's name.")
}

fn queue(description: &'static str, schemas: &mut Schemas) -> Answer {
    Answer::json(StatusCode::OK, description, schemas.answer::<QueueDocument>()).example(example())
}

fn example() -> Value {
    json!({
        "name": "default", "mode": "push", "paused": false,
        "depth": {
            "scheduled": 0, "queued": 3, "processing": 2, "retryable": 0, "completed": 40, "dead": 1,
            "cancelled": 0, "expired": 0,
        },
        "jobs": 5, "capacity": 100_000, "bytes": 1_210, "capacity_bytes": 1_073_741_824u64,
        "oldest_ready_age_ms": 17,
        "rates": { "submitted_per_second": 4.2, "started_per_second": 4.0, "finished_per_second": 3.9 },
    })
}
