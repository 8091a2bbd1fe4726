//! The embedded store: every job in one SQLite file, durable before its submission is answered.
//!
//! ```text
//!  submit, claim, settle… ──▶ Inbox ──a batch──▶ Writer thread ──one transaction, one sync──▶ file
//!                                                  │  Memory: ready order, counters, claims, key hashes,
//!                                                  │  and the jobs just written
//!                                                  ▼
//!                                  answers and hints, after the commit
//!  get, list ──▶ Readers ──────────────────────────────────────────────────▶ file
//! ```
//!
//! What a job was submitted as is written once (`jobs`); where it is in its life is a narrow row that moves
//! from `live` to `done`; a claim is a row of its own. Start-up reads `live` and `claims` only. The order
//! of ready jobs, the room that is left and the hashes of keys live in memory, made from those rows:
//! docs/adr/0005-embedded-store.md says why and what was measured.
//!
//! **Invariant:** memory changes along with a transaction and is taken back with it; it never says what
//! the file does not. The jobs in it (`recent.rs`) are what their rows say at every moment.
//!
//! **Invariant:** nobody but SQLite opens the database file: closing any other descriptor of it would drop
//! the process's locks.
//!
//! **Invariant:** a start that is refused has written nothing, and nothing is written to a file in which damage
//! was seen.
//!
//! Start with `store.rs` for the way in, `writer.rs` for the batch, `transaction.rs` for a job's change.

mod claim;
mod claims;
mod clock;
mod command;
mod counts;
mod effects;
mod error;
#[cfg(feature = "failpoints")]
mod failpoints;
mod file_system;
mod fingerprints;
mod health;
mod inbox;
mod keys;
mod load;
mod lock;
mod log;
mod memory;
mod queues;
mod read;
mod ready;
mod recent;
mod reserve;
mod retention;
mod room;
mod row;
mod schema;
mod session;
mod settle;
mod statements;
mod store;
mod submit;
mod transaction;
mod upkeep;
mod writer;

pub use error::OpenError;
#[cfg(feature = "failpoints")]
pub use failpoints::FAILPOINTS;
pub use store::{SqliteConfig, SqliteStore};
