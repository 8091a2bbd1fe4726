//! What a server is told by its operator and by its clients: settings, tokens, and input of every bad kind.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is how a test fails")]

mod bad_input;
mod settings;
mod settings_seeds;
mod tokens;
#[path = "../workers/given.rs"]
mod workers;
