//! What the tests of Steadfast stand on; no part of the server.
//!
//! ```text
//!   given_server(program).capacity(7).start() ─▶ Server ── signals, exit, start_again
//!                                                  │
//!   Client ── submits, each with a Mark ───────────┤
//!   RawConnection ── bytes ────────────────────────┤     Authority ── certificates
//!   Gate ◀── deliveries of `http` jobs, held ──────┤
//!   Collector ◀── traces and metrics, by OTLP ─────┤
//!   Proxy, HaProxy ── between any two of these ────┤
//!   Cluster ── PostgreSQL, killed and restarted ───┘
//!                                       History::check ─▶ violations
//! ```
//!
//! Start with [`harness::given_server`] for tests of the process, with [`history::History`] for what every
//! such test checks in the end. Whoever extends Steadfast starts with [`handlers::given_handlers`] for a job kind, and
//! with [`mod@conformance`] for a store.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a panic is how a test fails, and this crate is compiled into tests only"
)]

pub mod certificates;
pub mod collector;
pub mod conformance;
mod eventually;
pub mod gate;
pub mod handlers;
pub mod haproxy;
pub mod harness;
pub mod history;
pub mod model;
pub mod ports;
pub mod postgres;
pub mod proxy;
pub mod raw;
pub mod stubborn;

pub use eventually::{PATIENCE, eventually, within};
