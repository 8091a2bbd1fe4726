use std::time::{Duration, SystemTime, UNIX_EPOCH};

use steadfast_domain::Timestamp;
use tokio::time::Instant;

/// The store's clock: the wall clock as the store was made, carried on by tokio's. It never goes back,
/// and tests that pause tokio's clock move it.
#[derive(Debug)]
pub(super) struct Clock {
    started: Instant,
    started_at: Timestamp,
}

/// One reading of the clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    /// For what jobs carry: whole milliseconds.
    pub(super) at: Timestamp,
    /// For leases, which end to the nanosecond, so that no holder believes in one the store has given up.
    pub(super) instant: Instant,
}

impl Clock {
    pub(super) fn start() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self { started: Instant::now(), started_at: Timestamp::from_unix_ms(0).plus(since_epoch) }
    }

    pub(super) fn now(&self) -> Now {
        let instant = Instant::now();
        Now { at: self.started_at.plus(instant.duration_since(self.started)), instant }
    }
}
