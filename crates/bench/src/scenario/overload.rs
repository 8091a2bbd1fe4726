//! What a server does that is offered more than it can do.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Bench;
use super::queue::Queue;
use super::submit::{ACCEPTED, PATH};
use crate::contestant::Contestant;
use crate::error::BenchError;
use crate::load::Request;
use crate::load::open::{self, Open};
use crate::report::Findings;
use crate::rounds::{Goal, Unit};

const GOODPUT: Goal = Goal {
    what: "jobs completed at 10x the capacity offered / the most at 1x, 2x or 10x",
    unit: Unit::Ratio,
    at_least: 0.90,
    aim: 0.98,
};
const REFUSAL: Goal =
    Goal { what: "p99 of a refusal at 10x", unit: Unit::Milliseconds, at_least: 10.0, aim: 2.0 };

const SCENARIO: &str = "overload";
const REFUSED: u16 = 429;
const JOB: &str = r#"{"kind":"sleep","payload":{"ms":10}}"#;
const CONCURRENCY: u32 = 32;
/// What 32 jobs of 10 ms at once could do at best. Timers and commits take their time too, so that at this
/// load the pool never waits for a job.
const CAPACITY_PER_SECOND: f64 = 3_200.0;
/// Jobs that may wait or run: a third of a second's.
const CAPACITY: u32 = 1_000;
const CONNECTIONS: usize = 256;
const MOST: f64 = 10.0;
const FACTORS: [f64; 3] = [1.0, 2.0, MOST];

/// Adds the figures of all rounds.
pub(crate) async fn measure(bench: &Bench<'_>, findings: &mut Findings) -> Result<(), BenchError> {
    for round in bench.rounds(SCENARIO) {
        let mut factors = FACTORS;
        if round.is_multiple_of(2) {
            factors.reverse();
        }
        let (mut peak, mut at_the_most) = (0.0, 0.0);
        for factor in factors {
            let completed = offered(bench, findings, factor).await?;
            peak = completed.max(peak);
            if factor == MOST {
                at_the_most = completed;
            }
        }
        findings.row(GOODPUT, "", at_the_most / peak);
    }
    Ok(())
}

/// Offers a multiple of the capacity; returns the jobs completed in a second.
async fn offered(bench: &Bench<'_>, findings: &mut Findings, factor: f64) -> Result<f64, BenchError> {
    let what = format!("{factor:.0}x the capacity");
    let server = Contestant::sqlite().flag("--concurrency", CONCURRENCY).flag("--capacity", CAPACITY);
    let server = server.start(&bench.place).await?;
    let queue = Queue::of(&server)?;
    let open = Open {
        rate: factor * CAPACITY_PER_SECOND,
        connections: CONNECTIONS,
        // Long enough for the queue to be full, where it becomes full, before anything counts.
        warm_up: bench.options.warm_up() + Duration::from_millis(500),
        measure: bench.options.seconds,
    };
    let request = Request::post(PATH, JOB);
    let load = open::run(server.target(), &request, &[ACCEPTED, REFUSED], open);
    let (found, completed) = tokio::join!(load, completed_meanwhile(&queue, open));
    let (found, completed) = (found?.with_only(&what, &[ACCEPTED, REFUSED])?, completed?);

    let ms =
        |status| found.tally.latency(status, 0.99).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e3);
    findings.note(SCENARIO, &what, "completed/s", completed);
    findings.note(SCENARIO, &what, "accepted/s", found.rate(ACCEPTED));
    findings.note(SCENARIO, &what, "refused/s", found.rate(REFUSED));
    findings.note(SCENARIO, &what, "acceptance p99 ms", ms(ACCEPTED));
    if found.tally.count(REFUSED) > 0 {
        findings.note(SCENARIO, &what, "refusal p99 ms", ms(REFUSED));
    }
    findings.note(SCENARIO, &what, "CPU us each", found.cpu_us_per_answer());
    if factor == MOST {
        findings.row(REFUSAL, "", ms(REFUSED));
    }
    Ok(completed)
}

/// Jobs completed in a second, over the time that counts.
async fn completed_meanwhile(queue: &Queue, open: Open) -> Result<f64, BenchError> {
    sleep(open.warm_up).await;
    let (before, from) = (queue.look().await?.depth.completed, Instant::now());
    sleep(open.measure).await;
    let (after, time) = (queue.look().await?.depth.completed, from.elapsed());
    Ok((after - before) as f64 / time.as_secs_f64())
}
