//! Ends that nobody announces, and disks that lie, fill up or return damage: what was accepted is kept, what was not
//! synced is not promised, and what cannot be served is not.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is how a test fails")]
#![allow(clippy::print_stdout, reason = "figures of a run, shown when it fails or with --nocapture")]

#[path = "../acting/mod.rs"]
mod acting;
#[cfg(feature = "failpoints")]
mod crash_points;
mod damaged_file;
mod durability;
mod durability_order;
mod failed_sync;
mod full_disk;
mod kill9;
#[path = "../mounts/mod.rs"]
mod mounts;
mod poison;
