//! Every command that speaks to a server, as the program that people and scripts run: what it prints for either, its
//! exit code, and what it says when the server refuses, drains or is not there.
#![allow(clippy::expect_used, reason = "a panic is how a test fails")]

mod absent_server;
mod documents;
mod draining_server;
mod files;
mod given;
mod lossy_proxy;
mod many_jobs;
mod reading;
mod repeating;
mod steering;
mod submitting;
mod terminal;
mod tokens;
mod usage;
mod watching;
