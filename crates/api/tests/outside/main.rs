//! The server's outside over real sockets, on the memory store.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod admin;
mod all_events;
mod bad_input;
mod closing;
mod codes;
mod conformance;
mod connections;
mod event_stream;
mod faulty_store;
mod harness;
mod lease_waits;
mod leases;
mod limits;
mod openapi;
mod phases;
mod read_cache;
mod streams;
mod submits;
mod tls;
mod tls_closing;
mod tokens;
mod waits;
mod websocket;
