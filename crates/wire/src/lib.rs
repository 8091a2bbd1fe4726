//! The JSON shapes and error codes of the HTTP API, shared by the server's `api` and by `client`.
//!
//! ```text
//!   request body ──read_job, read_batch──▶ NewJob (domain)      server reads
//!   SubmitRequest, BatchRequest ──serde──▶ request body          client writes
//!   Job (domain) ──JobDocument::full, ::listed──▶ answer body    server writes, client reads
//! ```
//!
//! Nothing here does I/O or knows HTTP beyond the number of a status code. Readers of answers ignore
//! members they do not know, since more may be added; the reader of requests refuses them. Start with
//! [`JobDocument`] and [`ErrorCode`].
//!
//! Every document has a JSON Schema too, derived from the same definition; its comments are what a reader of the
//! OpenAPI document gets.

mod batch;
mod code;
mod event;
mod health;
mod job;
mod job_text;
pub mod lease;
mod members;
mod problem;
mod queue;
mod scalars;
pub mod schema;
mod submit;
mod websocket;

pub use batch::{BatchAnswer, BatchRequest, read_batch};
pub use code::ErrorCode;
pub use event::{AnyJobEvent, AnyJobEventKind, ProcessingEvent, ProgressEvent, ShutdownEvent, StateEvent};
pub use health::{Checks, Drain, Health, Ready};
pub use job::{Durability, JobDocument, JobErrorDocument, JobPage};
pub use job_text::JobText;
pub use members::{FAULTS_MAX, Misread};
pub use problem::{Fault, Outcome, PROBLEM_CONTENT_TYPE, Problem};
pub use queue::{QueueDepth, QueueDocument, QueueList, QueueMode, QueueRates};
pub use submit::{RetryRequest, SubmitRequest, read_job};
pub use websocket::{ClientMessage, ServerMessage, Topic};
