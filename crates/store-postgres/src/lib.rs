//! The shared store: every job in one schema of a PostgreSQL database, for as many processes as there are.
//!
//! ```text
//!  submit ──▶ Inbox ──a batch──▶ 2 connections ┐                          ┌▶ answers
//!  claim  ──▶ Inbox ───────────▶ 1 connection  ├─ one transaction at a ──▶│
//!  settle, renew, upkeep… ─────▶ 1 connection  │  time each, one commit   └▶ hints: here at once, to others
//!  get, list, queues ──────────▶ 2 connections ┘                             by NOTIFY, later and together
//! ```
//!
//! A job's row holds all about it but its claim. Beside it a live job has one narrow row: in `waiting` until it
//! is claimed, in `claims` while it runs. So a claim's cost does not depend on what has ended, and the job's row
//! is written twice: as it is accepted, and as it ends. Room and figures are counters of each connection, of
//! which only sums mean anything. docs/adr/0013-postgres.md says why and what was measured.
//!
//! **Invariant:** no transaction relies on the state of a server's session: poolers in transaction mode will do.
//!
//! **Invariant:** every connection is owned by one task, which runs each transaction to its end, whatever becomes
//! of its callers; and every transaction ends, whatever becomes of the server.
//!
//! **Invariant:** locks are taken in one order: the counters of what is dry, then keys, for submissions; jobs by
//! id, then their waiting rows, then their claims, then this connection's own counters, for everything else.
//! Settlements lock each job together with its claim, by id. What deadlocks all the same is begun again.
//!
//! Start with `store.rs` for the way in, `lane.rs` for the batch, `writer.rs` for the transaction.

mod alike;
mod changes;
mod claim;
mod counts;
mod effects;
mod ends;
mod error;
mod jobs;
mod keys;
mod lane;
mod link;
mod loaded;
mod migrate;
mod publisher;
mod queues;
mod read;
mod reopen;
mod retention;
mod room;
mod row;
mod session;
mod settle;
mod shared;
mod store;
mod submit;
mod tallies;
mod telling;
mod tls;
mod upkeep;
mod url;
mod writer;

pub use error::OpenError;
pub use store::{PostgresConfig, PostgresStore};
pub use tls::TlsError;
pub use url::{BadUrl, PostgresUrl};
