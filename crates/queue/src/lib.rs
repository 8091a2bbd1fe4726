//! Everything between a request and a finished job that is not HTTP and not a disk.
//!
//! ```text
//!  Admission ──submit──▶ JobStore ◀──claim, renew, settle── WorkerPool ──run──▶ JobHandler
//!                         ▲ │ hints, after commit
//!    claim, renew, settle │ ▼
//!               LeaseDesk   EventHub ──▶ whoever waits or streams
//!                   ▲
//!                   └── remote workers
//! ```
//!
//! The crate owns the two seams others implement: [`JobStore`] (`MemoryStore` here, the durable ones in
//! crates of their own) and [`JobHandler`], which most write as a [`TypedHandler`]. It knows no HTTP and no file. Data flows one way; the store is
//! the truth, and hints and events are only ever sent after a commit.

pub mod admission;
pub mod handler;
pub mod hub;
pub mod lease_desk;
mod memory;
pub mod metrics;
pub mod pool;
pub mod spans;
pub mod store;
pub mod upkeep;
mod verdict;

pub use admission::Admission;
pub use handler::{
    Failure, Finish, Handlers, JobContext, JobHandler, StopReason, Typed, TypedHandler, Unfinished,
};
pub use hub::EventHub;
pub use lease_desk::LeaseDesk;
pub use memory::MemoryStore;
pub use pool::WorkerPool;
pub use store::JobStore;
pub use upkeep::run_upkeep;
