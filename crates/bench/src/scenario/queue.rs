//! The server's one queue: filled, paused and looked at from outside.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use steadfast_client::Client;
use steadfast_domain::QueueName;
use steadfast_wire::{QueueDepth, QueueDocument};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::contestant::Running;
use crate::error::BenchError;
use crate::load::{Connection, Request};

/// How often a count is looked at: the error of a time that ends with one.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// How long a queue may take to get where it is waited for.
const PATIENCE: Duration = Duration::from_secs(30 * 60);
/// Jobs in one request that fills a queue, the most a batch may have.
pub(super) const BATCH: u64 = 1_000;
/// Requests that fill a queue at once: enough to keep the writer busy.
const FILLERS: usize = 4;

/// The queue `default` of a server.
#[derive(Debug)]
pub(super) struct Queue {
    client: Client,
    name: QueueName,
    address: SocketAddr,
}

impl Queue {
    /// The queue of this server.
    pub(super) fn of(server: &Running) -> Result<Self, BenchError> {
        let (name, address) = (QueueName::default_queue(), server.target().address);
        Ok(Self { client: server.client()?, name, address })
    }

    /// Stops claims.
    pub(super) async fn pause(&self) -> Result<(), BenchError> {
        self.steer("pause").await
    }

    /// Lets claims go on.
    pub(super) async fn resume(&self) -> Result<(), BenchError> {
        self.steer("resume").await
    }

    async fn steer(&self, verb: &str) -> Result<(), BenchError> {
        let mut request = Request::post(&format!("/v1/queues/default/{verb}"), "");
        // A connection of its own: the server closes one that was idle while the queue was filled.
        let mut connection = Connection::open(self.address).await.map_err(BenchError::io(verb))?;
        match connection.exchange(request.next()).await.map_err(BenchError::io(verb))? {
            200 => Ok(()),
            status => Err(BenchError::invalid(verb, format!("an answer {status}"))),
        }
    }

    /// How it is now.
    pub(super) async fn look(&self) -> Result<QueueDocument, BenchError> {
        Ok(self.client.queue(&self.name).await?)
    }

    /// Waits until the counts are as wanted; returns them and when they were.
    pub(super) async fn until(
        &self,
        wanted: impl Fn(&QueueDepth) -> bool,
    ) -> Result<(QueueDepth, Instant), BenchError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let depth = self.look().await?.depth;
            let now = Instant::now();
            if wanted(&depth) {
                return Ok((depth, now));
            }
            if now > deadline {
                return Err(BenchError::invalid("the queue", format!("still {depth:?}")));
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until no job waits or runs; returns when that was.
    pub(super) async fn until_done(&self) -> Result<Instant, BenchError> {
        let done = |depth: &QueueDepth| depth.queued + depth.processing + depth.retryable == 0;
        Ok(self.until(done).await?.1)
    }
}

/// Submits `jobs` jobs with this body, rounded up to full batches.
pub(super) async fn fill(server: &Running, body: &str, jobs: u64) -> Result<(), BenchError> {
    let list = vec![body; BATCH as usize].join(",");
    let request = Request::post("/v1/jobs/batch", &format!("{{\"jobs\":[{list}]}}"));
    let (next, batches) = (Arc::new(AtomicU64::new(0)), jobs.div_ceil(BATCH));
    let mut fillers = JoinSet::new();
    for _ in 0..FILLERS {
        let (next, mut request, address) = (Arc::clone(&next), request.clone(), server.target().address);
        fillers.spawn(async move {
            let mut connection = Connection::open(address).await.map_err(BenchError::io("filling"))?;
            while next.fetch_add(1, Ordering::Relaxed) < batches {
                let status = connection.exchange(request.next()).await.map_err(BenchError::io("filling"))?;
                if status != 202 {
                    let answer = String::from_utf8_lossy(connection.body()).into_owned();
                    return Err(BenchError::invalid("filling", answer));
                }
            }
            Ok(())
        });
    }
    while let Some(ended) = fillers.join_next().await {
        ended.map_err(|error| BenchError::invalid("filling", error.to_string()))??;
    }
    Ok(())
}
