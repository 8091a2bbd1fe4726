//! What a change costs: two builds of the server, measured in turn.

use std::path::{Path, PathBuf};

use super::Bench;
use super::cycle::{cycles, submits};
use super::submit::roomy;
use crate::contestant::Contestant;
use crate::error::BenchError;
use crate::report::Findings;
use crate::rounds::{Goal, Unit, median_interval};

const SUBMITS: Goal = Goal {
    what: "durable submits of the server / of the baseline",
    unit: Unit::Ratio,
    at_least: 0.90,
    aim: 1.00,
};
const CYCLES: Goal = Goal { what: "durable cycles of the server / of the baseline", ..SUBMITS };

const SCENARIO: &str = "baseline";

/// Adds the figures of all rounds, and the interval that has the median of each ratio with 95% confidence.
pub(crate) async fn measure(
    bench: &Bench<'_>,
    baseline: &Path,
    findings: &mut Findings,
) -> Result<(), BenchError> {
    let path = |error| BenchError::io(baseline.display().to_string())(error);
    let baseline: PathBuf = baseline.canonicalize().map_err(path)?;
    let pair = [
        roomy(Contestant::sqlite()).named("server"),
        roomy(Contestant::sqlite()).named("baseline").program(baseline),
    ];
    let mut ratios = [Vec::new(), Vec::new()];
    for round in bench.rounds(SCENARIO) {
        for &connections in &bench.options.connections {
            let mut found = [(0.0, 0.0); 2];
            // Every second round goes the other way, so that what drifts does not favour one of them.
            let order = if round % 2 == 1 { [0, 1] } else { [1, 0] };
            for at in order {
                let submits = submits(bench, findings, &pair[at], connections).await?;
                found[at] = (submits, cycles(bench, findings, &pair[at], connections).await?);
            }
            let [(submits, cycles), (submits_before, cycles_before)] = found;
            let when = format!("{connections} connections");
            let figures = [(SUBMITS, submits / submits_before), (CYCLES, cycles / cycles_before)];
            for ((goal, ratio), ratios) in figures.into_iter().zip(&mut ratios) {
                findings.row(goal, &when, ratio);
                ratios.push(ratio);
            }
        }
    }
    for (goal, ratios) in [SUBMITS, CYCLES].into_iter().zip(&ratios) {
        note_interval(SCENARIO, goal, ratios, findings);
    }
    Ok(())
}

/// The interval that has the median with 95% confidence, if there are figures enough for one.
pub(super) fn note_interval(scenario: &'static str, goal: Goal, ratios: &[f64], findings: &mut Findings) {
    if let Some((lower, upper)) = median_interval(ratios) {
        findings.note(scenario, goal.what, "95% interval of the median from", lower);
        findings.note(scenario, goal.what, "to", upper);
    }
}
