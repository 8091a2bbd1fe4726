//! Jobs on PostgreSQL in this process, without HTTP and without handlers: the same callers, on Steadfast's store
//! and on statements written for the purpose.
//!
//! ```text
//!   callers, one job at a time each ──▶ submit ─┐
//!                                        Jobs ──┤ Steadfast's store, or the raw ceiling
//!   one claims ──▶ batches ──▶ one settles ─────┘
//! ```

mod raw;
mod stored;

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

pub(crate) use raw::Raw;
pub(crate) use stored::Stored;

use crate::error::BenchError;
use crate::load::{Measured, Tally};
use crate::process::Usage;

/// Jobs of one claim.
pub(crate) const CLAIM: usize = 512;
/// What a submit that was durable is counted as: nothing else is, here.
pub(crate) const DONE: u16 = 202;
/// Claims that wait to be settled.
const CLAIMS_MAX: usize = 4;
/// Before the next claim, when there was nothing.
const POLL_EVERY: Duration = Duration::from_millis(1);
/// How long the jobs that were submitted may take to be settled.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where jobs are: what is measured.
pub(crate) trait Jobs: Send + Sync + 'static {
    type Claim: Send + 'static;

    /// One new job that is ready at once. Durable when it returns.
    fn submit(&self) -> impl Future<Output = Result<(), BenchError>> + Send;

    /// At most [`CLAIM`] ready jobs.
    fn claim(&self) -> impl Future<Output = Result<Vec<Self::Claim>, BenchError>> + Send;

    /// They have completed. Durable when it returns.
    fn settle(&self, claims: Vec<Self::Claim>) -> impl Future<Output = Result<(), BenchError>> + Send;

    /// Ends its connections.
    fn close(&self) -> impl Future<Output = Result<(), BenchError>> + Send;
}

/// How long callers submit, and how many of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) callers: usize,
    pub(crate) warm_up: Duration,
    pub(crate) measure: Duration,
}

/// Runs it on threads of its own, one for each core, as a server does: this program's own load has one thread.
pub(crate) async fn on_all_cores<T: Send + 'static>(
    work: impl Future<Output = Result<T, BenchError>> + Send + 'static,
) -> Result<T, BenchError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(BenchError::io("threads"))?;
    let done = runtime.spawn(work).await;
    runtime.shutdown_background();
    done.unwrap_or_else(|error| Err(BenchError::invalid("in process", error.to_string())))
}

/// Submits alone: nobody claims the jobs.
pub(crate) async fn submits<J: Jobs>(jobs: &Arc<J>, load: Load) -> Result<Measured, BenchError> {
    submit_for(jobs, load.callers, load.warm_up).await?;
    submit_for(jobs, load.callers, load.measure).await
}

/// Submits, while one claims and one settles. Its time is until the last job has been settled, so that submits
/// which outrun the rest gain nothing.
pub(crate) async fn cycles<J: Jobs>(jobs: &Arc<J>, load: Load) -> Result<Measured, BenchError> {
    let (settled, mut seen) = watch::channel(0);
    let (sender, receiver) = mpsc::channel(CLAIMS_MAX);
    let mut workers = JoinSet::new();
    workers.spawn(claim_on(Arc::clone(jobs), sender));
    workers.spawn(settle_on(Arc::clone(jobs), receiver, settled));
    let measured = async {
        let warm = submit_for(jobs, load.callers, load.warm_up).await?.tally.total();
        until_settled(&mut seen, warm).await?;
        let (begun, usage) = (Instant::now(), usage()?);
        let found = submit_for(jobs, load.callers, load.measure).await?;
        until_settled(&mut seen, warm + found.tally.total()).await?;
        Ok(Measured { time: begun.elapsed(), usage: self::usage()?.since(usage), ..found })
    };
    tokio::select! {
        measured = measured => measured,
        Some(ended) = workers.join_next() => match ended {
            Ok(Err(error)) => Err(error),
            Err(error) => Err(BenchError::invalid("cycles", error.to_string())),
        },
    }
}

/// Each caller submits its next job when the one before is durable. All of them are counted, and so is the time
/// until the last one.
async fn submit_for<J: Jobs>(jobs: &Arc<J>, callers: usize, time: Duration) -> Result<Measured, BenchError> {
    let tally = Arc::new(Mutex::new(Tally::default()));
    let (begun, usage) = (Instant::now(), usage()?);
    let until = begun + time;
    let mut calling = JoinSet::new();
    for _ in 0..callers {
        let (jobs, tally) = (Arc::clone(jobs), Arc::clone(&tally));
        calling.spawn(async move {
            let mut sent = Instant::now();
            while sent < until {
                jobs.submit().await?;
                let done = Instant::now();
                tally.lock().record(DONE, done - sent);
                sent = done;
            }
            Ok(())
        });
    }
    while let Some(ended) = calling.join_next().await {
        ended.unwrap_or_else(|error| Err(BenchError::invalid("submits", error.to_string())))?;
    }
    let (time, usage) = (begun.elapsed(), self::usage()?.since(usage));
    let tally = std::mem::take(&mut *tally.lock());
    Ok(Measured { time, tally, usage, unanswered: 0 })
}

async fn claim_on<J: Jobs>(
    jobs: Arc<J>,
    batches: mpsc::Sender<Vec<J::Claim>>,
) -> Result<Infallible, BenchError> {
    loop {
        let claims = jobs.claim().await?;
        if claims.is_empty() {
            sleep(POLL_EVERY).await;
        } else if batches.send(claims).await.is_err() {
            return Err(BenchError::invalid("claims", "nobody settles them"));
        }
    }
}

async fn settle_on<J: Jobs>(
    jobs: Arc<J>,
    mut batches: mpsc::Receiver<Vec<J::Claim>>,
    settled: watch::Sender<u64>,
) -> Result<Infallible, BenchError> {
    while let Some(claims) = batches.recv().await {
        let count = claims.len() as u64;
        jobs.settle(claims).await?;
        settled.send_modify(|settled| *settled += count);
    }
    Err(BenchError::invalid("settlements", "nobody claims"))
}

async fn until_settled(seen: &mut watch::Receiver<u64>, jobs: u64) -> Result<(), BenchError> {
    match timeout(PATIENCE, seen.wait_for(|settled| *settled >= jobs)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) => Err(BenchError::invalid("cycles", "nobody settles")),
        Err(_) => Err(BenchError::invalid("cycles", format!("not all of {jobs} jobs were settled"))),
    }
}

/// What this process has used: whoever submits, claims and settles, and the client's side of the database.
fn usage() -> Result<Usage, BenchError> {
    Usage::of(std::process::id())
}
