//! The worker pool: claims jobs, runs their handlers, settles them.

mod config;
mod report;

use std::sync::Arc;
use std::time::Duration;

use steadfast_lifecycle::Phases;
use tokio::time::Instant;

pub use config::{PoolConfig, PoolQueue};
pub use report::PoolReport;

use crate::handler::Handlers;
use crate::hub::EventHub;
use crate::metrics::PoolMetrics;
use crate::store::JobStore;

/// Runs jobs.
pub struct WorkerPool {
    _store: Arc<dyn JobStore>,
}

impl WorkerPool {
    /// Starts the pool. Its own loops run on the current runtime, handlers on `handlers_runtime`.
    pub fn start(
        config: PoolConfig,
        store: Arc<dyn JobStore>,
        handlers: Handlers,
        hub: Arc<EventHub>,
        phases: Phases,
        handlers_runtime: tokio::runtime::Handle,
        metrics: PoolMetrics,
    ) -> Self {
        let _ = (config, handlers, hub, phases, handlers_runtime, metrics);
        Self { _store: store }
    }

    /// How many handlers run.
    pub fn running(&self) -> usize {
        0
    }

    /// Waits for a moment when no attempt runs and none is being settled.
    pub async fn idle(&self) {}

    /// Hands back what still runs, never later than `deadline`.
    pub async fn hand_back(self, deadline: Instant, rest_after: Duration) -> PoolReport {
        let _ = (deadline, rest_after);
        PoolReport::default()
    }
}
