//! What a durable submit costs: against the bare handler, with a key, with a slow disk.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use super::{Bench, body};
use crate::contestant::Contestant;
use crate::error::BenchError;
use crate::load::closed::{self, Closed};
use crate::load::open::{self, Open};
use crate::load::{Connection, Measured, Request};
use crate::machine::sync_time;
use crate::report::Findings;
use crate::rounds::{Goal, Unit};

const OF_THE_CEILING: Goal =
    Goal { what: "durable submits / bare axum handler", unit: Unit::Ratio, at_least: 0.70, aim: 0.85 };
const OF_THE_SLOW_DISK: Goal = Goal {
    what: "durable submits with 1 ms added to each sync / connections/(sync + request time)",
    unit: Unit::Ratio,
    at_least: 0.6,
    aim: 0.9,
};
const KEYED: Goal = Goal {
    what: "submits with a random Idempotency-Key each / without",
    unit: Unit::Ratio,
    at_least: 0.75,
    aim: 0.90,
};
const BEYOND_THE_CEILING: Goal = Goal {
    what: "submit p99 at half the peak, open loop, beyond the ceiling's p99 and three syncs",
    unit: Unit::Milliseconds,
    at_least: 2.0,
    aim: 0.5,
};

const SCENARIO: &str = "submit";
pub(super) const PATH: &str = "/v1/jobs";
pub(super) const ACCEPTED: u16 = 202;
/// What is added to each sync where the disk is to be slow.
pub(super) const SLOW_SYNC: Duration = Duration::from_millis(1);
/// More jobs than any measurement submits.
const CAPACITY: u64 = 100_000_000;
const CAPACITY_BYTES: &str = "100GiB";
/// The pool of the open loop, and the closed loop whose rate is halved for it.
const OPEN_CONNECTIONS: usize = 256;
const PEAK_CONNECTIONS: usize = 64;
/// Bytes by which the bare handler's answer may differ from the server's.
const ANSWERS_DIFFER_MAX: usize = 8;

/// Room for whatever is submitted.
pub(super) fn roomy(contestant: Contestant) -> Contestant {
    contestant.flag("--capacity", CAPACITY).flag("--capacity-bytes", CAPACITY_BYTES)
}

/// Keeps every job that has ended.
pub(super) fn keeping_all(contestant: Contestant) -> Contestant {
    contestant
        .flag("--retention", "365d")
        .flag("--retention-jobs", 1_000_000_000)
        .flag("--retention-bytes", "100GiB")
}

/// Adds the figures of all rounds.
pub(crate) async fn measure(bench: &Bench<'_>, findings: &mut Findings) -> Result<(), BenchError> {
    ceiling_answers_alike(bench).await?;
    for round in bench.rounds(SCENARIO) {
        for &connections in &bench.options.connections {
            one_round(bench, findings, round, connections).await?;
        }
        half_the_peak(bench, findings, round).await?;
    }
    Ok(())
}

/// What is measured in each round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Variant {
    Bare,
    Memory,
    Sqlite,
    Keyed,
    SlowSync,
}

impl Variant {
    const ALL: [Self; 5] = [Self::Bare, Self::Sqlite, Self::Memory, Self::Keyed, Self::SlowSync];

    fn contestant(self) -> Contestant {
        match self {
            Self::Bare => Contestant::bare(),
            Self::Memory => roomy(Contestant::memory()),
            Self::Sqlite | Self::Keyed => roomy(Contestant::sqlite()),
            Self::SlowSync => roomy(Contestant::sqlite()).slow_sync(SLOW_SYNC),
        }
    }

    fn request(self) -> Request {
        match self {
            Self::Keyed => Request::post_keyed(PATH, body::LATER),
            _ => Request::post(PATH, body::LATER),
        }
    }

    fn name(self) -> String {
        let with = if self == Self::Keyed { ", Idempotency-Key" } else { "" };
        self.contestant().name + with
    }
}

async fn one_round(
    bench: &Bench<'_>,
    findings: &mut Findings,
    round: u32,
    connections: usize,
) -> Result<(), BenchError> {
    // Every second round goes the other way, so that what drifts does not favour one of them.
    let mut order = Variant::ALL;
    if round.is_multiple_of(2) {
        order.reverse();
    }
    let mut rates = [0.0; Variant::ALL.len()];
    for variant in order {
        let what = format!("{}, {connections} connections", variant.name());
        let found = closed_loop(bench, variant, connections, &what).await?;
        findings.measured(SCENARIO, &what, ACCEPTED, &found);
        rates[variant as usize] = found.rate(ACCEPTED);
    }
    let rate = |variant: Variant| rates[variant as usize];
    let when = format!("{connections} connections");
    findings.row(OF_THE_CEILING, &when, rate(Variant::Sqlite) / rate(Variant::Bare));
    findings.row(KEYED, &when, rate(Variant::Keyed) / rate(Variant::Sqlite));
    // In a closed loop each connection waits for its answer, so that a request takes connections/rate.
    let request_time = connections as f64 / rate(Variant::Sqlite);
    let possible = connections as f64 / (SLOW_SYNC.as_secs_f64() + request_time);
    findings.row(OF_THE_SLOW_DISK, &when, rate(Variant::SlowSync) / possible);
    Ok(())
}

async fn closed_loop(
    bench: &Bench<'_>,
    variant: Variant,
    connections: usize,
    what: &str,
) -> Result<Measured, BenchError> {
    let server = variant.contestant().start(&bench.place).await?;
    let closed = Closed { connections, warm_up: bench.options.warm_up(), measure: bench.options.seconds };
    let found = closed::run(server.target(), &variant.request(), &[ACCEPTED], closed).await?;
    let found = found.with_only(what, &[ACCEPTED])?;
    let fastest = found.tally.latency(ACCEPTED, 0.0).unwrap_or_default();
    if variant == Variant::SlowSync && fastest < SLOW_SYNC {
        return Err(BenchError::invalid(
            what,
            format!("an answer after {fastest:?}: no slow sync was waited for"),
        ));
    }
    Ok(found)
}

/// Durable and bare at the same rate: half of what the durable server reaches in this round.
async fn half_the_peak(bench: &Bench<'_>, findings: &mut Findings, round: u32) -> Result<(), BenchError> {
    let peak = closed_loop(bench, Variant::Sqlite, PEAK_CONNECTIONS, "the peak").await?.rate(ACCEPTED);
    let (warm_up, measure) = (bench.options.warm_up(), bench.options.seconds);
    let open = Open { rate: peak / 2.0, connections: OPEN_CONNECTIONS, warm_up, measure };
    let mut order = [Variant::Bare, Variant::Sqlite];
    if round.is_multiple_of(2) {
        order.reverse();
    }
    let (mut bare_ms, mut durable_ms) = (0.0, 0.0);
    for variant in order {
        let what = format!("{}, half the peak, open loop", variant.name());
        let server = variant.contestant().start(&bench.place).await?;
        let found = open::run(server.target(), &variant.request(), &[ACCEPTED], open).await?;
        let found = found.with_only(&what, &[ACCEPTED])?;
        findings.measured(SCENARIO, &what, ACCEPTED, &found);
        let p99 = found.tally.latency(ACCEPTED, 0.99).unwrap_or_default().as_secs_f64() * 1e3;
        *(if variant == Variant::Bare { &mut bare_ms } else { &mut durable_ms }) = p99;
    }
    let syncs_ms = 3.0 * sync_time(&bench.place.dir)?.as_secs_f64() * 1e3;
    findings.row(BEYOND_THE_CEILING, "", durable_ms - bare_ms - syncs_ms);
    Ok(())
}

/// The bare handler is a ceiling only if it answers what the server answers.
async fn ceiling_answers_alike(bench: &Bench<'_>) -> Result<(), BenchError> {
    let (bare, durable) = (answer(bench, Variant::Bare).await?, answer(bench, Variant::Sqlite).await?);
    let members = |answer: &str| -> Option<BTreeSet<String>> {
        let answer: Value = serde_json::from_str(answer).ok()?;
        Some(answer.as_object()?.keys().cloned().collect())
    };
    let alike =
        bare.len().abs_diff(durable.len()) <= ANSWERS_DIFFER_MAX && members(&bare) == members(&durable);
    if alike {
        Ok(())
    } else {
        Err(BenchError::invalid("the bare handler's answer", format!("{bare}\n{durable}")))
    }
}

async fn answer(bench: &Bench<'_>, variant: Variant) -> Result<String, BenchError> {
    let server = variant.contestant().start(&bench.place).await?;
    let failed = || BenchError::io("one submit");
    let mut connection = Connection::open(server.target().address).await.map_err(failed())?;
    let status = connection.exchange(variant.request().next()).await.map_err(failed())?;
    let answer = String::from_utf8_lossy(connection.body()).into_owned();
    if status == ACCEPTED { Ok(answer) } else { Err(BenchError::invalid("one submit", answer)) }
}
