//! What admission, the pool, the lease desk and the durable stores measure, under the names of API.md, "Metrics". What
//! becomes of jobs is counted by the stores ([`JobCounts`](crate::store::JobCounts)). Labels are bounded: a queue or kind
//! that no configuration names is counted as [`OTHER`].

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// The label of every queue and kind that is not registered.
pub const OTHER: &str = "other";

/// Upper bounds in seconds for what takes from a fraction of a millisecond to a minute.
const SECONDS: [f64; 15] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0];
/// The bounds above those for jobs, which may wait and run for hours.
const LONG_SECONDS: [f64; 4] = [300.0, 900.0, 3_600.0, 14_400.0];
/// The bounds for commits: a sync that costs next to nothing, to a disk or a database that hangs.
const COMMIT_SECONDS: [f64; 17] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];

/// What admission counts. Clones share their counts.
#[derive(Debug, Clone)]
pub struct AdmissionMetrics {
    /// `steadfast_jobs_refused_total{queue,code}`: submissions and retries refused, by problem code.
    pub(crate) refused: IntCounterVec,
    /// `steadfast_submit_seconds`: from a submission's admission to the store's answer.
    pub(crate) submit_seconds: Histogram,
}

impl AdmissionMetrics {
    /// Registers them; an error when `registry` has one of them already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            refused: counters(
                registry,
                "steadfast_jobs_refused_total",
                "Submissions and retries refused, by problem code.",
                &["queue", "code"],
            )?,
            submit_seconds: histogram(
                registry,
                "steadfast_submit_seconds",
                "From a submission's admission to the store's answer.",
                SECONDS.to_vec(),
            )?,
        })
    }
}

/// What is counted of attempts, by the worker pool and by the lease desk. Clones share their counts.
#[derive(Debug, Clone)]
pub struct PoolMetrics {
    /// `steadfast_attempts_running`: attempts whose handler runs.
    pub(crate) running: IntGauge,
    /// `steadfast_job_attempts_total{queue,kind,outcome}`: attempts ended, by how.
    pub(crate) attempts: IntCounterVec,
    /// `steadfast_jobs_found_late_total`: ready jobs that only polling found.
    pub(crate) found_late: IntCounter,
    /// `steadfast_job_wait_seconds`: from due to started.
    pub(crate) wait_seconds: Histogram,
    /// `steadfast_job_run_seconds`: from an attempt's start to its end.
    pub(crate) run_seconds: Histogram,
}

impl PoolMetrics {
    /// Registers them; an error when `registry` has one of them already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let running = IntGauge::new("steadfast_attempts_running", "Attempts whose handler runs.")?;
        registry.register(Box::new(running.clone()))?;
        let found_late = IntCounter::new(
            "steadfast_jobs_found_late_total",
            "Ready jobs found by polling alone over 0.5 s after they were due: the store's hints are late or lost.",
        )?;
        registry.register(Box::new(found_late.clone()))?;
        Ok(Self {
            running,
            attempts: counters(
                registry,
                "steadfast_job_attempts_total",
                "Attempts ended, by outcome.",
                &["queue", "kind", "outcome"],
            )?,
            found_late,
            wait_seconds: histogram(
                registry,
                "steadfast_job_wait_seconds",
                "From the time a job is due to the start of its attempt.",
                job_buckets(),
            )?,
            run_seconds: histogram(
                registry,
                "steadfast_job_run_seconds",
                "From the start of an attempt to its end.",
                job_buckets(),
            )?,
        })
    }
}

/// What a durable store tells about its transactions. Clones share their counts.
#[derive(Debug, Clone)]
pub struct StoreMetrics {
    /// `steadfast_store_commit_seconds`: time a commit takes, its sync included.
    pub commit_seconds: Histogram,
    /// `steadfast_store_batch_jobs`: jobs and operations that share a commit, a claim as the most it may take.
    pub batch_jobs: Histogram,
}

impl StoreMetrics {
    /// Registers them; an error when `registry` has one of them already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            commit_seconds: histogram(
                registry,
                "steadfast_store_commit_seconds",
                "Time a commit takes, its sync included.",
                COMMIT_SECONDS.to_vec(),
            )?,
            batch_jobs: histogram(
                registry,
                "steadfast_store_batch_jobs",
                "Jobs and operations that share a commit, a claim as the most it may take.",
                prometheus::exponential_buckets(1.0, 2.0, 12)?,
            )?,
        })
    }
}

fn counters(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntCounterVec, prometheus::Error> {
    let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(counters.clone()))?;
    Ok(counters)
}

fn job_buckets() -> Vec<f64> {
    [&SECONDS[..], &LONG_SECONDS[..]].concat()
}

fn histogram(
    registry: &Registry,
    name: &str,
    help: &str,
    buckets: Vec<f64>,
) -> Result<Histogram, prometheus::Error> {
    let histogram = Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets))?;
    registry.register(Box::new(histogram.clone()))?;
    Ok(histogram)
}
