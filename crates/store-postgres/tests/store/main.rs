//! The store on real servers, as several processes use it: batches and what they cost, replicas, poolers, TLS, and outages.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod batches;
mod given;
mod outages;
mod plans;
mod pooler;
mod replicas;
mod tls;
