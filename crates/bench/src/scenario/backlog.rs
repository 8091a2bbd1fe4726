//! What a long queue costs: submits, claims and memory, with many jobs queued and with few.

use std::path::Path;

use tempfile::TempDir;
use tokio::time::Instant;

use super::queue::{BATCH, Queue, fill};
use super::submit::{ACCEPTED, PATH, roomy};
use super::{Bench, body};
use crate::contestant::{Contestant, Running};
use crate::error::BenchError;
use crate::load::Request;
use crate::load::closed::{self, Closed};
use crate::process::resident_bytes;
use crate::report::Findings;
use crate::rounds::{Goal, Unit};

const SUBMITS: Goal =
    Goal { what: "submits behind many queued jobs / few", unit: Unit::Ratio, at_least: 0.90, aim: 1.0 };
const CLAIMS: Goal = Goal {
    what: "jobs claimed, run and settled from many queued ones / few",
    unit: Unit::Ratio,
    at_least: 0.90,
    aim: 1.0,
};
const MEMORY: Goal = Goal {
    what: "memory for each queued job beyond its payload, which is on disk",
    unit: Unit::Bytes,
    at_least: 200.0,
    aim: 100.0,
};

const SCENARIO: &str = "backlog";
/// A short queue, and a long one without and with `--full`.
const FEW: u64 = BATCH;
const MANY: u64 = 100_000;
const MANY_FULL: u64 = 1_000_000;
/// Jobs run to time the claims. Both queues have so many more at the beginning.
const CLAIMED: u64 = 50_000;
const CONNECTIONS: usize = 64;

/// Adds the figures of all rounds.
pub(crate) async fn measure(
    bench: &Bench<'_>,
    full: bool,
    findings: &mut Findings,
) -> Result<(), BenchError> {
    let many = if full { MANY_FULL } else { MANY };
    let stores = [stored(bench, FEW).await?, stored(bench, many).await?];
    let grown = stores[1].resident.saturating_sub(stores[0].resident) as f64;
    findings.single_row(MEMORY, &format!("{many} queued"), grown / (many - FEW) as f64);
    let reopened = [reopened_bytes(bench, &stores[0]).await?, reopened_bytes(bench, &stores[1]).await?];
    let grown = reopened[1].saturating_sub(reopened[0]) as f64;
    findings.single_row(MEMORY, &format!("{many} queued, after a restart"), grown / (many - FEW) as f64);
    for round in bench.rounds(SCENARIO) {
        let order = if round % 2 == 1 { [0, 1] } else { [1, 0] };
        let (mut submits, mut claims) = ([0.0; 2], [0.0; 2]);
        for at in order {
            submits[at] = submit_rate(bench, findings, &stores[at]).await?;
            claims[at] = claim_rate(bench, findings, &stores[at]).await?;
        }
        let when = format!("{many} and {FEW}");
        findings.row(SUBMITS, &when, submits[1] / submits[0]);
        findings.row(CLAIMS, &when, claims[1] / claims[0]);
    }
    Ok(())
}

/// A closed store with queued jobs, of which each measurement takes a copy. Its queue is paused.
struct Stored {
    dir: TempDir,
    jobs: u64,
    /// Bytes in memory of the server that took them.
    resident: u64,
}

async fn stored(bench: &Bench<'_>, jobs: u64) -> Result<Stored, BenchError> {
    let dir = TempDir::new_in(&bench.place.dir).map_err(BenchError::io("a directory for a store"))?;
    let mut server = contestant().start_in(&bench.place, dir.path()).await?;
    Queue::of(&server)?.pause().await?;
    fill(&server, body::NOW, jobs).await?;
    let resident = resident_bytes(server.target().process)?;
    server.stop().await?;
    Ok(Stored { dir, jobs, resident })
}

fn contestant() -> Contestant {
    roomy(Contestant::sqlite())
}

async fn reopened_bytes(bench: &Bench<'_>, stored: &Stored) -> Result<u64, BenchError> {
    let server = contestant().start_in(&bench.place, stored.dir.path()).await?;
    resident_bytes(server.target().process)
}

/// A server on a copy of a store, its queue still paused.
async fn on_a_copy(bench: &Bench<'_>, stored: &Stored) -> Result<(Running, TempDir), BenchError> {
    let dir = TempDir::new_in(&bench.place.dir).map_err(BenchError::io("a directory for a store"))?;
    copy(stored.dir.path(), dir.path()).map_err(BenchError::io("copying a store"))?;
    let server = contestant().start_in(&bench.place, dir.path()).await?;
    let queue = Queue::of(&server)?;
    if !queue.look().await?.paused {
        queue.pause().await?;
    }
    Ok((server, dir))
}

/// Copies the files of a closed store, and syncs them so that writing them back disturbs nothing.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    for file in std::fs::read_dir(from)? {
        let file = file?;
        let copy = to.join(file.file_name());
        std::fs::copy(file.path(), &copy)?;
        std::fs::File::open(copy)?.sync_all()?;
    }
    Ok(())
}

async fn submit_rate(bench: &Bench<'_>, findings: &mut Findings, stored: &Stored) -> Result<f64, BenchError> {
    let what = format!("submits, {} queued", stored.jobs);
    let (server, _dir) = on_a_copy(bench, stored).await?;
    let (warm_up, measure) = (bench.options.warm_up(), bench.options.seconds);
    let closed = Closed { connections: CONNECTIONS, warm_up, measure };
    let request = Request::post(PATH, body::NOW);
    let found = closed::run(server.target(), &request, &[ACCEPTED], closed).await?;
    let found = found.with_only(&what, &[ACCEPTED])?;
    findings.measured(SCENARIO, &what, ACCEPTED, &found);
    Ok(found.rate(ACCEPTED))
}

async fn claim_rate(bench: &Bench<'_>, findings: &mut Findings, stored: &Stored) -> Result<f64, BenchError> {
    let (server, _dir) = on_a_copy(bench, stored).await?;
    fill(&server, body::NOW, CLAIMED).await?;
    let queue = Queue::of(&server)?;
    let begun = Instant::now();
    queue.resume().await?;
    let (depth, now) = queue.until(|depth| depth.completed >= CLAIMED).await?;
    let rate = depth.completed as f64 / (now - begun).as_secs_f64();
    findings.note(SCENARIO, &format!("claims, {} queued", stored.jobs), "answers/s", rate);
    Ok(rate)
}
