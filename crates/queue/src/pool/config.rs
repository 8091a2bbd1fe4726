use std::sync::Arc;
use std::time::Duration;

use steadfast_domain::{BootId, QueueName};
use steadfast_lifecycle::DrainTrigger;

use super::StartRate;
use crate::admission::{JobRates, SettleRates};
use crate::spans::Tracer;

/// What the pool is told by whoever builds the server.
#[derive(Debug, Clone)]
pub struct PoolConfig {
    /// Attempts at once in this process; at least 1.
    pub concurrency: usize,
    /// How long a claim holds without a renewal, on stores whose claims can lapse. It is renewed after a
    /// third of this.
    pub lease: Duration,
    /// Names this run of this process.
    pub boot: BootId,
    /// The push queues it takes jobs from.
    pub queues: Vec<PoolQueue>,
    /// Where it measures how fast jobs end; admission reads it.
    pub settle_rates: Arc<SettleRates>,
    /// Where it counts what starts and what ends: admission is given the same one.
    pub job_rates: Arc<JobRates>,
    /// Where each attempt is a span.
    pub tracer: Tracer,
    /// Asked when one of the pool's own tasks panics: half a pool must not look like a whole one.
    pub drain: DrainTrigger,
}

/// One queue the pool takes jobs from.
#[derive(Debug, Clone)]
pub struct PoolQueue {
    /// Its name.
    pub name: QueueName,
    /// Its part of the free slots, in proportion to the other queues that have work; at least 1.
    pub weight: u32,
    /// Attempts of this queue at once in this process; only the pool's own bound if `None`.
    pub concurrency: Option<usize>,
    /// Attempts of it started each second by this process; any number if `None`.
    pub rate_limit: Option<StartRate>,
}
