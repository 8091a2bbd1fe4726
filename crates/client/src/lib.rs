//! A typed client of the HTTP API: what the command line, the tests and the benchmarks speak to a server
//! with. It keeps no state beyond its connections, and never repeats a request by itself: whether that is
//! safe, only the caller knows.
//!
//! ```text
//!   SubmitRequest, JobFilter (wire, here) ──Client──▶ HTTP ──▶ JobDocument, JobPage, … (wire)
//!                                             └──▶ Error: refused, unreachable, interrupted
//! ```
//!
//! Start with [`Client`]; [`Error::outcome`] says what a failed call may have left behind.

mod answer;
mod client;
mod error;
mod filter;
mod setup;

pub use client::{Client, SubmitOptions, Submitted};
pub use error::Error;
pub use filter::JobFilter;
pub use setup::SetupError;
