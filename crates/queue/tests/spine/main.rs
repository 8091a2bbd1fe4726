//! Admission, hub, pool and upkeep together, over the memory store.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is how a test fails")]

mod admission;
mod attempts;
mod faulty_store;
mod given;
mod hub;
mod lease_desk;
mod leases;
mod order;
mod slots;
mod stops;
mod stress;
mod typed;
mod upkeep;
