//! The life of a server process: its phases, its drain budget, its tracked tasks and its ledger.
//!
//! This crate knows nothing of jobs, HTTP or stores. It holds the parts from which `bin/src/shutdown.rs`
//! builds the one ordered stop:
//!
//! ```text
//!   PhaseSender (main alone) ──watch──▶ Phases (everyone else: read, wait)
//!   DrainTrigger (HTTP)      ─────────▶ main
//!   InFlight, Tasks          ◀──idle?── main waits
//!   Budget ──entering(phase)──▶ Deadlines ──▶ each step, and the LastResort thread
//!   Ledger                   ◀── every step, hook and fault; printed at the end, however it ends
//! ```
//!
//! **Invariant:** only the owner of the [`PhaseSender`] can change the phase, and it only goes forward.
//! There is no global, no shared flag. Start with [`Phase`].

mod budget;
mod drain;
mod hooks;
mod in_flight;
mod last_resort;
mod ledger;
mod metrics;
mod phase;
mod tasks;

pub use budget::{Budget, BudgetError, CLOSE_TIMEOUT_MIN, Deadlines, KILL_MARGIN, SHARE_MAX, ShutdownConfig};
pub use drain::{DrainCause, DrainRequests, DrainTrigger, drain_channel};
pub use hooks::{HookEnd, HookError, HookList, HookReport, Hooks};
pub use in_flight::{InFlight, InFlightGuard};
pub use last_resort::{EXIT_UNFINISHED, LastResort, last_word};
pub use ledger::{Ledger, StepTimer, TALLY_NAMES_MAX};
pub use metrics::LifecycleMetrics;
pub use phase::{Phase, PhaseSender, Phases, phases};
pub use tasks::{TaskFailed, Tasks};
