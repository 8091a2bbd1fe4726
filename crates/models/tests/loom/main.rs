//! Every model.
#![allow(clippy::expect_used, reason = "a panic is how a test fails")]

mod inbox;
mod sync;
