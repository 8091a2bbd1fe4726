//! The promises of `JobStore`, held against the store on a real server.
#![allow(clippy::unwrap_used, reason = "test code outside of test functions")]

use std::sync::Arc;

use async_trait::async_trait;
use prometheus::Registry;
use steadfast_queue::JobStore;
use steadfast_queue::metrics::StoreMetrics;
use steadfast_queue::store::StoreLimits;
use steadfast_store_postgres::{PostgresConfig, PostgresStore};
use steadfast_testkit::conformance::Bench;
use steadfast_testkit::model::Life;
use steadfast_testkit::postgres::Cluster;

/// One schema of the cluster that all tests share.
#[derive(Default)]
struct Schema(Option<String>);

#[async_trait]
impl Bench for Schema {
    async fn open(&mut self, limits: StoreLimits) -> Arc<dyn JobStore> {
        let cluster = Cluster::shared().await;
        let url = self.0.get_or_insert_with(|| cluster.new_schema()).parse().unwrap();
        let config = PostgresConfig { url, listen_url: None, limits };
        let metrics = StoreMetrics::register(&Registry::new()).unwrap();
        Arc::new(PostgresStore::open(config, metrics).await.unwrap())
    }
}

steadfast_testkit::conformance!(Schema::default());
steadfast_testkit::durable_conformance!(Schema::default());
steadfast_testkit::model!(Schema::default(), Life::Durable, 50);
