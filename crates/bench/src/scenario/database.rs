//! A PostgreSQL of the benchmark's own, with its schemas: filled, tidied and dropped from outside.

use std::future::Future;

use steadfast_testkit::postgres::{Cluster, Plans, explained, in_schema};
use tokio::task::JoinSet;

use crate::error::BenchError;

/// One cluster with PostgreSQL's own settings. It keeps what it commits: `fsync` is on.
#[derive(Debug)]
pub(super) struct Database {
    cluster: Cluster,
}

impl Database {
    /// A new cluster where temporary files are.
    pub(super) async fn start() -> Result<Self, BenchError> {
        // The test kit says by a panic what is missing.
        let mut starting = JoinSet::new();
        starting.spawn(Cluster::start());
        match starting.join_next().await {
            Some(Ok(cluster)) => Ok(Self { cluster }),
            _ => Err(BenchError::invalid("PostgreSQL", "it cannot be started")),
        }
    }

    /// Its URL.
    pub(super) fn url(&self) -> String {
        self.cluster.url()
    }

    /// A schema that nobody else uses; nothing is there yet.
    pub(super) fn new_schema(&self) -> String {
        self.cluster.new_schema_name()
    }

    /// The URL of a store in this schema.
    pub(super) fn url_of(&self, schema: &str) -> String {
        in_schema(&self.url(), schema)
    }

    /// The same, and the plans of its statements can be looked at.
    pub(super) fn explained_url_of(&self, schema: &str) -> String {
        explained(&self.url_of(schema))
    }

    /// Adds copies of the one job that has ended, under ids that are older than any real one. The store's counters
    /// do not know them.
    pub(super) async fn add_ended(&self, schema: &str, jobs: u64) -> Result<(), BenchError> {
        let ended = format!("FROM {schema}.jobs WHERE finished_at IS NOT NULL");
        if self.cluster.sql(&format!("SELECT count(*) {ended}")).await != "1" {
            return Err(BenchError::invalid(schema, "there must be one ended job"));
        }
        let columns = format!(
            "SELECT string_agg(quote_ident(column_name), ', ' ORDER BY ordinal_position) \
             FROM information_schema.columns \
             WHERE table_schema = '{schema}' AND table_name = 'jobs' AND column_name <> 'id'"
        );
        let columns = self.cluster.sql(&columns).await;
        let copies = format!(
            "INSERT INTO {schema}.jobs (id, {columns}) SELECT lpad(to_hex(n), 32, '0')::uuid, {columns} \
             FROM (SELECT * {ended}) AS ended, generate_series(1, {jobs}) AS n"
        );
        self.cluster.sql(&copies).await;
        Ok(())
    }

    /// Removes all jobs but the copies.
    pub(super) async fn remove_but_copies(&self, schema: &str) {
        let older_than_real = "'00000001-0000-0000-0000-000000000000'";
        self.cluster.sql(&format!("DELETE FROM {schema}.jobs WHERE id > {older_than_real}")).await;
    }

    /// Does what the database would do by itself sooner or later, so that it does not do it while something is
    /// measured.
    pub(super) async fn tidy(&self, schema: &str) {
        for table in ["jobs", "waiting", "claims"] {
            self.cluster.sql(&format!("VACUUM (ANALYZE) {schema}.{table}")).await;
        }
        self.checkpoint().await;
    }

    /// Removes a schema, and writes out what is left of it.
    pub(super) async fn drop_schema(&self, schema: &str) {
        self.cluster.sql(&format!("DROP SCHEMA {schema} CASCADE")).await;
        self.checkpoint().await;
    }

    async fn checkpoint(&self) {
        self.cluster.sql("CHECKPOINT").await;
    }

    /// Does something in a store on [`explained_url_of`](Self::explained_url_of), and returns with it the plans.
    pub(super) async fn plans_of<T>(&self, work: impl Future<Output = T>) -> (T, Plans) {
        self.cluster.plans_of(work).await
    }
}
