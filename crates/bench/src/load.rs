//! The load generator: HTTP/1.1 over kept-alive connections, one request at a time on each, rendered before
//! the measurement begins.
//!
//! ```text
//!   Request ──▶ closed::run  N connections, each sends as soon as it has its answer
//!          └──▶ open::run    a fixed schedule, whatever the answers do
//!                   │
//!              Connection ──▶ Tally (one histogram per status) ──▶ Measured
//! ```
//!
//! All of it runs on one thread, since it shares the machine with what it measures.

pub(crate) mod closed;
mod connection;
pub(crate) mod open;
mod request;
mod tally;

use std::net::SocketAddr;

pub(crate) use connection::Connection;
pub(crate) use request::Request;
pub(crate) use tally::{Measured, Tally};

/// What is measured: where it listens, and the process that answers there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) process: u32,
}
