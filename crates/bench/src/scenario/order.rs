//! How long jobs of each priority wait in a flood of another, and how exactly starts keep to the rule.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use steadfast_client::JobFilter;
use steadfast_domain::{JobId, Priority, Timestamp};
use tokio::time::{MissedTickBehavior, interval};

use super::Bench;
use super::database::Database;
use super::queue::{Queue, fill};
use super::submit::{ACCEPTED, PATH, keeping_all, roomy};
use crate::contestant::{Contestant, Running};
use crate::error::BenchError;
use crate::load::open::{self, Open};
use crate::load::{Connection, Request, Target};
use crate::report::{Findings, log};

const SCENARIO: &str = "order";
/// Jobs at once, and how long each sleeps: at most 400 in a second, so that the order and not the machine decides.
const CONCURRENCY: usize = 8;
const SLEEP_MS: u64 = 20;
/// The flood of `low` jobs, there before the first `critical` one: half a minute's work.
const FLOOD: u64 = 12_000;
/// How long `critical` jobs come in it.
const SHORT: Duration = Duration::from_secs(20);
/// The flood of `critical` jobs: more in a second than can run.
const FLOOD_PER_SECOND: f64 = 420.0;
const FLOOD_CONNECTIONS: usize = 32;
/// How long it lasts: beyond what a `high` job lets pass it; with `--full` beyond what a `low` one does.
const LONG: Duration = Duration::from_secs(45);
const LONG_FULL: Duration = Duration::from_secs(660);
/// From one job of the other priority to the next.
const TRICKLE_EVERY: Duration = Duration::from_millis(50);
const PAGE_JOBS: usize = 1_000;

/// Adds the figures of one run on each store.
pub(crate) async fn measure(
    bench: &Bench<'_>,
    full: bool,
    findings: &mut Findings,
) -> Result<(), BenchError> {
    let database = Database::start().await?;
    let contestants =
        || [Contestant::sqlite(), Contestant::postgres(database.url_of(&database.new_schema()))];
    for contestant in contestants() {
        let case = Case::start(bench, contestant).await?;
        fill(&case.server, &job(Priority::Low), FLOOD).await?;
        trickle(case.server.target(), Priority::Critical, SHORT).await?;
        case.found(findings, "low flooded").await?;
    }
    let (other, long) = if full { (Priority::Low, LONG_FULL) } else { (Priority::High, LONG) };
    for contestant in contestants() {
        let case = Case::start(bench, contestant).await?;
        let flood = Open {
            rate: FLOOD_PER_SECOND,
            connections: FLOOD_CONNECTIONS,
            warm_up: Duration::ZERO,
            measure: long,
        };
        let (target, request) = (case.server.target(), Request::post(PATH, &job(Priority::Critical)));
        let (flooded, trickled) =
            tokio::join!(open::run(target, &request, &[ACCEPTED], flood), trickle(target, other, long),);
        flooded?.with_only(SCENARIO, &[ACCEPTED])?;
        trickled?;
        case.found(findings, "critical flooded").await?;
    }
    Ok(())
}

/// A job of this priority that sleeps.
fn job(priority: Priority) -> String {
    json!({ "kind": "sleep", "payload": { "ms": SLEEP_MS }, "priority": priority.as_str() }).to_string()
}

/// Submits jobs of this priority, one after another, for so long.
async fn trickle(target: Target, priority: Priority, time: Duration) -> Result<(), BenchError> {
    let failed = || BenchError::io("one submit");
    let mut connection = Connection::open(target.address).await.map_err(failed())?;
    let mut request = Request::post(PATH, &job(priority));
    let mut ticks = interval(TRICKLE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let ends = tokio::time::Instant::now() + time;
    while ticks.tick().await < ends {
        match connection.exchange(request.next()).await.map_err(failed())? {
            ACCEPTED => {}
            status => return Err(BenchError::invalid("one submit", format!("an answer {status}"))),
        }
    }
    Ok(())
}

/// One server with an empty store.
struct Case {
    name: String,
    server: Running,
}

impl Case {
    async fn start(bench: &Bench<'_>, contestant: Contestant) -> Result<Self, BenchError> {
        let contestant = keeping_all(roomy(contestant)).flag("--concurrency", CONCURRENCY);
        let server = contestant.start(&bench.place).await?;
        Ok(Self { name: contestant.name, server })
    }

    /// Adds the figures of all jobs once they have ended.
    async fn found(mut self, findings: &mut Findings, flood: &str) -> Result<(), BenchError> {
        log(&format!("{SCENARIO}: {flood}, {}", self.name));
        Queue::of(&self.server)?.until_done().await?;
        let started = self.started().await?;
        let passed_ms = passed_for(&started);
        for priority in Priority::ALL {
            let of_it = || started.iter().zip(&passed_ms).filter(|(job, _)| job.priority == priority);
            let mut waits: Vec<u64> = of_it().map(|(job, _)| job.waited_ms()).collect();
            let mut passed: Vec<u64> = of_it().map(|(_, ms)| *ms).collect();
            if waits.is_empty() {
                continue;
            }
            waits.sort_unstable();
            passed.sort_unstable();
            let what = format!("{flood}, {}: {}", self.name, priority.as_str());
            let mut note = |property, figure| findings.note(SCENARIO, &what, property, figure);
            note("jobs", waits.len() as f64);
            note("wait p50 s", quantile(&waits, 0.5) / 1e3);
            note("wait p99 s", quantile(&waits, 0.99) / 1e3);
            note("wait max s", quantile(&waits, 1.0) / 1e3);
            note("passed p99 ms", quantile(&passed, 0.99));
            note("passed max ms", quantile(&passed, 1.0));
        }
        self.server.stop().await?;
        Ok(())
    }

    async fn started(&self) -> Result<Vec<Started>, BenchError> {
        let client = self.server.client()?;
        let mut started = Vec::new();
        let mut filter = JobFilter { limit: Some(PAGE_JOBS), ..JobFilter::default() };
        loop {
            let page = client.jobs(&filter).await?;
            for job in page.jobs {
                let at =
                    job.started_at.ok_or_else(|| BenchError::invalid(SCENARIO, "a job never started"))?;
                started.push(Started { id: job.id, priority: job.priority, due: job.run_at, at });
            }
            match page.next_cursor {
                Some(cursor) => filter.cursor = Some(cursor),
                None => return Ok(started),
            }
        }
    }
}

/// A job that was due, and started.
#[derive(Debug, Clone, Copy)]
struct Started {
    id: JobId,
    priority: Priority,
    due: Timestamp,
    at: Timestamp,
}

impl Started {
    /// Its place in ready order.
    fn place(&self) -> (Timestamp, JobId) {
        (self.due.plus(self.priority.penalty()), self.id)
    }

    fn waited_ms(&self) -> u64 {
        self.at.since(self.due).as_millis() as u64
    }
}

/// For each job, for how many milliseconds it still waited when one with a later place had started. By the rule
/// that is 0; a commit that lags behind its claim, or another claim under way, makes it a little more.
fn passed_for(started: &[Started]) -> Vec<u64> {
    let mut from_the_last: Vec<usize> = (0..started.len()).collect();
    from_the_last.sort_unstable_by_key(|n| std::cmp::Reverse(started[*n].place()));
    let mut behind = BTreeSet::new();
    let mut passed = vec![0; started.len()];
    for n in from_the_last {
        let job = started[n];
        // Those of its own millisecond may have been there first.
        let first = behind.range((job.due.plus(Duration::from_millis(1)), JobId::from_u128(0))..).next();
        if let Some((at, _)) = first {
            passed[n] = job.at.since(*at).as_millis() as u64;
        }
        behind.insert((job.at, job.id));
    }
    passed
}

/// Of sorted figures.
fn quantile(sorted: &[u64], quantile: f64) -> f64 {
    let place = (sorted.len().saturating_sub(1) as f64 * quantile).round() as usize;
    sorted.get(place).copied().unwrap_or_default() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(jobs: &[(Priority, i64, i64)]) -> Vec<u64> {
        let at = |seconds: i64| Timestamp::from_unix_ms(seconds * 1_000);
        let jobs = (1..).zip(jobs).map(|(id, (priority, due, began))| Started {
            id: JobId::from_u128(id),
            priority: *priority,
            due: at(*due),
            at: at(*began),
        });
        passed_for(&jobs.collect::<Vec<_>>())
    }

    #[test]
    fn a_job_is_passed_by_what_has_a_later_place_and_started_while_it_was_due() {
        let (critical, low) = (Priority::Critical, Priority::Low);
        assert_eq!(started(&[(critical, 0, 0), (low, 0, 2), (critical, 1, 3)]), [0, 0, 1_000]);
        assert_eq!(started(&[(low, 0, 0), (critical, 1, 1)]), [0, 0], "it was not due");
        assert_eq!(started(&[(low, 0, 601), (critical, 599, 600), (critical, 601, 602)]), [0, 0, 0]);
        assert_eq!(started(&[(low, 0, 610), (critical, 605, 606)]), [4_000, 0], "it had waited long enough");
    }
}
