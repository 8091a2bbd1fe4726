//! A typed client of the HTTP API: what the command line, the tests and the benchmarks speak to a server
//! with. It keeps no state beyond its connections, and never repeats a request by itself, since whether that
//! is safe only the caller knows: who does says so to [`Retries`]. [`JobEvents`] alone goes on where a stream was
//! cut, and [`Worker`] repeats what it may.
//!
//! ```text
//!   SubmitRequest, JobFilter (wire, here) ──Client──▶ HTTP ──▶ JobDocument, JobPage, … (wire)
//!                                             ├──▶ JobEvents: what happens to a job, over any number of streams
//!                                             ├──▶ Error: refused, unreachable, interrupted
//!                                             └──▶ Worker: runs the jobs of pull queues by an async function
//! ```
//!
//! Start with [`Client`]; [`Error::outcome`] says what a failed call may have left behind.

mod answer;
mod backoff;
mod client;
mod error;
mod filter;
pub mod history;
mod job_events;
mod leases;
mod retry;
mod setup;
mod sse;
pub mod worker;

pub use client::{Client, SubmitOptions, Submitted};
pub use error::Error;
pub use filter::JobFilter;
pub use job_events::{JobEvent, JobEvents};
pub use retry::{Repeat, Retries, RetryConfig};
pub use setup::SetupError;
pub use worker::Worker;
