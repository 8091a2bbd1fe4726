//! How fast remote workers get through a full queue, beside the server's own.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::queue::{Queue, fill};
use super::submit::roomy;
use super::{Bench, body};
use crate::contestant::{Contestant, Running};
use crate::error::BenchError;
use crate::load::{Connection, Request};
use crate::process::Usage;
use crate::report::Findings;

const SCENARIO: &str = "pull";
/// Jobs that are there before the first is taken.
const JOBS: u64 = 30_000;
/// Workers, each with one connection and at most one request on its way.
const WORKERS: usize = 16;
/// Jobs in one request, to take and to settle them.
const BATCHES: [usize; 3] = [1, 10, 100];
const PULLED: &str = "[queues.default]\nmode = \"pull\"\n";

/// Adds the figures of all rounds.
pub(crate) async fn measure(bench: &Bench<'_>, findings: &mut Findings) -> Result<(), BenchError> {
    for _ in bench.rounds(SCENARIO) {
        own_workers(bench, findings).await?;
        for batch in BATCHES {
            remote_workers(bench, findings, batch).await?;
        }
    }
    Ok(())
}

/// The server's own workers: the queue is paused while it is filled.
async fn own_workers(bench: &Bench<'_>, findings: &mut Findings) -> Result<(), BenchError> {
    let server = roomy(Contestant::sqlite()).start(&bench.place).await?;
    let queue = Queue::of(&server)?;
    queue.pause().await?;
    fill(&server, body::NOW, JOBS).await?;
    let (begun, usage) = (Instant::now(), Usage::of(server.target().process)?);
    queue.resume().await?;
    let took = queue.until_done().await? - begun;
    note(findings, &server, "the server's own workers", took, usage)
}

async fn remote_workers(bench: &Bench<'_>, findings: &mut Findings, batch: usize) -> Result<(), BenchError> {
    let server = roomy(Contestant::sqlite()).settings(PULLED).start(&bench.place).await?;
    fill(&server, body::NOW, JOBS).await?;
    let (begun, usage) = (Instant::now(), Usage::of(server.target().process)?);
    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        workers.spawn(work(server.target().address, batch));
    }
    let mut settled = 0;
    while let Some(ended) = workers.join_next().await {
        settled += ended.map_err(|error| BenchError::invalid(SCENARIO, error.to_string()))??;
    }
    let took = begun.elapsed();
    if settled != JOBS {
        return Err(BenchError::invalid(SCENARIO, format!("{settled} of {JOBS} jobs were settled")));
    }
    note(findings, &server, &format!("{WORKERS} remote workers, {batch} jobs in a request"), took, usage)
}

fn note(
    findings: &mut Findings,
    server: &Running,
    what: &str,
    took: Duration,
    before: Usage,
) -> Result<(), BenchError> {
    let usage = Usage::of(server.target().process)?.since(before);
    findings.note(SCENARIO, what, "jobs/s", JOBS as f64 / took.as_secs_f64());
    findings.note(SCENARIO, what, "CPU us each", usage.cpu.as_secs_f64() * 1e6 / JOBS as f64);
    Ok(())
}

/// What a worker reads of an answer with leases.
#[derive(Deserialize)]
struct Taken {
    leases: Vec<Lease>,
}

#[derive(Deserialize)]
struct Lease {
    lease: String,
}

/// Takes and settles jobs until there are none; returns how many.
async fn work(address: SocketAddr, batch: usize) -> Result<u64, BenchError> {
    let failed = || BenchError::io("a worker");
    let mut connection = Connection::open(address).await.map_err(failed())?;
    let mut take = Request::post("/v1/leases", &json!({"worker": "bench", "limit": batch}).to_string());
    let mut settled = 0;
    loop {
        expect_ok(connection.exchange(take.next()).await.map_err(failed())?)?;
        let taken: Taken = serde_json::from_slice(connection.body())
            .map_err(|error| BenchError::invalid(SCENARIO, error.to_string()))?;
        if taken.leases.is_empty() {
            return Ok(settled);
        }
        settled += taken.leases.len() as u64;
        expect_ok(connection.exchange(completing(&taken.leases).next()).await.map_err(failed())?)?;
    }
}

/// One lease by its own route, several together.
fn completing(leases: &[Lease]) -> Request {
    match leases {
        [one] => Request::post(&format!("/v1/leases/{}/complete", one.lease), "{}"),
        several => {
            let complete = |lease: &Lease| json!({"lease": lease.lease, "complete": {}});
            let settlements: Vec<_> = several.iter().map(complete).collect();
            Request::post("/v1/leases/settle", &json!({"settlements": settlements}).to_string())
        }
    }
}

fn expect_ok(status: u16) -> Result<(), BenchError> {
    match status {
        200 => Ok(()),
        status => Err(BenchError::invalid(SCENARIO, format!("an answer {status}"))),
    }
}
