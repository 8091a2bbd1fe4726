//! HTTP: the routes, the layers around them, problem documents, event streams, and the accept loop.
//!
//! ```text
//!  TcpListener ─▶ Connections ─▶ one task per connection (hyper) ─▶ router ─▶ handlers ─▶ Admission
//!                     │ caps, deadlines, polite close                            │        JobStore (reads)
//!                     └── Peer: who asks, and on what kind of connection         └─────▶ EventHub (waits)
//! ```
//!
//! The crate decides nothing about jobs: it reads requests, asks [`Admission`](steadfast_queue::Admission),
//! and writes answers. It names no store, and only `problem.rs` knows which inner error has which status.
//!
//! **Invariants.** Whatever a client does, what it holds is bounded: places, slots, body bytes, connections,
//! and for how long. Nothing waits for room. Every error is a problem document. While the server drains the
//! listener stays open, and closes last.
//!
//! Start with `routes.rs`, which has all routes and layers, then [`Connections`].

mod about;
mod access;
mod all_events;
mod answer;
mod answer_memory;
mod app;
mod body;
mod config;
mod connections;
mod csrf;
mod delivery;
mod described;
mod drain;
mod events;
mod health;
mod held;
mod idempotency;
mod jobs;
mod leases;
mod limits;
mod metrics;
mod openapi;
mod pages;
mod parameters;
mod prefer;
mod problem;
mod queues;
mod read_cache;
mod refusals;
mod request_span;
mod routes;
mod sse;
mod store_figures;
mod submit;
mod trace;
mod websocket;

pub use access::{Access, Grant, Scope, Scopes, TokenHash, Tokens};
pub use app::{App, Services};
pub use body::ENVELOPE_BYTES_MAX;
pub use config::Config;
pub use connections::{
    ADMIN_CONNECTIONS_MAX, ConnectionReport, Connections, EXTRA_CONNECTIONS, Listener, Peer,
    RESERVED_CONNECTIONS, Tls, TlsError, TlsPart, TlsPem,
};
pub use openapi::openapi_document;
pub use routes::router;
