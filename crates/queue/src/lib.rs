//! Everything between a request and a finished job that is not HTTP and not a disk.
//!
//! ```text
//!  Admission ──submit──▶ JobStore ◀──claim, renew, settle── WorkerPool ──run──▶ JobHandler
//!                           │ hints, after commit
//!                           ▼
//!                       EventHub ──▶ whoever waits or streams
//! ```
//!
//! The crate owns the two seams others implement: [`JobStore`] (`MemoryStore` here, the durable ones in
//! crates of their own) and [`JobHandler`]. It knows no HTTP and no file. Data flows one way; the store is
//! the truth, and hints and events are only ever sent after a commit.

pub mod handler;
mod memory;
pub mod store;

pub use handler::{Failure, Finish, Handlers, JobContext, JobHandler, StopReason};
pub use memory::MemoryStore;
pub use store::JobStore;
