use std::sync::{Arc, OnceLock};

use prometheus::Registry;
use steadfast_lifecycle::{DrainTrigger, InFlight, Phase, Phases};
use steadfast_queue::{Admission, EventHub, JobStore, LeaseDesk};

use crate::access::Access;
use crate::answer_memory::AnswerMemory;
use crate::body::BodyMemories;
use crate::config::Config;
use crate::health::StoreHealth;
use crate::limits::{Held, Limits};
use crate::metrics::HttpMetrics;
use crate::problem::Refused;
use crate::read_cache::ReadCache;
use crate::refusals::Refusals;
use crate::store_figures::StoreFigures;

/// What serves requests. It serves before the store is open too: until [`App::attach`], whatever needs the
/// store is answered 503 `starting`.
pub struct App {
    pub(crate) config: Config,
    pub(crate) access: Access,
    pub(crate) phases: Phases,
    pub(crate) drain: DrainTrigger,
    pub(crate) registry: Registry,
    pub(crate) metrics: HttpMetrics,
    pub(crate) limits: Limits,
    pub(crate) held: Held,
    pub(crate) body_memory: BodyMemories,
    pub(crate) answer_memory: AnswerMemory,
    pub(crate) read_cache: ReadCache,
    pub(crate) refusals: Refusals,
    pub(crate) store_health: StoreHealth,
    pub(crate) store_figures: StoreFigures,
    requests: InFlight,
    services: OnceLock<Services>,
}

/// What is behind the routes once the store is open.
pub struct Services {
    /// Every change of a job goes through it.
    pub admission: Arc<Admission>,
    /// Every read comes from it.
    pub store: Arc<dyn JobStore>,
    /// Remote workers' leases come from it.
    pub desk: Arc<LeaseDesk>,
    /// Long polls and streams wait on it.
    pub hub: Arc<EventHub>,
}

impl App {
    /// An app without a store. An error when `registry` has one of the HTTP metrics already.
    pub fn new(
        config: Config,
        access: Access,
        phases: Phases,
        drain: DrainTrigger,
        registry: Registry,
    ) -> Result<Arc<Self>, prometheus::Error> {
        Ok(Arc::new(Self {
            metrics: HttpMetrics::register(&registry)?,
            read_cache: ReadCache::register(&registry)?,
            limits: Limits::new(&config),
            held: Held::new(config.held_max),
            body_memory: BodyMemories::default(),
            answer_memory: AnswerMemory::default(),
            refusals: Refusals::default(),
            store_health: StoreHealth::default(),
            store_figures: StoreFigures::default(),
            requests: InFlight::new(),
            services: OnceLock::new(),
            config,
            access,
            phases,
            drain,
            registry,
        }))
    }

    /// Puts the store and what is built on it behind the routes. Only the first call has an effect.
    pub fn attach(&self, services: Services) {
        if self.services.set(services).is_err() {
            tracing::error!("services were attached twice; the first ones stay");
        }
    }

    /// Closes what reads are kept in, and logs what it was good for.
    pub fn close_read_cache(&self) {
        self.read_cache.close();
    }

    /// Unanswered requests that began before the drain. Those that begin later do not keep a drain waiting:
    /// they are answered as long as the listener is open.
    pub fn requests(&self) -> &InFlight {
        &self.requests
    }

    /// What is behind the routes, or 503 `starting` until the server is ready.
    pub(crate) fn services(&self) -> Result<&Services, Refused> {
        match self.services.get() {
            Some(services) if self.phases.current() > Phase::Starting => Ok(services),
            _ => Err(Refused::starting()),
        }
    }

    /// What is behind the routes, whatever the phase.
    pub(crate) fn attached(&self) -> Option<&Services> {
        self.services.get()
    }
}
