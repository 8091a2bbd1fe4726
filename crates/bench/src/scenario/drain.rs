//! How long a stop takes, from SIGTERM to the end of the process.

use tokio::task::JoinSet;

use super::Bench;
use super::queue::{BATCH, Queue, fill};
use super::submit::{PATH, roomy};
use crate::contestant::Contestant;
use crate::error::BenchError;
use crate::load::{Connection, Request, Target};
use crate::report::Findings;
use crate::rounds::{Goal, Unit};

const IDLE: Goal =
    Goal { what: "SIGTERM to exit, idle", unit: Unit::Milliseconds, at_least: 100.0, aim: 20.0 };

const SCENARIO: &str = "drain";
/// Jobs that run when a busy server is stopped, and how long each takes: they end in the graceful time.
const RUNNING: u64 = 32;
const JOB: &str = r#"{"kind":"sleep","payload":{"ms":200}}"#;
const CONNECTIONS: usize = 64;
const BUSY: &str = "64 connections submit, 32 jobs of 200 ms run";

/// Adds the figures of all rounds.
pub(crate) async fn measure(bench: &Bench<'_>, findings: &mut Findings) -> Result<(), BenchError> {
    for _ in bench.rounds(SCENARIO) {
        let mut idle = roomy(Contestant::sqlite()).start(&bench.place).await?;
        let idle_ms = idle.stop().await?.as_secs_f64() * 1e3;
        findings.row(IDLE, "", idle_ms);
        findings.note(SCENARIO, "idle", "exit after ms", idle_ms);
        findings.note(SCENARIO, BUSY, "exit after ms", busy(bench).await?);
    }
    Ok(())
}

async fn busy(bench: &Bench<'_>) -> Result<f64, BenchError> {
    let mut server = roomy(Contestant::sqlite()).flag("--concurrency", RUNNING).start(&bench.place).await?;
    let queue = Queue::of(&server)?;
    fill(&server, JOB, BATCH).await?;
    let mut submitters = JoinSet::new();
    for _ in 0..CONNECTIONS {
        submitters.spawn(submit_until_gone(server.target()));
    }
    queue.until(|depth| depth.processing == RUNNING).await?;
    let took = server.stop().await?;
    submitters.shutdown().await;
    Ok(took.as_secs_f64() * 1e3)
}

/// Submits, whatever the answers are, until the server is not there any more.
async fn submit_until_gone(target: Target) {
    let mut request = Request::post(PATH, JOB);
    let Ok(mut connection) = Connection::open(target.address).await else { return };
    while connection.exchange(request.next()).await.is_ok() {}
}
