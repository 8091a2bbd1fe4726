//! What is measured. Each scenario starts its own servers and adds to the findings.

mod body;
mod submit;

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
    match scenarios {
        Scenarios::Submit => submit::measure(&bench, &mut findings).await?,
    }
    findings.publish(&bench.machine, options.json.as_deref())
}

impl Bench<'_> {
    /// The rounds, announced as they begin: a run takes minutes.
    pub(crate) fn rounds(&self, scenario: &str) -> impl Iterator<Item = u32> {
        let (rounds, scenario) = (self.options.rounds, scenario.to_owned());
        (1..=rounds)
            .inspect(move |round| crate::report::log(&format!("{scenario}: round {round} of {rounds}")))
    }
}
