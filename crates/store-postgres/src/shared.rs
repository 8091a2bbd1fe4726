use parking_lot::Mutex;
use steadfast_domain::JobIds;
use steadfast_queue::store::StoreLimits;

use crate::keys::hash;

/// What all connections of a store know.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) limits: StoreLimits,
    pub(crate) ids: Mutex<JobIds>,
    pub(crate) locks: Locks,
}

/// Advisory locks of a schema, held by transactions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Locks {
    /// Shared by every claim, and taken alone by whoever pauses: when a pause is committed, no claim that saw
    /// the queue unpaused is still under way.
    pub(crate) pause: i64,
    /// Taken by whoever moves room between seats.
    pub(crate) room: i64,
    /// Taken by whoever prunes, since what is too much is counted by all.
    pub(crate) prune: i64,
    /// Taken by whoever brings the schema up to date.
    pub(crate) migrate: i64,
}

impl Locks {
    pub(crate) fn of(schema: &str) -> Self {
        let lock = |purpose: &str| lock_number(schema, purpose, "");
        Self { pause: lock("pause"), room: lock("room"), prune: lock("prune"), migrate: lock("migrate") }
    }
}

/// The number of an advisory lock.
pub(crate) fn lock_number(schema: &str, purpose: &str, of: &str) -> i64 {
    let hash = hash(&[schema.as_bytes(), purpose.as_bytes(), of.as_bytes()]);
    (hash.as_u128() >> 64) as i64
}
