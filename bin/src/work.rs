//! What runs behind the routes once the store is open.

use std::sync::Arc;

use prometheus::Registry;
use steadfast_api::{App, Services};
use steadfast_lifecycle::{DrainTrigger, Phases, Tasks};
use steadfast_queue::admission::{JobRates, SettleRates};
use steadfast_queue::lease_desk::LeaseDeskConfig;
use steadfast_queue::metrics::{AdmissionMetrics, PoolMetrics};
use steadfast_queue::pool::PoolRuntimes;
use steadfast_queue::spans::Tracer;
use steadfast_queue::store::Durability;
use steadfast_queue::{Admission, EventHub, Handlers, JobStore, LeaseDesk, WorkerPool, run_upkeep};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::settings::{QueueSettings, Settings};
use crate::wiring;

/// What a drain has to bring to its end. The default is a server whose store is not open yet: nothing.
#[derive(Default)]
pub(crate) struct Work {
    pub(crate) pool: Option<WorkerPool>,
    /// What clients asked for and is not yet committed.
    pub(crate) mutations: Tasks,
    /// What runs until [`Phase::Stopped`](steadfast_lifecycle::Phase::Stopped).
    pub(crate) background: Tasks,
}

/// What it is made of.
pub(crate) struct Parts<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) queues: &'a [QueueSettings],
    pub(crate) registry: &'a Registry,
    pub(crate) phases: Phases,
    pub(crate) store: Arc<dyn JobStore>,
    pub(crate) handlers: Handlers,
    pub(crate) runtimes: PoolRuntimes,
    pub(crate) tracer: Tracer,
    pub(crate) drain: DrainTrigger,
    pub(crate) drain_ends: watch::Receiver<Option<Instant>>,
    pub(crate) background: Tasks,
}

impl Parts<'_> {
    /// Starts it, the pool on its own runtime and the rest on the current one, and puts it behind the routes.
    /// An error when `registry` has one of the metrics already; nothing runs then.
    pub(crate) fn begin(self, app: &App) -> Result<Work, prometheus::Error> {
        let Self { settings, queues, registry, phases, store, handlers, background, .. } = self;
        let (admission_metrics, pool_metrics) =
            (AdmissionMetrics::register(registry)?, PoolMetrics::register(registry)?);
        let mutations = Tasks::new();
        let settle_rates = Arc::new(SettleRates::new());
        let job_rates = Arc::new(JobRates::new(queues.iter().map(|queue| queue.name.clone())));

        let hub = EventHub::new(Arc::clone(&store));
        background.spawn_essential("event hub", &self.drain, Arc::clone(&hub).run(phases.clone()));
        background.spawn_essential("upkeep", &self.drain, run_upkeep(Arc::clone(&store), phases.clone()));
        // Where other replicas serve the same store, whoever is refused by a drain can go there at once.
        let is_shared = store.durability() == Durability::Commit;
        let drain_ends = if is_shared { watch::channel(None).1 } else { self.drain_ends };
        let admission = Arc::new(Admission::new(
            wiring::admission(
                settings,
                queues,
                Arc::clone(&settle_rates),
                Arc::clone(&job_rates),
                drain_ends,
            ),
            Arc::clone(&store),
            handlers.clone(),
            phases.clone(),
            mutations.clone(),
            admission_metrics,
        ));
        let desk = LeaseDesk::new(
            LeaseDeskConfig {
                payload_bytes_max: settings.payload_max,
                settle_rates: Arc::clone(&settle_rates),
                tracer: self.tracer.clone(),
            },
            Arc::clone(&admission),
            Arc::clone(&hub),
            pool_metrics.clone(),
        );
        background.spawn_essential("lease desk", &self.drain, Arc::clone(&desk).run(phases.clone()));
        let pool = WorkerPool::start(
            wiring::pool(settings, queues, settle_rates, job_rates, self.tracer, self.drain),
            Arc::clone(&store),
            handlers,
            Arc::clone(&hub),
            phases,
            self.runtimes,
            pool_metrics,
        );
        app.attach(Services { admission, store, desk, hub });
        Ok(Work { pool: Some(pool), mutations, background })
    }
}
