//! What `/metrics` says: that its figures add up, that Prometheus reads it, and that what is shipped for Prometheus and
//! Grafana fits it.
#![allow(clippy::expect_used, reason = "a panic is how a test fails")]

mod everything;
mod exposition;
mod identity;
mod prometheus;
mod scrape;
mod shipped;
