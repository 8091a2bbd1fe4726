//! What a run found, for people (Markdown) and for programs (JSON).

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use serde::Serialize;

use crate::error::BenchError;
use crate::load::Measured;
use crate::machine::Machine;
use crate::rounds::{Goal, Spread, Unit, Verdict};

/// Everything found so far.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Findings {
    rows: Vec<Row>,
    series: Vec<Series>,
}

/// The figures of one goal.
#[derive(Debug, Serialize)]
struct Row {
    goal: Goal,
    /// Under which circumstances: `64 connections`.
    when: String,
    figures: Vec<f64>,
    once: bool,
}

/// One property of one contestant, a figure for each round.
#[derive(Debug, Serialize)]
struct Series {
    scenario: &'static str,
    what: String,
    property: &'static str,
    figures: Vec<f64>,
}

impl Findings {
    /// One round's figure of a goal.
    pub(crate) fn row(&mut self, goal: Goal, when: &str, figure: f64) {
        let at = self.rows.iter().position(|row| row.goal == goal && row.when == when);
        let at = at.unwrap_or_else(|| {
            self.rows.push(Row { goal, when: when.to_owned(), figures: Vec::new(), once: false });
            self.rows.len() - 1
        });
        self.rows[at].figures.push(figure);
    }

    /// The figure of a goal that takes too long to be measured in rounds.
    pub(crate) fn single_row(&mut self, goal: Goal, when: &str, figure: f64) {
        self.rows.push(Row { goal, when: when.to_owned(), figures: vec![figure], once: true });
    }

    /// One round's figure of something that is no goal.
    pub(crate) fn note(&mut self, scenario: &'static str, what: &str, property: &'static str, figure: f64) {
        let same = |series: &Series| {
            series.scenario == scenario && series.what == what && series.property == property
        };
        let at = self.series.iter().position(same).unwrap_or_else(|| {
            self.series.push(Series { scenario, what: what.to_owned(), property, figures: Vec::new() });
            self.series.len() - 1
        });
        self.series[at].figures.push(figure);
    }

    /// What one run of the load generator found, of the answers with `status`.
    pub(crate) fn measured(&mut self, scenario: &'static str, what: &str, status: u16, found: &Measured) {
        let ms = |quantile| found.tally.latency(status, quantile).unwrap_or_default().as_secs_f64() * 1e3;
        self.note(scenario, what, "answers/s", found.rate(status));
        self.note(scenario, what, "p50 ms", ms(0.5));
        self.note(scenario, what, "p99 ms", ms(0.99));
        self.note(scenario, what, "CPU us each", found.cpu_us_per_answer());
        self.note(scenario, what, "sleeps each", found.sleeps_per_answer());
    }

    /// Prints all of it, and writes it to `json`.
    pub(crate) fn publish(&self, machine: &Machine, json: Option<&Path>) -> Result<(), BenchError> {
        let steal = machine.steal()?;
        say(&self.markdown(machine, steal));
        let Some(path) = json else { return Ok(()) };
        let document = serde_json::json!({
            "machine": machine,
            "steal": steal,
            "rows": self.rows.iter().map(|row| row.document(steal)).collect::<Vec<_>>(),
            "series": self.series,
        });
        std::fs::write(path, format!("{document:#}\n")).map_err(BenchError::io(path.display().to_string()))
    }

    fn markdown(&self, machine: &Machine, steal: f64) -> String {
        let Machine { cores, processor, kernel, fdatasync_us, .. } = machine;
        let steal_percent = steal * 100.0;
        let mut text = format!(
            "{cores} cores of {processor}, Linux {kernel}; fdatasync {fdatasync_us:.0} us; \
             {steal_percent:.2}% of the time stolen.\n\n"
        );
        if !self.rows.is_empty() {
            text += &self.goals(steal);
        }
        let mut scenarios: Vec<&str> = self.series.iter().map(|series| series.scenario).collect();
        scenarios.dedup();
        for scenario in scenarios {
            let _ = writeln!(text, "\n{}", self.details(scenario));
        }
        text
    }

    fn goals(&self, steal: f64) -> String {
        let head = ["", "at least", "aim", "median", "quartiles", "rounds", "verdict"];
        let rows = self.rows.iter().map(|row| row.cells(steal)).collect::<Vec<_>>();
        table(&head.map(str::to_owned), &rows)
    }

    /// One line for each thing measured, with the medians of its properties.
    fn details(&self, scenario: &str) -> String {
        let series: Vec<&Series> = self.series.iter().filter(|series| series.scenario == scenario).collect();
        let mut whats: Vec<&str> = Vec::new();
        let mut properties: Vec<&str> = Vec::new();
        for series in &series {
            if !whats.contains(&series.what.as_str()) {
                whats.push(&series.what);
            }
            if !properties.contains(&series.property) {
                properties.push(series.property);
            }
        }
        let cell = |what: &str, property: &str| {
            let found = series.iter().find(|series| series.what == what && series.property == property);
            found.map_or(String::new(), |series| number(Spread::of(&series.figures).median))
        };
        let line = |what: &&str| {
            let cells = properties.iter().map(|property| cell(what, property));
            std::iter::once((*what).to_owned()).chain(cells).collect::<Vec<_>>()
        };
        let mut head = vec![format!("{scenario}: medians")];
        head.extend(properties.iter().map(|property| (*property).to_owned()));
        table(&head, &whats.iter().map(line).collect::<Vec<_>>())
    }
}

impl Row {
    fn cells(&self, steal: f64) -> Vec<String> {
        let Goal { what, unit, at_least, aim } = self.goal;
        let spread = Spread::of(&self.figures);
        let with_unit = |figure: f64| format!("{}{}", number(figure), unit.symbol());
        let what = if self.when.is_empty() { what.to_owned() } else { format!("{what}; {}", self.when) };
        let quartiles = format!("{} to {}", number(spread.lower), number(spread.upper));
        let verdict = match Verdict::of(&self.goal, &self.figures, self.once, steal) {
            Verdict::AimReached => "aim reached".to_owned(),
            Verdict::Reached => "reached".to_owned(),
            Verdict::Missed => "**missed**".to_owned(),
            Verdict::None(why) => format!("none: {why}"),
        };
        let rounds = self.figures.len().to_string();
        vec![what, with_unit(at_least), with_unit(aim), with_unit(spread.median), quartiles, rounds, verdict]
    }

    fn document(&self, steal: f64) -> serde_json::Value {
        let verdict = Verdict::of(&self.goal, &self.figures, self.once, steal);
        let unit: Unit = self.goal.unit;
        serde_json::json!({
            "what": self.goal.what, "when": self.when, "unit": unit.symbol().trim(),
            "at_least": self.goal.at_least, "aim": self.goal.aim,
            "figures": self.figures, "spread": Spread::of(&self.figures), "verdict": verdict,
        })
    }
}

/// A figure with three or so digits that count.
fn number(figure: f64) -> String {
    match figure.abs() {
        size if size >= 1_000.0 => thousands(figure),
        size if size >= 100.0 => format!("{figure:.0}"),
        size if size >= 10.0 => format!("{figure:.1}"),
        _ => format!("{figure:.2}"),
    }
}

/// A whole number with a space before each three digits.
fn thousands(figure: f64) -> String {
    let digits = format!("{:.0}", figure.abs());
    let mut text = String::from(if figure < 0.0 { "-" } else { "" });
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// A Markdown table, its columns aligned for those who read it as text.
fn table(head: &[String], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| &row[column]).chain([&head[column]]);
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: &[String]| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("| {cell:width$} "));
        padded.collect::<String>() + "|\n"
    };
    let rule: String = widths.iter().map(|width| format!("|{}", "-".repeat(width + 2))).collect();
    line(head) + &rule + "|\n" + &rows.iter().map(|row| line(row)).collect::<String>()
}

/// A line to standard output. Who does not read it does not stop the measurement.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// A line to standard error.
pub(crate) fn log(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        let texts = [0.8512, 12.34, 123.4, 1_234.0, 1_234_567.8, -2_000.0].map(number);
        assert_eq!(texts, ["0.85", "12.3", "123", "1 234", "1 234 568", "-2 000"]);
    }

    #[test]
    fn a_row_gathers_its_rounds() {
        let goal = Goal { what: "half", unit: Unit::Ratio, at_least: 0.4, aim: 0.6 };
        let mut findings = Findings::default();
        for figure in [0.5, 0.5, 0.52] {
            findings.row(goal, "64 connections", figure);
        }
        let expected = "|                      | at least | aim  | median | quartiles    | rounds | verdict                   |\n\
                        |----------------------|----------|------|--------|--------------|--------|---------------------------|\n\
                        | half; 64 connections | 0.40     | 0.60 | 0.50   | 0.50 to 0.51 | 3      | none: 3 rounds are too few |\n";
        assert_eq!(
            findings.goals(0.0).replace(' ', ""),
            expected.replace(' ', "").replace("-------|\n", "--------|\n")
        );
    }
}
