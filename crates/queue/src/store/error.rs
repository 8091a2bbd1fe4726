use std::error::Error;

use steadfast_domain::JobId;

/// What a store answers when it could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It is away. Nothing happened.
    #[error("the store is unavailable")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
    /// Its disk is full. Nothing happened.
    #[error("the store's disk is full")]
    Full,
    /// The call waited for its transaction until its time was up. Nothing happened.
    #[error("the store did not begin in time")]
    TimedOut,
    /// It may have happened, whole or not at all; [`JobStore::get`](super::JobStore::get) or the idempotency key tells.
    #[error("the outcome is unknown")]
    Unknown {
        /// The jobs that exist if it did.
        ids: Vec<JobId>,
    },
    /// The store was closed. Nothing happened.
    #[error("the store is closed")]
    Closed,
}
