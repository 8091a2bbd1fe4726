use std::time::Duration;

use tokio::time::Instant;

/// How fast something happens lately: events per second, exponentially smoothed.
///
/// With time constant τ = [`SMOOTHED_OVER`], `n` events at time `t` change the weight `w`, last changed at
/// `u`, to `w·e^(-(t-u)/τ) + n/τ`. Since a meter that began at `s` has seen only the share
/// `1 - e^(-(t-s)/τ)` of all the weight there could be, the rate is `w` divided by that share (the bias
/// correction of Kingma and Ba, "Adam", section 3), and the share counts as if it began at least
/// [`SEEN_AT_LEAST`] ago, so that the first event does not read as an enormous rate.
#[derive(Debug, Default)]
pub(super) struct RateMeter(Option<Measured>);

#[derive(Debug)]
struct Measured {
    began: Instant,
    changed: Instant,
    weight: f64,
}

/// The time constant τ.
const SMOOTHED_OVER: Duration = Duration::from_secs(10);
/// What is measured of a rate that was first seen just now.
const SEEN_AT_LEAST: Duration = Duration::from_secs(1);
/// After this long without an event nothing is known any more.
const KNOWN_FOR: Duration = Duration::from_secs(60);

impl RateMeter {
    /// Counts `events` at `now`.
    pub(super) fn add(&mut self, events: f64, now: Instant) {
        let step = events / SMOOTHED_OVER.as_secs_f64();
        match &mut self.0 {
            Some(measured) if measured.known(now) => {
                measured.weight = measured.weight * measured.decay(now) + step;
                measured.changed = now;
            }
            nothing => *nothing = Some(Measured { began: now, changed: now, weight: step }),
        }
    }

    /// Events per second, greater than zero; `None` while nothing is known.
    pub(super) fn per_second(&self, now: Instant) -> Option<f64> {
        let measured = self.0.as_ref().filter(|measured| measured.known(now))?;
        let age = now.duration_since(measured.began).max(SEEN_AT_LEAST);
        let seen = 1.0 - (-age.as_secs_f64() / SMOOTHED_OVER.as_secs_f64()).exp();
        Some(measured.weight * measured.decay(now) / seen).filter(|rate| *rate > 0.0)
    }
}

impl Measured {
    fn known(&self, now: Instant) -> bool {
        now.duration_since(self.changed) < KNOWN_FOR
    }

    fn decay(&self, now: Instant) -> f64 {
        (-now.duration_since(self.changed).as_secs_f64() / SMOOTHED_OVER.as_secs_f64()).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steady(per_second: u32, seconds: u32) -> (RateMeter, Instant) {
        let mut meter = RateMeter::default();
        let mut now = Instant::now();
        for _ in 0..per_second * seconds {
            now += Duration::from_secs(1) / per_second;
            meter.add(1.0, now);
        }
        (meter, now)
    }

    #[test]
    fn a_steady_rate_is_found_early_and_kept() {
        for seconds in [2, 10, 100] {
            let (meter, now) = steady(100, seconds);
            let rate = meter.per_second(now).unwrap();
            assert!((95.0..105.0).contains(&rate), "{rate} after {seconds} s");
        }
    }

    #[test]
    fn silence_lowers_the_rate_and_then_forgets_it() {
        let (meter, now) = steady(100, 30);
        let rate = meter.per_second(now + SMOOTHED_OVER).unwrap();
        assert!((30.0..45.0).contains(&rate), "{rate}");
        assert_eq!(meter.per_second(now + KNOWN_FOR), None);
        assert_eq!(RateMeter::default().per_second(now), None);
    }

    #[test]
    fn one_event_is_no_enormous_rate() {
        let now = Instant::now();
        let mut meter = RateMeter::default();
        meter.add(1.0, now);
        assert!(meter.per_second(now).unwrap() < 1.1);
    }
}
