use std::time::{Duration, SystemTime, UNIX_EPOCH};

use steadfast_domain::Timestamp;

/// The store's clock: the wall clock, since what it decides (due times, deadlines, leases of remote
/// workers) outlives the process, and a steady clock stands still while a machine sleeps. Nothing relies
/// on it never going back: ids, versions and fences count by themselves.
pub(crate) fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Timestamp::from_unix_ms(0).plus(since_epoch)
}
