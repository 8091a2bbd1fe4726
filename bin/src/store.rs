//! Opening the store.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::thread;

use prometheus::{IntGauge, IntGaugeVec, Opts, Registry};
use steadfast_queue::metrics::StoreMetrics;
use steadfast_queue::store::{QueueSpec, QueueStatus, StoreError, StoreLimits};
use steadfast_queue::{JobStore, MemoryStore};
use steadfast_store_postgres::{PostgresConfig, PostgresStore};
use steadfast_store_sqlite::{SqliteConfig, SqliteStore};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::settings::{Settings, StoreUrl};

/// Why there is no store.
#[derive(Debug, thiserror::Error)]
pub enum NoStore {
    /// The SQLite file cannot be opened.
    #[error("{0}")]
    Sqlite(#[from] steadfast_store_sqlite::OpenError),
    /// The PostgreSQL database cannot be opened.
    #[error("{0}")]
    Postgres(#[from] steadfast_store_postgres::OpenError),
    /// The program's own store cannot be opened.
    #[error("{0}")]
    Own(#[source] Box<dyn Error + Send + Sync>),
    /// Its metrics are there already.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// It did not take the queues of the settings.
    #[error("the store did not take the queues of the settings: {0}")]
    Declare(StoreError),
    /// It did not say what it holds.
    #[error("the store did not say what it holds: {0}")]
    Read(StoreError),
    /// The thread that opened it panicked.
    #[error("opening the store failed; standard error says how")]
    Lost,
}

/// A store on its way. Opening blocks and may take long (a recovery), so it has a thread of its own: the
/// server answers meanwhile, and can be stopped.
pub(crate) struct Opening(oneshot::Receiver<Result<Opened, NoStore>>);

/// A store that is open.
pub(crate) struct Opened {
    pub(crate) store: Arc<dyn JobStore>,
    /// Jobs that were not terminal before it was opened, which may have recovered some.
    pub(crate) live_at_start: u64,
}

impl Opening {
    /// Opens a store, declares its queues and registers what it holds. An error when there is no thread for it.
    pub(crate) fn begin(
        open: impl FnOnce(&Handle) -> Result<Arc<dyn JobStore>, NoStore> + Send + 'static,
        queues: Vec<QueueSpec>,
        registry: Registry,
        runtime: Handle,
    ) -> io::Result<Self> {
        let (sender, receiver) = oneshot::channel();
        thread::Builder::new().name("store-open".to_owned()).spawn(move || {
            let opened = open(&runtime).and_then(|store| {
                runtime.block_on(store.declare(&queues)).map_err(NoStore::Declare)?;
                let queues = runtime.block_on(store.queues()).map_err(NoStore::Read)?;
                let live_at_start = register_live_at_start(&registry, &queues)?;
                Ok(Opened { store, live_at_start })
            });
            // If nobody waits any more, the store is dropped here.
            let _ = sender.send(opened);
        })?;
        Ok(Self(receiver))
    }

    /// Waits for the store. Cancel-safe; after its answer there is no other.
    pub(crate) async fn opened(&mut self) -> Result<Opened, NoStore> {
        (&mut self.0).await.unwrap_or(Err(NoStore::Lost))
    }
}

/// What a store holds at most, all its queues together: `steadfast_store_capacity_jobs` and
/// `steadfast_store_capacity_bytes`.
pub(crate) fn register_capacity(registry: &Registry, limits: &StoreLimits) -> Result<(), prometheus::Error> {
    for (name, help, capacity) in [
        (
            "steadfast_store_capacity_jobs",
            "Jobs of all queues that are not terminal, at most.",
            limits.capacity_jobs,
        ),
        ("steadfast_store_capacity_bytes", "Bytes of their payloads, at most.", limits.capacity_bytes),
    ] {
        let gauge = IntGauge::new(name, help)?;
        gauge.set(i64::try_from(capacity).unwrap_or(i64::MAX));
        registry.register(Box::new(gauge))?;
    }
    Ok(())
}

/// `steadfast_jobs_live_at_start`: where the counters of jobs begin. What opening the store has counted already came
/// after it. The sum of them.
fn register_live_at_start(registry: &Registry, queues: &[QueueStatus]) -> Result<u64, prometheus::Error> {
    let help = "Jobs that were not terminal when this process opened the store, before it recovered any.";
    let live = IntGaugeVec::new(Opts::new("steadfast_jobs_live_at_start", help), &["queue"])?;
    let mut in_all = 0;
    for queue in queues {
        let live_before = queue.live().cast_signed() - queue.counts.net();
        live.with_label_values(&[queue.name.as_str()]).set(live_before);
        in_all += live_before;
    }
    registry.register(Box::new(live))?;
    Ok(u64::try_from(in_all).unwrap_or(0))
}

/// Opens the store that the settings name. Blocks; a store that needs a runtime lives on `runtime`.
pub(crate) fn open(
    settings: &Settings,
    limits: StoreLimits,
    registry: &Registry,
    runtime: &Handle,
) -> Result<Arc<dyn JobStore>, NoStore> {
    Ok(match &settings.store {
        StoreUrl::Memory => Arc::new(MemoryStore::new(limits)),
        StoreUrl::Sqlite(path) => {
            let config = SqliteConfig { path: path.clone(), limits };
            Arc::new(SqliteStore::open(config, StoreMetrics::register(registry)?)?)
        }
        StoreUrl::Postgres(url) => {
            let listen_url = settings.postgres_listen_url.clone();
            let config = PostgresConfig { url: url.clone(), listen_url, limits };
            let metrics = StoreMetrics::register(registry)?;
            Arc::new(runtime.block_on(PostgresStore::open(config, metrics))?)
        }
    })
}
