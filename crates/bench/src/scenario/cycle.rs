//! What a whole cycle costs: submitted, claimed, run and settled, while submits go on.

use tokio::time::Instant;

use super::queue::Queue;
use super::submit::{ACCEPTED, PATH, SLOW_SYNC, roomy};
use super::{Bench, body};
use crate::contestant::Contestant;
use crate::error::BenchError;
use crate::load::Request;
use crate::load::closed::{self, Closed};
use crate::process::Usage;
use crate::report::Findings;
use crate::rounds::{Goal, Unit};

const OF_SUBMITS: Goal = Goal {
    what: "durable cycles of `echo` jobs / durable submits",
    unit: Unit::Ratio,
    at_least: 0.40,
    aim: 0.55,
};
const OF_SLOW_SUBMITS: Goal =
    Goal { what: "the same two with 1 ms added to each sync", unit: Unit::Ratio, at_least: 0.40, aim: 0.60 };

const SCENARIO: &str = "cycle";

/// Adds the figures of all rounds.
pub(crate) async fn measure(bench: &Bench<'_>, findings: &mut Findings) -> Result<(), BenchError> {
    let disks = [
        (OF_SUBMITS, roomy(Contestant::sqlite())),
        (OF_SLOW_SUBMITS, roomy(Contestant::sqlite()).slow_sync(SLOW_SYNC)),
    ];
    for round in bench.rounds(SCENARIO) {
        for &connections in &bench.options.connections {
            for (goal, contestant) in &disks {
                let (submits, cycles) = if round % 2 == 1 {
                    let submits = submits(bench, findings, contestant, connections).await?;
                    (submits, cycles(bench, findings, contestant, connections).await?)
                } else {
                    let cycles = cycles(bench, findings, contestant, connections).await?;
                    (submits(bench, findings, contestant, connections).await?, cycles)
                };
                findings.row(*goal, &format!("{connections} connections"), cycles / submits);
            }
        }
    }
    Ok(())
}

/// Submits in a second of jobs that do not run.
pub(super) async fn submits(
    bench: &Bench<'_>,
    findings: &mut Findings,
    contestant: &Contestant,
    connections: usize,
) -> Result<f64, BenchError> {
    let what = format!("{}, submits, {connections} connections", contestant.name);
    let server = contestant.start(&bench.place).await?;
    let closed = Closed { connections, warm_up: bench.options.warm_up(), measure: bench.options.seconds };
    let request = Request::post(PATH, body::LATER);
    let found = closed::run(server.target(), &request, &[ACCEPTED], closed).await?;
    let found = found.with_only(&what, &[ACCEPTED])?;
    findings.measured(SCENARIO, &what, ACCEPTED, &found);
    Ok(found.rate(ACCEPTED))
}

/// Cycles in a second: the jobs accepted in the measured time, over the time from its begin until the last
/// of them has completed. Submitting more than is completed gains nothing.
pub(super) async fn cycles(
    bench: &Bench<'_>,
    findings: &mut Findings,
    contestant: &Contestant,
    connections: usize,
) -> Result<f64, BenchError> {
    let what = format!("{}, cycles, {connections} connections", contestant.name);
    let server = contestant.start(&bench.place).await?;
    let (queue, request) = (Queue::of(&server)?, Request::post(PATH, body::NOW));
    let load = |measure| {
        let closed = Closed { connections, warm_up: std::time::Duration::ZERO, measure };
        closed::run(server.target(), &request, &[ACCEPTED], closed)
    };
    load(bench.options.warm_up()).await?.with_only(&what, &[ACCEPTED])?;
    queue.until_done().await?;

    let before = queue.look().await?.depth.completed;
    let (begun, usage) = (Instant::now(), Usage::of(server.target().process)?);
    let mut found = load(bench.options.seconds).await?.with_only(&what, &[ACCEPTED])?;
    found.time = queue.until_done().await? - begun;
    found.usage = Usage::of(server.target().process)?.since(usage);
    let completed = queue.look().await?.depth.completed - before;
    // A closed loop does not count the answers that come after its end, at most one for each connection.
    if completed < found.tally.count(ACCEPTED) {
        return Err(BenchError::invalid(what, format!("only {completed} jobs completed")));
    }
    let rate = completed as f64 / found.time.as_secs_f64();
    findings.measured(SCENARIO, &what, ACCEPTED, &found);
    Ok(rate)
}
