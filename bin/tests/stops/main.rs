//! How a server stops: by a signal, a command or a failure of its own, whatever its jobs and clients do meanwhile, and in
//! time.
#![allow(clippy::expect_used, reason = "a panic is how a test fails")]

#[path = "../acting/mod.rs"]
mod acting;
mod admin_listener;
mod checkpoints;
mod commands;
mod demo;
mod drain;
mod failed_task;
mod last_resort;
mod signals;
#[cfg(feature = "failpoints")]
mod starting;
mod stuck_client;
mod stuck_job;
