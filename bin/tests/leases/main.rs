//! Remote workers in their thousands that wait for jobs, and settlements whose answers are lost.
#![allow(clippy::expect_used, reason = "a panic is how a test fails")]
#![allow(clippy::print_stdout, reason = "figures of a run, shown when it fails or with --nocapture")]

mod crowd;
mod repeats;
#[path = "../workers/given.rs"]
mod workers;
