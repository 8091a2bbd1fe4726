//! Several servers on one PostgreSQL store, whole and in part: what becomes of jobs, streams and leases when a replica, the
//! database or the network between them fails; and what one replica decides for all of them.
#![allow(clippy::expect_used, reason = "a panic is how a test fails")]
#![allow(clippy::print_stdout, reason = "figures of a run, shown when it fails or with --nocapture")]

#[path = "../acting/mod.rs"]
mod acting;
mod cancels;
mod capacity;
mod database_killed;
mod database_stalled;
mod given;
mod killed;
#[path = "../listening/mod.rs"]
mod listening;
mod pauses;
mod proxy_repeats;
mod streams;
mod weights;
mod workers;

/// Not a test: a replica of the tests here, when this program is started as one.
#[test]
fn serve() {
    given::serve_if_asked();
}
