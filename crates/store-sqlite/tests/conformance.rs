//! The promises of `JobStore`, held against the store on real files.
#![allow(clippy::unwrap_used, reason = "test code outside of test functions")]

use std::sync::Arc;

use async_trait::async_trait;
use prometheus::Registry;
use steadfast_queue::JobStore;
use steadfast_queue::metrics::StoreMetrics;
use steadfast_queue::store::StoreLimits;
use steadfast_store_sqlite::{SqliteConfig, SqliteStore};
use steadfast_testkit::conformance::Bench;
use steadfast_testkit::model::Life;
use tempfile::TempDir;

/// One file in a directory of its own.
struct File(TempDir);

impl File {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

#[async_trait]
impl Bench for File {
    async fn open(&mut self, limits: StoreLimits) -> Arc<dyn JobStore> {
        let config = SqliteConfig { path: self.0.path().join("jobs.db"), limits };
        let metrics = StoreMetrics::register(&Registry::new()).unwrap();
        Arc::new(SqliteStore::open(config, metrics).unwrap())
    }
}

steadfast_testkit::conformance!(File::new());
steadfast_testkit::durable_conformance!(File::new());
steadfast_testkit::model!(File::new(), Life::Durable, 100);
