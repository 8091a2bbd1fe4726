//! What is measured. Each scenario starts its own servers and adds to the findings.

mod backlog;
mod baseline;
mod body;
mod cycle;
mod database;
mod drain;
mod idle;
mod latency;
mod order;
mod overload;
mod postgres;
mod pull;
mod queue;
mod replicas;
mod start;
mod submit;
mod watched;

use crate::contestant::Place;
use crate::error::BenchError;
use crate::machine::Machine;
use crate::options::{Options, Scenarios};
use crate::report::Findings;

/// What every scenario needs.
#[derive(Debug)]
pub(crate) struct Bench<'a> {
    pub(crate) options: &'a Options,
    pub(crate) place: Place,
    pub(crate) machine: Machine,
}

/// Measures, prints and writes what was found.
pub(crate) async fn run(scenarios: &Scenarios, options: &Options) -> Result<(), BenchError> {
    let place = Place::of(options)?;
    let machine = Machine::look(&place.dir)?;
    let bench = Bench { options, place, machine };
    let mut findings = Findings::default();
    let measured = match scenarios {
        Scenarios::All { size } => all(&bench, size.full, &mut findings).await,
        Scenarios::Submit => submit::measure(&bench, &mut findings).await,
        Scenarios::Cycle => cycle::measure(&bench, &mut findings).await,
        Scenarios::Pull => pull::measure(&bench, &mut findings).await,
        Scenarios::Overload => overload::measure(&bench, &mut findings).await,
        Scenarios::Drain => drain::measure(&bench, &mut findings).await,
        Scenarios::Latency => latency::measure(&bench, &mut findings).await,
        Scenarios::Baseline { program } => baseline::measure(&bench, program, &mut findings).await,
        Scenarios::Watched { program } => watched::measure(&bench, program.as_deref(), &mut findings).await,
        Scenarios::Idle => idle::measure(&bench, &mut findings).await,
        Scenarios::Order { size } => order::measure(&bench, size.full, &mut findings).await,
        Scenarios::Backlog { size } => backlog::measure(&bench, size.full, &mut findings).await,
        Scenarios::Start { size } => start::measure(&bench, size.full, &mut findings).await,
        Scenarios::Postgres { size } => postgres::measure(&bench, size.full, &mut findings).await,
        Scenarios::Replicas { size } => replicas::measure(&bench, size.full, &mut findings).await,
    };
    // What was found before a measurement failed is shown, too.
    findings.publish(&bench.machine, options.json.as_deref())?;
    measured
}

async fn all(bench: &Bench<'_>, full: bool, findings: &mut Findings) -> Result<(), BenchError> {
    submit::measure(bench, findings).await?;
    cycle::measure(bench, findings).await?;
    pull::measure(bench, findings).await?;
    overload::measure(bench, findings).await?;
    drain::measure(bench, findings).await?;
    latency::measure(bench, findings).await?;
    idle::measure(bench, findings).await?;
    order::measure(bench, full, findings).await?;
    backlog::measure(bench, full, findings).await?;
    start::measure(bench, full, findings).await?;
    postgres::measure(bench, full, findings).await?;
    replicas::measure(bench, full, findings).await
}

impl Bench<'_> {
    /// The rounds, announced as they begin: a run takes minutes.
    pub(crate) fn rounds(&self, scenario: &str) -> impl Iterator<Item = u32> {
        let (rounds, scenario) = (self.options.rounds, scenario.to_owned());
        (1..=rounds)
            .inspect(move |round| crate::report::log(&format!("{scenario}: round {round} of {rounds}")))
    }
}
