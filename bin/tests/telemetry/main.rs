//! What a server tells its operator. `/metrics`: that its figures add up, that Prometheus reads it, and that what is
//! shipped for Prometheus and Grafana fits it. The log: all that the page has, and no secret. Traces and metrics that are
//! exported: whole, in time, and never in the way.
#![allow(clippy::expect_used, reason = "a panic is how a test fails")]

mod everything;
mod exposition;
mod identity;
mod logs;
mod prometheus;
mod scrape;
mod shipped;
mod traces;
