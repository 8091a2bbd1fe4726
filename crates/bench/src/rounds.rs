//! What may be said of figures taken in rounds on a machine that is never quiet.

use serde::Serialize;

/// Rounds that a verdict needs.
pub(crate) const ROUNDS_MIN: usize = 9;
/// Share of the processors' time that other machines may have had.
const STEAL_MAX: f64 = 0.02;
/// Difference between the quartiles of a ratio.
const QUARTILES_MAX: f64 = 0.1;

/// The median and the quartiles of the rounds' figures.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) lower: f64,
    pub(crate) median: f64,
    pub(crate) upper: f64,
}

impl Spread {
    /// Of any number of figures; all 0 for none. Between two figures it interpolates (Hyndman and Fan,
    /// "Sample quantiles in statistical packages", 1996, definition 7).
    pub(crate) fn of(figures: &[f64]) -> Self {
        let mut sorted = figures.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |quantile: f64| {
            let place = quantile * sorted.len().saturating_sub(1) as f64;
            let (below, above) = (place.floor() as usize, place.ceil() as usize);
            let value = |index: usize| sorted.get(index).copied().unwrap_or(0.0);
            value(below) + (value(above) - value(below)) * place.fract()
        };
        Self { lower: at(0.25), median: at(0.5), upper: at(0.75) }
    }
}

/// Where the median is with a confidence of at least 95%, whatever the distribution; `None` for fewer than six
/// figures. Between two order statistics: so many figures are below the true median as heads fall in as many tosses
/// of a coin (Conover, "Practical Nonparametric Statistics", section 3.2).
pub(crate) fn median_interval(figures: &[f64]) -> Option<(f64, f64)> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let count = sorted.len();
    let (mut probability, mut below) = (0.5_f64.powi(i32::try_from(count).ok()?), 0.0);
    let mut outside = None;
    for heads in 0..count / 2 {
        below += probability;
        if below > 0.025 {
            break;
        }
        outside = Some(heads);
        probability *= (count - heads) as f64 / (heads + 1) as f64;
    }
    let outside = outside?;
    Some((sorted[outside], sorted[count - 1 - outside]))
}

/// What is to be reached.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Goal {
    /// The row, as docs/BENCHMARKS.md names it.
    pub(crate) what: &'static str,
    pub(crate) unit: Unit,
    /// What must not be missed.
    pub(crate) at_least: f64,
    /// What is aimed for.
    pub(crate) aim: f64,
}

/// What a figure counts. More is better of a ratio, less of the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum Unit {
    Ratio,
    /// How many times as long.
    Times,
    Milliseconds,
    Seconds,
    Bytes,
    MebiBytes,
    PerSecond,
}

impl Unit {
    /// How it is written after a figure.
    pub(crate) const fn symbol(self) -> &'static str {
        match self {
            Self::Ratio | Self::Times => "",
            Self::Milliseconds => " ms",
            Self::Seconds => " s",
            Self::Bytes => " B",
            Self::MebiBytes => " MiB",
            Self::PerSecond => "/s",
        }
    }
}

/// What the figures of a row allow to say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    AimReached,
    Reached,
    Missed,
    /// Nothing, and why.
    None(String),
}

impl Verdict {
    /// Judges a row. `once` is a row that is too long to be measured in rounds.
    pub(crate) fn of(goal: &Goal, figures: &[f64], once: bool, steal: f64) -> Self {
        let spread = Spread::of(figures);
        if steal > STEAL_MAX {
            return Self::None(format!("{:.1}% of the time was stolen", steal * 100.0));
        }
        if !once && figures.len() < ROUNDS_MIN {
            return Self::None(format!("{} rounds are too few", figures.len()));
        }
        let apart = spread.upper - spread.lower;
        if matches!(goal.unit, Unit::Ratio | Unit::Times) && apart > QUARTILES_MAX {
            return Self::None(format!("the quartiles are {apart:.2} apart"));
        }
        let good = |bound: f64| match goal.unit {
            Unit::Ratio => spread.median >= bound,
            _ => spread.median <= bound,
        };
        if good(goal.aim) {
            Self::AimReached
        } else if good(goal.at_least) {
            Self::Reached
        } else {
            Self::Missed
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATIO: Goal = Goal { what: "a ratio", unit: Unit::Ratio, at_least: 0.7, aim: 0.85 };
    const TIMES: Goal = Goal { what: "times", unit: Unit::Times, at_least: 1.2, aim: 1.0 };
    const TIME: Goal = Goal { what: "a time", unit: Unit::Milliseconds, at_least: 100.0, aim: 20.0 };

    #[test]
    fn quartiles_are_interpolated() {
        let spread = Spread::of(&[4.0, 1.0, 3.0, 2.0]);
        assert_eq!(spread, Spread { lower: 1.75, median: 2.5, upper: 3.25 });
        assert_eq!(Spread::of(&[5.0]), Spread { lower: 5.0, median: 5.0, upper: 5.0 });
        assert_eq!(Spread::of(&[]).median, 0.0);
    }

    #[test]
    fn the_interval_of_a_median_is_that_of_the_tables() {
        let figures = |count: u32| (1..=count).map(f64::from).collect::<Vec<_>>();
        assert_eq!(median_interval(&figures(5)), None);
        assert_eq!(median_interval(&figures(6)), Some((1.0, 6.0)));
        assert_eq!(median_interval(&figures(15)), Some((4.0, 12.0)));
        assert_eq!(median_interval(&figures(20)), Some((6.0, 15.0)));
    }

    #[test]
    fn a_verdict_depends_on_the_median() {
        let of = |goal, figure: f64| Verdict::of(goal, &[figure; 9], false, 0.0);
        assert_eq!(of(&RATIO, 0.9), Verdict::AimReached);
        assert_eq!(of(&RATIO, 0.75), Verdict::Reached);
        assert_eq!(of(&RATIO, 0.69), Verdict::Missed);
        assert_eq!(of(&TIMES, 0.9), Verdict::AimReached);
        assert_eq!(of(&TIMES, 1.1), Verdict::Reached);
        assert_eq!(of(&TIMES, 1.3), Verdict::Missed);
        assert_eq!(of(&TIME, 10.0), Verdict::AimReached);
        assert_eq!(of(&TIME, 90.0), Verdict::Reached);
        assert_eq!(of(&TIME, 101.0), Verdict::Missed);
    }

    #[test]
    fn what_is_too_uncertain_has_no_verdict() {
        let none = |verdict: Verdict| matches!(verdict, Verdict::None(_));
        assert!(none(Verdict::of(&RATIO, &[0.9; 8], false, 0.0)));
        assert!(none(Verdict::of(&RATIO, &[0.9; 9], false, 0.021)));
        let wide = [0.8, 0.8, 0.8, 0.8, 0.9, 0.95, 0.95, 0.95, 0.95];
        assert!(none(Verdict::of(&RATIO, &wide, false, 0.0)));
        assert!(none(Verdict::of(&TIMES, &wide, false, 0.0)));
        assert_eq!(Verdict::of(&TIME, &[5.0], true, 0.0), Verdict::AimReached);
        assert_eq!(Verdict::of(&TIME, &wide.map(|ms| ms * 10.0), false, 0.0), Verdict::AimReached);
    }
}
