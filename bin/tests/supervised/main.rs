//! The server under those who start it: what a supervisor is told, process 1 of a container, and the units of
//! `deploy/systemd`.
#![cfg(target_os = "linux")]
#![allow(clippy::expect_used, reason = "a panic is how a test fails")]

#[path = "../acting/mod.rs"]
mod acting;
mod process_1;
mod told;
mod units;

const PROGRAM: &str = env!("CARGO_BIN_EXE_steadfast");
