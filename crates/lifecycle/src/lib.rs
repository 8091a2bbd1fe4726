//! The life of a server process: its phases, its drain budget, its tracked tasks and its ledger.
//!
//! This crate knows nothing of jobs, HTTP or stores. It holds the parts from which `bin/src/shutdown.rs`
//! builds the one ordered stop:
//!
//! ```text
//!   PhaseSender (main alone) ──watch──▶ Phases (everyone else: read, wait)
//!   DrainTrigger (HTTP)      ─────────▶ main
//!   InFlight, Tasks          ◀──idle?── main waits
//! ```
//!
//! **Invariant:** only the owner of the [`PhaseSender`] can change the phase, and it only goes forward.
//! There is no global, no shared flag. Start with [`Phase`].

mod drain;
mod in_flight;
mod phase;
mod tasks;

pub use drain::{DrainRequests, DrainTrigger, drain_channel};
pub use in_flight::{InFlight, InFlightGuard};
pub use phase::{Phase, PhaseSender, Phases, phases};
pub use tasks::{TaskFailed, Tasks};
