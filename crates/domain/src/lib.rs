//! What a job is, which states it can be in, and which changes are allowed.
//!
//! This crate is pure: it has no clock, does no I/O and knows no runtime. Time enters as a
//! [`Timestamp`] or a `Duration`, randomness as a number, so that every rule here can be tested
//! by giving it both.
//!
//! ```text
//!   NewJob ──(a store accepts it)──▶ Job { state, version, history }
//!                                     │
//!                                     └── JobState::after(Event): the one transition table
//! ```
//!
//! Constructors enforce the limits in [`limits`], so a value that exists is valid and may reach a
//! store. Start with [`Job`] for the data and [`JobState`] for its life.

mod error;
mod id;
mod job;
mod json;
pub mod limits;
mod name;
mod new_job;
mod priority;
mod retry;
mod state;
mod tags;
mod time;

pub use error::{Invalid, InvalidField, pointer_token};
pub use id::{BootId, Fence, JobId, JobIds, Version};
pub use job::{Change, HISTORY_MAX, Job, JobError};
pub use json::RawJson;
pub use name::{
    IdempotencyToken, KindName, ProgramName, QueueName, Tenant, TokenName, TraceParent, UniqueKey, WorkerName,
};
pub use new_job::{AttemptTimeout, NewJob, Start};
pub use priority::Priority;
pub use retry::{Backoff, RetryPolicy};
pub use state::{Event, JobState, TRANSITIONS};
pub use tags::Tags;
pub use time::Timestamp;
