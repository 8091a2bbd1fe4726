//! What it costs to look after a server: its tokens checked, its metrics scraped, its log on.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::Bench;
use super::submit::{ACCEPTED, PATH, roomy};
use super::{baseline, body};
use crate::contestant::{Contestant, Running};
use crate::error::BenchError;
use crate::load::closed::{self, Closed};
use crate::load::{Connection, Request};
use crate::report::Findings;
use crate::rounds::{Goal, Unit};

const SUBMITS: Goal = Goal {
    what: "durable submits with tokens, metrics and logs / without",
    unit: Unit::Ratio,
    at_least: 0.95,
    aim: 1.00,
};

const SCENARIO: &str = "watched";
/// How often a Prometheus that is in a hurry scrapes.
const SCRAPE_EVERY: Duration = Duration::from_secs(1);
/// Of a scrape.
const OK: u16 = 200;

/// Adds the figures of all rounds, and the interval that has the median of the ratio with 95% confidence. What is not looked
/// after is `baseline`, if there is one: another build.
pub(crate) async fn measure(
    bench: &Bench<'_>,
    baseline: Option<&Path>,
    findings: &mut Findings,
) -> Result<(), BenchError> {
    let watched = roomy(Contestant::sqlite()).named("watched").with_token();
    // The start is said on the targets that are left: without it nobody knows that the server is ready.
    let unwatched = roomy(Contestant::sqlite())
        .named("unwatched")
        .flag("--log", "steadfast::server=info,steadfast::front=info");
    let unwatched = match baseline {
        Some(program) => unwatched.program(absolute(program)?),
        None => unwatched,
    };
    let mut ratios = Vec::new();
    for round in bench.rounds(SCENARIO) {
        for &connections in &bench.options.connections {
            let mut rates = [0.0; 2];
            let order = if round % 2 == 1 { [0, 1] } else { [1, 0] };
            for at in order {
                rates[at] = submits(bench, findings, [&watched, &unwatched][at], connections).await?;
            }
            findings.row(SUBMITS, &format!("{connections} connections"), rates[0] / rates[1]);
            ratios.push(rates[0] / rates[1]);
        }
    }
    baseline::note_interval(SCENARIO, SUBMITS, &ratios, findings);
    Ok(())
}

fn absolute(program: &Path) -> Result<PathBuf, BenchError> {
    program.canonicalize().map_err(BenchError::io(program.display().to_string()))
}

/// Submits in a second of jobs that do not run. A server that wants a token is scraped, too.
async fn submits(
    bench: &Bench<'_>,
    findings: &mut Findings,
    contestant: &Contestant,
    connections: usize,
) -> Result<f64, BenchError> {
    let what = format!("{}, {connections} connections", contestant.name);
    let server = contestant.start(&bench.place).await?;
    let closed = Closed { connections, warm_up: bench.options.warm_up(), measure: bench.options.seconds };
    let request = Request::post(PATH, body::LATER).with_token(server.token());
    let load = closed::run(server.target(), &request, &[ACCEPTED], closed);
    let found = if server.token().is_some() {
        tokio::select! {
            found = load => found,
            Err(error) = scrape(&server) => Err(error),
        }
    } else {
        load.await
    };
    let found = found?.with_only(&what, &[ACCEPTED])?;
    findings.measured(SCENARIO, &what, ACCEPTED, &found);
    Ok(found.rate(ACCEPTED))
}

/// Scrapes again and again; ends only when that fails.
async fn scrape(server: &Running) -> Result<(), BenchError> {
    let failed = || BenchError::io("a scrape");
    let mut request = Request::get("/metrics").with_token(server.token());
    let mut connection = Connection::open(server.target().address).await.map_err(failed())?;
    let mut due = interval(SCRAPE_EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        due.tick().await;
        let status = connection.exchange(request.next()).await.map_err(failed())?;
        if status != OK {
            return Err(BenchError::invalid("a scrape", format!("status {status}")));
        }
    }
}
