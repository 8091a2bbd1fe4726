//! What more servers on one PostgreSQL schema give, with few jobs queued, with many, and with many terminal ones.

use std::fmt;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::database::Database;
use super::queue::{BATCH, Queue, fill};
use super::submit::{ACCEPTED, PATH, keeping_all, roomy};
use super::{Bench, body};
use crate::contestant::{Contestant, Running};
use crate::error::BenchError;
use crate::load::closed::{self, Closed};
use crate::load::{Connection, Measured, Request, Target};
use crate::report::{Findings, log};

const SCENARIO: &str = "replicas";
/// Servers on a schema.
const REPLICAS: [usize; 3] = [1, 2, 3];
/// Connections to all of them together, spread evenly.
const CONNECTIONS: usize = 64;
/// A short queue, and a long one without and with `--full`.
const FEW: u64 = BATCH;
const MANY: u64 = 100_000;
const MANY_FULL: u64 = 1_000_000;
/// Terminal jobs, without and with `--full`.
const ENDED: u64 = 500_000;
const ENDED_FULL: u64 = 5_000_000;

/// Adds the figures of all rounds.
pub(crate) async fn measure(
    bench: &Bench<'_>,
    full: bool,
    findings: &mut Findings,
) -> Result<(), BenchError> {
    let (many, ended) = if full { (MANY_FULL, ENDED_FULL) } else { (MANY, ENDED) };
    let database = Database::start().await?;
    let kept = [
        filled(bench, &database, Size { queued: many, ended: 0 }).await?,
        filled(bench, &database, Size { queued: FEW, ended }).await?,
    ];
    for round in bench.rounds(SCENARIO) {
        let mut order = REPLICAS;
        if round.is_multiple_of(2) {
            order.reverse();
        }
        let mut rates = Vec::new();
        for replicas in order {
            // Not kept: it would soon have as many terminal jobs as the schema that is measured for them.
            let new = filled(bench, &database, Size { queued: FEW, ended: 0 }).await?;
            for filled in [&new, &kept[0], &kept[1]] {
                rates.push((
                    filled.size,
                    replicas,
                    measured(bench, &database, findings, filled, replicas).await?,
                ));
            }
            database.drop_schema(&new.schema).await;
        }
        compare(findings, &rates);
    }
    Ok(())
}

/// What is in a schema before each measurement, at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Size {
    queued: u64,
    ended: u64,
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} queued", self.queued)?;
        if self.ended > 0 { write!(f, ", {} terminal", self.ended) } else { Ok(()) }
    }
}

/// A schema that holds so much.
struct Filled {
    schema: String,
    size: Size,
}

/// Submits answered and jobs completed, a second.
#[derive(Debug, Clone, Copy)]
struct Rates {
    submits: f64,
    cycles: f64,
}

/// One round's rates as shares of those of one replica on the same schema.
fn compare(findings: &mut Findings, rates: &[(Size, usize, Rates)]) {
    for (size, replicas, found) in rates {
        let one = rates.iter().find(|(of, replicas, _)| of == size && *replicas == 1);
        let Some((_, _, one)) = one else { continue };
        let mut share = |what: String, share| findings.note(SCENARIO, &what, "of one's", share);
        share(submits_of(*size, *replicas), found.submits / one.submits);
        share(cycles_of(*size, *replicas), found.cycles / one.cycles);
    }
}

fn submits_of(size: Size, replicas: usize) -> String {
    format!("submits, of {replicas}, {size}")
}

fn cycles_of(size: Size, replicas: usize) -> String {
    format!("cycles, of {replicas}, {size}")
}

fn contestant(database: &Database, schema: &str) -> Contestant {
    keeping_all(roomy(Contestant::postgres(database.url_of(schema))))
}

/// Fills a new schema by one server, its terminal jobs but one past it. Its queue is paused.
async fn filled(bench: &Bench<'_>, database: &Database, size: Size) -> Result<Filled, BenchError> {
    let schema = database.new_schema();
    let mut server = contestant(database, &schema).start(&bench.place).await?;
    let queue = Queue::of(&server)?;
    if size.ended > 0 {
        log(&format!("{SCENARIO}: filling a schema with {size}"));
        run_one(&server).await?;
        queue.until_done().await?;
        database.add_ended(&schema, size.ended).await?;
    }
    queue.pause().await?;
    fill(&server, body::NOW, size.queued).await?;
    server.stop().await?;
    database.tidy(&schema).await;
    Ok(Filled { schema, size })
}

/// Submits one job that is run at once.
async fn run_one(server: &Running) -> Result<(), BenchError> {
    let failed = || BenchError::io("one submit");
    let mut connection = Connection::open(server.target().address).await.map_err(failed())?;
    match connection.exchange(Request::post(PATH, body::NOW).next()).await.map_err(failed())? {
        ACCEPTED => Ok(()),
        status => Err(BenchError::invalid("one submit", format!("an answer {status}"))),
    }
}

/// Cycles first, which leave the queue at least as long, then submits of jobs for later, which leave it alone.
async fn measured(
    bench: &Bench<'_>,
    database: &Database,
    findings: &mut Findings,
    Filled { schema, size }: &Filled,
    replicas: usize,
) -> Result<Rates, BenchError> {
    let mut servers = Vec::with_capacity(replicas);
    for _ in 0..replicas {
        servers.push(contestant(database, schema).start(&bench.place).await?);
    }
    let queue = Queue::of(&servers[0])?;
    queue.resume().await?;
    let cycles = cycles(bench, &queue, &servers).await?;
    findings.note(SCENARIO, &cycles_of(*size, replicas), "answers/s", cycles);
    if size.queued <= FEW {
        queue.until_done().await?;
    }
    queue.pause().await?;
    let missing = size.queued.saturating_sub(queue.look().await?.depth.queued);
    fill(&servers[0], body::NOW, missing).await?;
    let found = load(&servers, body::LATER, bench.options.warm_up(), bench.options.seconds).await?;
    findings.measured(SCENARIO, &submits_of(*size, replicas), ACCEPTED, &found);
    for server in &mut servers {
        server.stop().await?;
    }
    database.tidy(schema).await;
    Ok(Rates { submits: found.rate(ACCEPTED), cycles })
}

/// Jobs completed in a second while others are submitted.
async fn cycles(bench: &Bench<'_>, queue: &Queue, servers: &[Running]) -> Result<f64, BenchError> {
    let (warm_up, measure) = (bench.options.warm_up(), bench.options.seconds);
    let completed = async |at: Instant| {
        sleep_until(at).await;
        let completed = queue.look().await?.depth.completed;
        Ok::<_, BenchError>((completed, Instant::now()))
    };
    let from = Instant::now() + warm_up;
    let counted = async {
        let before = completed(from).await?;
        let after = completed(from + measure).await?;
        Ok((after.0 - before.0) as f64 / (after.1 - before.1).as_secs_f64())
    };
    let (loaded, rate) = tokio::join!(load(servers, body::NOW, warm_up, measure), counted);
    loaded.and(rate)
}

/// Submits in a closed loop to all of them.
async fn load(
    servers: &[Running],
    body: &str,
    warm_up: Duration,
    measure: Duration,
) -> Result<Measured, BenchError> {
    let targets: Vec<Target> = servers.iter().map(Running::target).collect();
    let closed = Closed { connections: CONNECTIONS, warm_up, measure };
    let found = closed::run_across(&targets, &Request::post(PATH, body), &[ACCEPTED], closed).await?;
    found.with_only(SCENARIO, &[ACCEPTED])
}
