//! Opening the store.

use std::io;
use std::sync::Arc;
use std::thread;

use steadfast_queue::store::{QueueSpec, StoreError, StoreLimits};
use steadfast_queue::{JobStore, MemoryStore};
use steadfast_store_sqlite::{OpenError, SqliteConfig, SqliteMetrics, SqliteStore};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::settings::StoreUrl;

/// Why there is no store.
#[derive(Debug, thiserror::Error)]
pub enum NoStore {
    /// It cannot be opened.
    #[error("{0}")]
    Open(#[from] OpenError),
    /// It did not take the queues of the settings.
    #[error("the store did not take the queues of the settings: {0}")]
    Declare(StoreError),
    /// The thread that opened it panicked.
    #[error("opening the store failed; standard error says how")]
    Lost,
}

/// A store on its way. Opening blocks and may take long (a recovery), so it has a thread of its own: the
/// server answers meanwhile, and can be stopped.
pub(crate) struct Opening(oneshot::Receiver<Result<Arc<dyn JobStore>, NoStore>>);

impl Opening {
    /// Opens a store and declares its queues. An error when there is no thread for it.
    pub(crate) fn begin(
        open: impl FnOnce() -> Result<Arc<dyn JobStore>, OpenError> + Send + 'static,
        queues: Vec<QueueSpec>,
        runtime: Handle,
    ) -> io::Result<Self> {
        let (sender, receiver) = oneshot::channel();
        thread::Builder::new().name("store-open".to_owned()).spawn(move || {
            let opened = open().map_err(NoStore::Open).and_then(|store| {
                runtime.block_on(store.declare(&queues)).map_err(NoStore::Declare)?;
                Ok(store)
            });
            // If nobody waits any more, the store is dropped here.
            let _ = sender.send(opened);
        })?;
        Ok(Self(receiver))
    }

    /// Waits for the store. Cancel-safe; after its answer there is no other.
    pub(crate) async fn opened(&mut self) -> Result<Arc<dyn JobStore>, NoStore> {
        (&mut self.0).await.unwrap_or(Err(NoStore::Lost))
    }
}

/// Opens the store that the settings name. Blocks.
pub(crate) fn open(
    url: StoreUrl,
    limits: StoreLimits,
    metrics: SqliteMetrics,
) -> Result<Arc<dyn JobStore>, OpenError> {
    Ok(match url {
        StoreUrl::Memory => Arc::new(MemoryStore::new(limits)),
        StoreUrl::Sqlite(path) => Arc::new(SqliteStore::open(SqliteConfig { path, limits }, metrics)?),
    })
}
