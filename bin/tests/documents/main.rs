//! Holds the documents against the code, and runs the commands in them as a reader would. They run at the same time: no
//! two documents use one port.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is how a test fails")]

#[path = "../console/mod.rs"]
mod console;
mod docs;
mod elsewhere;
mod layering;
mod operations;
mod readme;
mod security;
