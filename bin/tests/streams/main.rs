//! Streams in the thousands, WebSockets, and clients that stop reading them: what each takes, that nobody harms
//! another, and that all are told when the server goes.
#![allow(clippy::expect_used, reason = "a panic is how a test fails")]
#![allow(clippy::print_stdout, reason = "figures of a run, shown when it fails or with --nocapture")]

mod crowd;
#[path = "../listening/mod.rs"]
mod listening;
mod silent_readers;
mod websockets;

const PROGRAM: &str = env!("CARGO_BIN_EXE_steadfast");
