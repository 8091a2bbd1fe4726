//! The server under those who start it: what a supervisor is told, sockets that it hands over, process 1 of a container,
//! and the units of `deploy/systemd`.
#![cfg(target_os = "linux")]
#![allow(clippy::expect_used, reason = "a panic is how a test fails")]
#![allow(clippy::print_stdout, reason = "figures of a run, shown when it fails or with --nocapture")]

#[path = "../acting/mod.rs"]
mod acting;
mod process_1;
mod socket_activation;
mod told;
mod units;

const PROGRAM: &str = env!("CARGO_BIN_EXE_steadfast");
