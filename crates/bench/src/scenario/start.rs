//! How soon a server is ready on a store with a long history.

use std::fs;
use std::path::Path;
use std::time::Duration;

use steadfast_testkit::harness::Signal;

use super::queue::{Queue, fill};
use super::submit::{ACCEPTED, PATH, keeping_all, roomy};
use super::{Bench, body};
use crate::contestant::{Contestant, Running};
use crate::error::BenchError;
use crate::load::Request;
use crate::load::closed::{self, Closed};
use crate::report::{Findings, log};
use crate::rounds::{Goal, Unit};

const CLEAN: Goal = Goal { what: "start after a clean stop", unit: Unit::Seconds, at_least: 1.0, aim: 0.3 };
const KILLED: Goal = Goal { what: "start after SIGKILL", unit: Unit::Seconds, at_least: 1.0, aim: 0.3 };

const SCENARIO: &str = "start";
const CONNECTIONS: usize = 64;
/// Says that a store is filled, so that another run may use it.
const FILLED: &str = "filled";
/// Submits before each kill, so that the log it leaves is not empty.
const BEFORE_KILL: Duration = Duration::from_millis(200);

/// What is in the store.
#[derive(Debug, Clone, Copy)]
struct Size {
    queued: u64,
    terminal: u64,
    /// Of the terminal ones, those with an `Idempotency-Key`.
    keyed: u64,
}

const SOME: Size = Size { queued: 100_000, terminal: 500_000, keyed: 100_000 };
const FULL: Size = Size { queued: 1_000_000, terminal: 5_000_000, keyed: 1_000_000 };

/// Adds the figures of all rounds.
pub(crate) async fn measure(
    bench: &Bench<'_>,
    full: bool,
    findings: &mut Findings,
) -> Result<(), BenchError> {
    let size = if full { FULL } else { SOME };
    let Size { queued, terminal, keyed } = size;
    let when = format!("{queued} queued, {terminal} terminal, {keyed} of them keyed");
    let dir = bench.place.dir.join(format!("steadfast-bench-start-{terminal}"));
    if !dir.join(FILLED).exists() {
        log(&format!("{SCENARIO}: filling {} with {when}", dir.display()));
        fill_store(bench, &dir, size).await?;
    }
    for _ in bench.rounds(SCENARIO) {
        let mut server = contestant().start_in(&bench.place, &dir).await?;
        findings.row(CLEAN, &when, server.ready_after.as_secs_f64());
        submit_for(&server, BEFORE_KILL).await?;
        server.end(Signal::KILL).await?;
        let mut server = contestant().start_in(&bench.place, &dir).await?;
        findings.row(KILLED, &when, server.ready_after.as_secs_f64());
        server.stop().await?;
    }
    Ok(())
}

fn contestant() -> Contestant {
    keeping_all(roomy(Contestant::sqlite()))
}

/// Fills a store in `dir`, which is kept: filling a large one takes minutes.
async fn fill_store(bench: &Bench<'_>, dir: &Path, size: Size) -> Result<(), BenchError> {
    let failed = || BenchError::io(dir.display().to_string());
    if dir.exists() {
        fs::remove_dir_all(dir).map_err(failed())?;
    }
    fs::create_dir_all(dir).map_err(failed())?;
    let mut server = contestant().start_in(&bench.place, dir).await?;
    let queue = Queue::of(&server)?;
    let keyed = Request::post_keyed(PATH, body::NOW);
    while queue.look().await?.depth.completed < size.keyed {
        submit(&server, &keyed, Duration::from_secs(1)).await?;
        queue.until_done().await?;
    }
    let unkeyed = size.terminal.saturating_sub(queue.look().await?.depth.completed);
    fill(&server, body::NOW, unkeyed).await?;
    queue.until_done().await?;
    queue.pause().await?;
    fill(&server, body::NOW, size.queued).await?;
    server.stop().await?;
    fs::write(dir.join(FILLED), "").map_err(failed())
}

/// Jobs for later: they are neither queued nor terminal.
async fn submit_for(server: &Running, time: Duration) -> Result<(), BenchError> {
    submit(server, &Request::post(PATH, body::LATER), time).await
}

async fn submit(server: &Running, request: &Request, time: Duration) -> Result<(), BenchError> {
    let closed = Closed { connections: CONNECTIONS, warm_up: Duration::ZERO, measure: time };
    let found = closed::run(server.target(), request, &[ACCEPTED], closed).await?;
    found.with_only(SCENARIO, &[ACCEPTED]).map(|_| ())
}
