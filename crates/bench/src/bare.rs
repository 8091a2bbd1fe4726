//! The ceiling: what any server on this HTTP stack could do at best. It reads the same body into a type,
//! makes an id and answers a job of the size and members that Steadfast answers, and nothing else.

use std::time::{Duration, SystemTime};

use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use steadfast_domain::Timestamp;
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::error::BenchError;
use crate::report;

/// The body of a submit, as far as the benchmark sends it.
#[derive(Deserialize)]
struct Submit {
    kind: String,
    #[serde(default)]
    delay_ms: u64,
    payload: Box<RawValue>,
}

/// A job as Steadfast answers it to a submit.
#[derive(Serialize)]
struct Job {
    id: Uuid,
    queue: &'static str,
    kind: String,
    state: &'static str,
    priority: &'static str,
    payload_bytes: usize,
    payload: Box<RawValue>,
    attempt: u32,
    max_attempts: u32,
    interruptions: u32,
    version: u32,
    created_at: String,
    run_at: String,
    started_at: Option<String>,
    finished_at: Option<String>,
    deadline: Option<String>,
    progress: Option<Box<RawValue>>,
    result: Option<Box<RawValue>>,
    errors: [(); 0],
    checkpoint: Option<Box<RawValue>>,
    cancel_requested: bool,
    idempotency_key: Option<String>,
    unique_key: Option<String>,
    tags: Tags,
    owner: Option<String>,
    trace_id: Option<String>,
    durability: &'static str,
}

/// No tags: `{}`.
#[derive(Serialize)]
struct Tags {}

/// Listens on a free port, says which as the server does, and serves until it is killed.
pub(crate) async fn serve() -> Result<(), BenchError> {
    // The program has one thread for its load; a server has one for each core, as Steadfast has.
    let served = std::thread::spawn(serve_on_all_cores).join();
    served.unwrap_or_else(|_| Err(BenchError::invalid("the bare handler", "it panicked")))
}

#[tokio::main]
async fn serve_on_all_cores() -> Result<(), BenchError> {
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(BenchError::io("a free port"))?;
    let address = listener.local_addr().map_err(BenchError::io("a free port"))?;
    report::log(&json!({"message": "listening", "address": address.to_string()}).to_string());
    report::log(&json!({"message": "ready"}).to_string());
    axum::serve(listener, router()).await.map_err(BenchError::io("serving"))
}

/// Its one route.
pub(crate) fn router() -> Router {
    Router::new().route("/v1/jobs", post(submit))
}

async fn submit(Json(submit): Json<Submit>) -> (StatusCode, Json<Job>) {
    (StatusCode::ACCEPTED, Json(Job::of(submit)))
}

impl Job {
    fn of(submit: Submit) -> Self {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = Timestamp::from_unix_ms(since_epoch.as_millis() as i64);
        Self {
            id: Uuid::now_v7(),
            queue: "default",
            kind: submit.kind,
            state: if submit.delay_ms > 0 { "scheduled" } else { "queued" },
            priority: "normal",
            payload_bytes: submit.payload.get().len(),
            payload: submit.payload,
            attempt: 0,
            max_attempts: 5,
            interruptions: 0,
            version: 1,
            created_at: now.to_string(),
            run_at: now.plus(Duration::from_millis(submit.delay_ms)).to_string(),
            started_at: None,
            finished_at: None,
            deadline: None,
            progress: None,
            result: None,
            errors: [],
            checkpoint: None,
            cancel_requested: false,
            idempotency_key: None,
            unique_key: None,
            tags: Tags {},
            owner: None,
            trace_id: None,
            durability: "memory",
        }
    }
}
