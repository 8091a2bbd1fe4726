//! A remote worker in one call: it takes jobs of pull queues, runs each by an async function, keeps their leases,
//! stops what it may not finish, and says how each ended.
//!
//! ```text
//!            ┌─ polling ──POST /v1/leases──▶ server
//!   Worker::run ── attending: one task a job ──▶ your function, with an Attempt
//!            ├─ renewing ──heartbeats of all leases together
//!            └─ settling ──ends of attempts, as many together as there are
//! ```
//!
//! ```no_run
//! use serde::Deserialize;
//! use steadfast_client::worker::{Attempt, Failure, Finish, Worker, WorkerConfig};
//! use steadfast_client::Client;
//!
//! #[derive(Deserialize)]
//! struct Resize {
//!     image: String,
//!     width: u32,
//! }
//!
//! async fn resize(attempt: Attempt) -> Result<Finish, Failure> {
//!     let Resize { image, width } = attempt.payload()?;
//!     // … the work, with a look at attempt.stop_reason() now and then …
//! #   let _ = (image, width);
//!     Ok(Finish::Completed(None))
//! }
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let config = WorkerConfig { concurrency: 8, kinds: vec!["resize".into()], ..WorkerConfig::new("resizer-1") };
//! let worker = Worker::new(Client::new("http://127.0.0.1:8080")?, config);
//! let report = worker.run(resize, async { drop(tokio::signal::ctrl_c().await) }).await?;
//! println!("{report:?}");
//! # Ok(())
//! # }
//! ```
//!
//! **Fencing.** A worker that could not renew a lease stops the attempt before the lease ends, since from then on
//! another may run the job. Time counts from before a call was sent.

mod attempt;
mod attending;
mod held;
mod polling;
mod renewing;
mod settling;
mod verdict;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use steadfast_domain::limits;
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::{Client, Error};
pub use attempt::{Attempt, CheckpointError, Failure, Finish, Stop};
use held::Held;
use settling::Ending;

/// How long an attempt that was told to stop may take to return before it is cut off. A graceful stop has times of
/// its own.
pub const CANCEL_GRACE: Duration = Duration::from_secs(5);

/// How long a stop waits, at its end, for the server to be told what became of the attempts.
const SETTLE_LIMIT: Duration = Duration::from_secs(5);

/// What a worker takes, and how it stops.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// Its name for itself, shown as `owner` of its jobs: 1 to 255 visible ASCII characters. Two workers may share one.
    pub name: String,
    /// From which pull queues; from all when empty.
    pub queues: Vec<String>,
    /// Which kinds it can run; any when empty.
    pub kinds: Vec<String>,
    /// Jobs at once: 1 to 1,000.
    pub concurrency: usize,
    /// For how long a job stays away from others when this worker dies: 1 s to 1 h.
    pub lease: Duration,
    /// How long one request waits at the server for a job: at most 30 s.
    pub poll: Duration,
    /// In a stop: how long running attempts may go on.
    pub graceful_timeout: Duration,
    /// In a stop: how long they may take, after that, to return when they are told to.
    pub cancel_timeout: Duration,
}

impl WorkerConfig {
    /// One job at a time of any kind and queue, with the times of a server: leases of 30 s, 30 s and 5 s for a stop.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            queues: Vec::new(),
            kinds: Vec::new(),
            concurrency: 1,
            lease: Duration::from_secs(30),
            poll: Duration::from_secs(20),
            graceful_timeout: Duration::from_secs(30),
            cancel_timeout: Duration::from_secs(5),
        }
    }
}

/// What became of the attempts of one [`Worker::run`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WorkReport {
    /// Done.
    pub completed: u64,
    /// Failed, for now or for good.
    pub failed: u64,
    /// Handed back unfinished, or ended because they were cancelled.
    pub released: u64,
    /// Not taken by the server: the lease was over, or nobody could be told in its time. Others run these jobs.
    pub lost: u64,
}

/// Why a worker ended without being asked to. What it held was handed back.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// The configuration is not allowed.
    #[error("{0}")]
    Config(String),
    /// The server refused to give it jobs, and would again: no such queue, say.
    #[error("the server gives no jobs")]
    Refused(#[source] Error),
}

/// Runs jobs of pull queues. See the [module](self).
#[derive(Debug, Clone)]
pub struct Worker {
    client: Client,
    config: WorkerConfig,
}

/// What the parts of one run share.
struct Shared {
    client: Client,
    config: WorkerConfig,
    held: Held,
    /// One permit for each attempt that may run.
    places: Arc<Semaphore>,
    /// There is a lease to be renewed, or a checkpoint to be stored, at once.
    wake_renewing: Notify,
    endings: mpsc::Sender<Ending>,
    stopping: watch::Receiver<Stopping>,
    counts: Counts,
}

/// How far a stop has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stopping {
    /// Not begun.
    No,
    /// No more jobs are taken.
    Quiet,
    /// Attempts are told to return.
    Cancelling,
    /// They are cut off.
    Cut,
}

#[derive(Debug, Default)]
struct Counts {
    completed: AtomicU64,
    failed: AtomicU64,
    released: AtomicU64,
    lost: AtomicU64,
}

impl Worker {
    /// A worker on this server. Nothing is sent yet.
    pub fn new(client: Client, config: WorkerConfig) -> Self {
        Self { client, config }
    }

    /// Runs jobs by `handler` until `stop` is ready; then takes no more, lets those it runs end within the configured
    /// times, hands the rest back, and returns. A server that is away or drains is waited for; so is one that has given
    /// jobs before and now takes the token or shows its certificate no more, since either may be being replaced.
    ///
    /// Execution is at least once: an attempt that is cut off by a crash runs again, so effects should be idempotent,
    /// keyed by the job's id. Panics of `handler` are caught and settled as failed with code `panic`.
    ///
    /// Dropping the future abandons the attempts: their jobs return to the queue when the leases end.
    ///
    /// # Errors
    /// When the configuration is not allowed, or the server refuses to give jobs for a reason that will not pass.
    pub async fn run<H, F>(&self, handler: H, stop: impl Future<Output = ()>) -> Result<WorkReport, WorkError>
    where
        H: Fn(Attempt) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Finish, Failure>> + Send + 'static,
    {
        self.config.check()?;
        let concurrency = self.config.concurrency;
        let (endings, to_settle) = mpsc::channel(concurrency);
        let (stopping_sender, stopping) = watch::channel(Stopping::No);
        let shared = Arc::new(Shared {
            client: self.client.clone(),
            config: self.config.clone(),
            held: Held::default(),
            places: Arc::new(Semaphore::new(concurrency)),
            wake_renewing: Notify::new(),
            endings,
            stopping,
            counts: Counts::default(),
        });
        let mut helpers = JoinSet::new();
        helpers.spawn(renewing::renew(Arc::clone(&shared)));
        helpers.spawn(settling::settle(Arc::clone(&shared), to_settle));

        let mut attempts = JoinSet::new();
        let refused = tokio::select! {
            biased;
            () = stop => None,
            error = polling::poll(&shared, handler, &mut attempts) => Some(error),
        };
        let untold = end(&self.config, &stopping_sender, attempts).await;
        shared.counts.lost.fetch_add(untold, Ordering::Relaxed);
        let report = shared.counts.report();
        refused.map_or(Ok(report), |error| Err(WorkError::Refused(error)))
    }
}

/// The ordered stop: wait, tell, cut, give up. Returns how many ends the server could not be told.
async fn end(config: &WorkerConfig, stopping: &watch::Sender<Stopping>, mut attempts: JoinSet<()>) -> u64 {
    let all_ended = async { while attempts.join_next().await.is_some() {} };
    let steps = async {
        stopping.send_replace(Stopping::Quiet);
        sleep(config.graceful_timeout).await;
        stopping.send_replace(Stopping::Cancelling);
        sleep(config.cancel_timeout).await;
        stopping.send_replace(Stopping::Cut);
        sleep(SETTLE_LIMIT).await;
    };
    tokio::select! {
        biased;
        () = all_ended => {}
        () = steps => {}
    }
    attempts.len() as u64
}

impl Shared {
    /// Waits until a stop has come so far.
    async fn stopped(&self, at_least: Stopping) {
        let mut stopping = self.stopping.clone();
        if stopping.wait_for(|stopping| *stopping >= at_least).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl WorkerConfig {
    fn check(&self) -> Result<(), WorkError> {
        use steadfast_wire::lease::{LEASE_MS_MAX, LEASE_MS_MIN};
        let lease_ms = self.lease.as_millis();
        let fault = if !(1..=limits::LEASES_MAX).contains(&self.concurrency) {
            format!("concurrency {}: must be from 1 to {}", self.concurrency, limits::LEASES_MAX)
        } else if !(u128::from(LEASE_MS_MIN)..=u128::from(LEASE_MS_MAX)).contains(&lease_ms) {
            format!("lease {lease_ms} ms: must be from {LEASE_MS_MIN} to {LEASE_MS_MAX} ms")
        } else if self.poll > limits::WAIT_MAX {
            format!("poll {} ms: must be at most {} ms", self.poll.as_millis(), limits::WAIT_MAX.as_millis())
        } else {
            return Ok(());
        };
        Err(WorkError::Config(fault))
    }
}

impl Counts {
    fn report(&self) -> WorkReport {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        WorkReport {
            completed: count(&self.completed),
            failed: count(&self.failed),
            released: count(&self.released),
            lost: count(&self.lost),
        }
    }
}
