use prometheus::{Histogram, HistogramOpts, Registry};

/// What the store tells about its transactions.
#[derive(Debug, Clone)]
pub struct PostgresMetrics {
    pub(crate) commit_seconds: Histogram,
    pub(crate) batch_jobs: Histogram,
}

impl PostgresMetrics {
    /// Registers `steadfast_store_commit_seconds` and `steadfast_store_batch_jobs`; an error when the
    /// registry has them already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            commit_seconds: Histogram::with_opts(
                HistogramOpts::new(
                    "steadfast_store_commit_seconds",
                    "Time a commit takes, its sync included.",
                )
                .buckets(prometheus::exponential_buckets(0.000_05, 2.5, 12)?),
            )?,
            batch_jobs: Histogram::with_opts(
                HistogramOpts::new(
                    "steadfast_store_batch_jobs",
                    "Jobs and operations that share a commit, a claim as the most it may take.",
                )
                .buckets(prometheus::exponential_buckets(1.0, 2.0, 12)?),
            )?,
        };
        registry.register(Box::new(metrics.commit_seconds.clone()))?;
        registry.register(Box::new(metrics.batch_jobs.clone()))?;
        Ok(metrics)
    }
}
