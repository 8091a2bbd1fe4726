//! What the store on PostgreSQL costs: against raw statements, and with many terminal jobs.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use steadfast_testkit::postgres::Plans;
use tokio::time::Instant;

use super::database::Database;
use super::{Bench, body};
use crate::error::BenchError;
use crate::in_process::{self, CLAIM, DONE, Jobs, Load, Raw, Stored, on_all_cores};
use crate::load::Measured;
use crate::report::{Findings, log};
use crate::rounds::{Goal, Spread, Unit};

const SUBMITS: Goal = Goal {
    what: "submits on PostgreSQL, in process, through the store / by raw statements",
    unit: Unit::Ratio,
    at_least: 0.5,
    aim: 0.8,
};
const CYCLES: Goal = Goal {
    what: "cycles on PostgreSQL, in process, through the store / by raw statements",
    unit: Unit::Ratio,
    at_least: 0.5,
    aim: 0.8,
};
const CLAIMS: Goal = Goal {
    what: "time of a claim on PostgreSQL with many terminal jobs / with none; at most",
    unit: Unit::Times,
    at_least: 1.2,
    aim: 1.0,
};

const SCENARIO: &str = "postgres";
/// Terminal jobs, without and with `--full`.
const ENDED: u64 = 500_000;
const ENDED_FULL: u64 = 5_000_000;
/// Claims that are timed in a round with each number of terminal jobs.
const CLAIMS_TIMED: usize = 20;
/// Claims before the one whose plans are looked at: by then a prepared statement has the plan that it keeps.
const CLAIMS_BEFORE_PLANS: usize = 8;

/// Adds the figures of all rounds.
pub(crate) async fn measure(
    bench: &Bench<'_>,
    full: bool,
    findings: &mut Findings,
) -> Result<(), BenchError> {
    let database = Database::start().await?;
    for round in bench.rounds(SCENARIO) {
        for &callers in &bench.options.connections {
            against_raw(bench, &database, findings, round, callers).await?;
        }
    }
    claims(bench, &database, if full { ENDED_FULL } else { ENDED }, findings).await
}

/// What is measured in each round, each in a schema of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Variant {
    RawSubmits,
    StoreSubmits,
    RawCycles,
    StoreCycles,
}

impl Variant {
    const ALL: [Self; 4] = [Self::RawSubmits, Self::StoreSubmits, Self::RawCycles, Self::StoreCycles];

    const fn name(self) -> &'static str {
        match self {
            Self::RawSubmits => "raw, submits",
            Self::StoreSubmits => "store, submits",
            Self::RawCycles => "raw, cycles",
            Self::StoreCycles => "store, cycles",
        }
    }

    async fn run(self, database: &Database, load: Load) -> Result<Measured, BenchError> {
        let (url, schema) = (database.url(), database.new_schema());
        let store = database.url_of(&schema);
        let found = match self {
            Self::RawSubmits | Self::RawCycles => {
                let open = async move { Raw::open(&url, &schema, body::PAYLOAD).await };
                on_all_cores(self.load(open, load)).await
            }
            Self::StoreSubmits | Self::StoreCycles => {
                let open = async move { Stored::open(&store, body::PAYLOAD).await };
                on_all_cores(self.load(open, load)).await
            }
        };
        found?.with_only(self.name(), &[DONE])
    }

    async fn load<J: Jobs>(
        self,
        open: impl Future<Output = Result<J, BenchError>>,
        load: Load,
    ) -> Result<Measured, BenchError> {
        let jobs = Arc::new(open.await?);
        let found = match self {
            Self::RawSubmits | Self::StoreSubmits => in_process::submits(&jobs, load).await?,
            Self::RawCycles | Self::StoreCycles => in_process::cycles(&jobs, load).await?,
        };
        jobs.close().await?;
        Ok(found)
    }
}

async fn against_raw(
    bench: &Bench<'_>,
    database: &Database,
    findings: &mut Findings,
    round: u32,
    callers: usize,
) -> Result<(), BenchError> {
    let load = Load { callers, warm_up: bench.options.warm_up(), measure: bench.options.seconds };
    let mut order = Variant::ALL;
    if round.is_multiple_of(2) {
        order.reverse();
    }
    let mut rates = [0.0; Variant::ALL.len()];
    for variant in order {
        let found = variant.run(database, load).await?;
        findings.measured(SCENARIO, &format!("{}, {callers} callers", variant.name()), DONE, &found);
        rates[variant as usize] = found.rate(DONE);
    }
    let rate = |variant: Variant| rates[variant as usize];
    let when = format!("{callers} callers");
    findings.row(SUBMITS, &when, rate(Variant::StoreSubmits) / rate(Variant::RawSubmits));
    findings.row(CYCLES, &when, rate(Variant::StoreCycles) / rate(Variant::RawCycles));
    Ok(())
}

/// A schema with so many terminal jobs.
struct Ended {
    schema: String,
    jobs: u64,
}

async fn claims(
    bench: &Bench<'_>,
    database: &Database,
    many: u64,
    findings: &mut Findings,
) -> Result<(), BenchError> {
    let schemas = [ended(database, 0).await?, ended(database, many).await?];
    for round in bench.rounds("postgres, claims") {
        let mut times_ms = [0.0; 2];
        for at in if round % 2 == 1 { [0, 1] } else { [1, 0] } {
            times_ms[at] = claim_ms(database, &schemas[at]).await?;
            findings.note(SCENARIO, &claims_of(&schemas[at]), "p50 ms", times_ms[at]);
        }
        findings.row(CLAIMS, &format!("{many} terminal"), times_ms[1] / times_ms[0]);
    }
    let plans = [plans(database, &schemas[0]).await?, plans(database, &schemas[1]).await?];
    for (ended, plans) in schemas.iter().zip(&plans) {
        findings.note(SCENARIO, &claims_of(ended), "pages each", plans.pages as f64);
        log(&format!("{SCENARIO}: {}:\n  {}", claims_of(ended), plans.shapes.join("\n  ")));
    }
    if plans[0].shapes != plans[1].shapes {
        return Err(BenchError::invalid("a claim's plan", "terminal jobs change it"));
    }
    Ok(())
}

fn claims_of(Ended { jobs, .. }: &Ended) -> String {
    format!("store, claims of {CLAIM}, {jobs} terminal")
}

/// A store in which so many jobs have ended.
async fn ended(database: &Database, jobs: u64) -> Result<Ended, BenchError> {
    let schema = database.new_schema();
    let store = Stored::open(&database.url_of(&schema), body::PAYLOAD).await?;
    store.fill(1).await?;
    store.settle(store.claim().await?).await?;
    store.close().await?;
    log(&format!("{SCENARIO}: filling a schema with {jobs} terminal jobs"));
    database.add_ended(&schema, jobs).await?;
    database.remove_but_copies(&schema).await;
    database.tidy(&schema).await;
    Ok(Ended { schema, jobs })
}

/// The median time of a claim. What it leaves is removed, so that the number of terminal jobs stays.
async fn claim_ms(database: &Database, Ended { schema, .. }: &Ended) -> Result<f64, BenchError> {
    let url = database.url_of(schema);
    let times = on_all_cores(async move {
        let store = Stored::open(&url, body::PAYLOAD).await?;
        let times = timed_claims(&store, CLAIMS_TIMED).await?;
        store.close().await?;
        Ok(times)
    });
    let times_ms: Vec<f64> = times.await?.iter().map(|time| time.as_secs_f64() * 1e3).collect();
    database.remove_but_copies(schema).await;
    database.tidy(schema).await;
    Ok(Spread::of(&times_ms).median)
}

/// Queues what that many claims take, times them and settles them.
async fn timed_claims(store: &Stored, claims: usize) -> Result<Vec<Duration>, BenchError> {
    for _ in 0..claims {
        store.fill(CLAIM).await?;
    }
    let (mut times, mut taken) = (Vec::with_capacity(claims), Vec::with_capacity(claims));
    for _ in 0..claims {
        let begun = Instant::now();
        let claimed = store.claim().await?;
        times.push(begun.elapsed());
        if claimed.len() != CLAIM {
            return Err(BenchError::invalid("a claim", format!("{} jobs of {CLAIM}", claimed.len())));
        }
        taken.push(claimed);
    }
    for claimed in taken {
        store.settle(claimed).await?;
    }
    Ok(times)
}

/// The plans of one claim, with the pages that it looked at.
async fn plans(database: &Database, Ended { schema, .. }: &Ended) -> Result<Plans, BenchError> {
    let store = Stored::open(&database.explained_url_of(schema), body::PAYLOAD).await?;
    timed_claims(&store, CLAIMS_BEFORE_PLANS).await?;
    store.fill(CLAIM).await?;
    let (claims, plans) = database.plans_of(store.claim()).await;
    store.settle(claims?).await?;
    store.close().await?;
    Ok(plans)
}
