//! Remote workers against a real server: the client library's, the example workers of `docs/examples`, and the queues
//! they take from.
#![allow(clippy::expect_used, reason = "a panic is how a test fails")]
#![allow(clippy::print_stdout, reason = "figures of a run, shown when it fails or with --nocapture")]

mod client;
mod examples;
mod given;
mod queues;
mod rolling;
