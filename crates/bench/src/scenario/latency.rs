//! How soon an idle server starts a job.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::submit::{ACCEPTED, PATH, roomy};
use super::{Bench, body};
use crate::contestant::Contestant;
use crate::error::BenchError;
use crate::load::{Connection, Request, Tally};
use crate::report::Findings;
use crate::rounds::{Goal, Unit};

const MEDIAN: Goal =
    Goal { what: "queued to started, idle server, p50", unit: Unit::Milliseconds, at_least: 1.0, aim: 0.2 };
const P99: Goal =
    Goal { what: "queued to started, idle server, p99", unit: Unit::Milliseconds, at_least: 5.0, aim: 1.0 };

const SCENARIO: &str = "latency";
const COMPLETED: u16 = 200;
/// Jobs of each kind in a round.
const JOBS: usize = 300;
/// The server rests so long before each job.
const REST: Duration = Duration::from_millis(3);

/// Adds the figures of all rounds.
///
/// A job document has its times in milliseconds, too coarse for this. So it is measured from outside, from
/// above: the round trip of a submit that waits for the job's end, less the median one of a submit of a job
/// that does not run. Beyond the time from queued to started that has the handler's run, the settlement with
/// its commit, and the waking of the waiting answer in it.
pub(crate) async fn measure(bench: &Bench<'_>, findings: &mut Findings) -> Result<(), BenchError> {
    for _ in bench.rounds(SCENARIO) {
        let server = roomy(Contestant::sqlite()).start(&bench.place).await?;
        let connection = Connection::open(server.target().address).await;
        let mut connection = connection.map_err(BenchError::io("a connection"))?;
        let mut later = Request::post(PATH, body::LATER);
        let mut wait = Request::post_waiting(PATH, body::NOW);
        let mut tally = Tally::default();
        for _ in 0..JOBS {
            round_trip(&mut connection, &mut later, ACCEPTED, &mut tally).await?;
            round_trip(&mut connection, &mut wait, COMPLETED, &mut tally).await?;
        }
        let ms = |status, quantile| tally.latency(status, quantile).unwrap_or_default().as_secs_f64() * 1e3;
        let submit = ms(ACCEPTED, 0.5);
        findings.row(MEDIAN, "at most", ms(COMPLETED, 0.5) - submit);
        findings.row(P99, "at most", ms(COMPLETED, 0.99) - submit);
        for (what, status) in [("submit", ACCEPTED), ("submit and wait for the end", COMPLETED)] {
            findings.note(SCENARIO, what, "p50 ms", ms(status, 0.5));
            findings.note(SCENARIO, what, "p99 ms", ms(status, 0.99));
        }
    }
    Ok(())
}

async fn round_trip(
    connection: &mut Connection,
    request: &mut Request,
    expected: u16,
    tally: &mut Tally,
) -> Result<(), BenchError> {
    sleep(REST).await;
    let sent = Instant::now();
    let status = connection.exchange(request.next()).await.map_err(BenchError::io("one submit"))?;
    tally.record(status, sent.elapsed());
    if status == expected {
        return Ok(());
    }
    let answer = String::from_utf8_lossy(connection.body()).into_owned();
    Err(BenchError::invalid(SCENARIO, format!("an answer {status}: {answer}")))
}
