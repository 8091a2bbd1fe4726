//! What the OpenAPI document says of each route: a file for each file of handlers.

pub(crate) mod documents;
pub(crate) mod events;
pub(crate) mod jobs;
pub(crate) mod leases;
pub(crate) mod queues;
pub(crate) mod server;
pub(crate) mod submit;
pub(crate) mod websocket;

use serde_json::{Value, json};
use steadfast_wire::ErrorCode;

/// How whatever asks the store may fail.
const STORE: &[ErrorCode] =
    &[ErrorCode::Starting, ErrorCode::Overloaded, ErrorCode::StoreUnavailable, ErrorCode::TimedOut];

/// A job as a read answers it.
fn example_job(state: &str) -> Value {
    let (attempt, ended) = match state {
        "completed" => (1, json!("2026-11-21T00:00:00.420Z")),
        _ => (0, Value::Null),
    };
    json!({
        "id": "019aa3c4-6f80-7000-8c4e-5b1f0c6a7d21", "queue": "default", "kind": "echo", "state": state,
        "priority": "normal", "payload": { "n": 1 }, "payload_bytes": 7, "attempt": attempt, "max_attempts": 5,
        "interruptions": 0, "version": 1 + attempt, "created_at": "2026-11-21T00:00:00.000Z",
        "run_at": "2026-11-21T00:00:00.000Z", "started_at": ended.as_str().map(|_| "2026-11-21T00:00:00.400Z"),
        "finished_at": ended, "deadline": null, "progress": null,
        "result": if attempt > 0 { json!({ "n": 1 }) } else { Value::Null }, "errors": [], "checkpoint": null,
        "cancel_requested": false, "idempotency_key": null, "unique_key": null, "tags": {}, "owner": null,
        "trace_id": null,
    })
}
