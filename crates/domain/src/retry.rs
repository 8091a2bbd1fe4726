use std::time::Duration;

use crate::{Invalid, limits};

/// How often a job is attempted, and how long it waits between attempts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryPolicy {
    max_attempts: u32,
    backoff: Backoff,
    initial: Duration,
    max: Duration,
    jitter: f64,
}

/// How the delay grows from one failed attempt to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Backoff {
    /// `initial * 2^(attempt - 1)`, at most `max`.
    #[default]
    Exponential,
    /// `initial` each time.
    Fixed,
    /// No delay.
    None,
}

impl Backoff {
    /// Every form.
    pub const ALL: [Self; 3] = [Self::Exponential, Self::Fixed, Self::None];

    /// The name used in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exponential => "exponential",
            Self::Fixed => "fixed",
            Self::None => "none",
        }
    }

    /// The form of that name.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        Self::ALL
            .into_iter()
            .find(|b| b.as_str() == text)
            .ok_or_else(|| Invalid::value("backoff", text, "exponential, fixed or none"))
    }
}

impl RetryPolicy {
    /// What a job has unless it says otherwise: 5 attempts, 1 s doubling up to 5 min, 20% jitter.
    pub const DEFAULT: Self = Self {
        max_attempts: 5,
        backoff: Backoff::Exponential,
        initial: Duration::from_secs(1),
        max: Duration::from_secs(300),
        jitter: 0.2,
    };

    /// The same policy with this many attempts in all, the first included: 1 to 1,000.
    pub fn with_max_attempts(self, max_attempts: u32) -> Result<Self, Invalid> {
        if !(1..=limits::ATTEMPTS_MAX).contains(&max_attempts) {
            let most = limits::ATTEMPTS_MAX;
            return Err(Invalid::new(format!("{max_attempts} is not allowed: 1 to {most} attempts")));
        }
        Ok(Self { max_attempts, ..self })
    }

    /// The same policy with this growth of the delay.
    pub const fn with_backoff(self, backoff: Backoff) -> Self {
        Self { backoff, ..self }
    }

    /// The same policy with this first delay: at most 30 days.
    pub fn with_initial(self, initial: Duration) -> Result<Self, Invalid> {
        Ok(Self { initial: checked_delay(initial)?, ..self })
    }

    /// The same policy with this longest delay: at most 30 days.
    pub fn with_max(self, max: Duration) -> Result<Self, Invalid> {
        Ok(Self { max: checked_delay(max)?, ..self })
    }

    /// The same policy with delays spread by plus or minus this share of themselves: 0 to 1.
    pub fn with_jitter(self, jitter: f64) -> Result<Self, Invalid> {
        if !(0.0..=1.0).contains(&jitter) {
            return Err(Invalid::new(format!("{jitter} is not allowed: a number from 0 to 1")));
        }
        Ok(Self { jitter, ..self })
    }

    /// Attempts in all, the first included.
    pub const fn max_attempts(&self) -> u32 {
        self.max_attempts
    }

    /// How the delay grows.
    pub const fn backoff(&self) -> Backoff {
        self.backoff
    }

    /// The delay after the first failed attempt.
    pub const fn initial(&self) -> Duration {
        self.initial
    }

    /// The longest delay, before jitter.
    pub const fn max(&self) -> Duration {
        self.max
    }

    /// By which share of itself a delay is spread, both ways.
    pub const fn jitter(&self) -> f64 {
        self.jitter
    }

    /// How long to wait after the failed attempt number `attempt` (from 1).
    ///
    /// `random` is uniform in 0..1 and spreads the delay over `delay * (1 ± jitter)`. Never longer than
    /// 60 days, whatever the arguments: twice [`limits::BACKOFF_MAX`].
    pub fn delay(&self, attempt: u32, random: f64) -> Duration {
        let base = match self.backoff {
            Backoff::None => return Duration::ZERO,
            Backoff::Fixed => self.initial,
            Backoff::Exponential => {
                let factor = 1u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
                self.initial.saturating_mul(factor)
            }
        };
        let spread = 1.0 + self.jitter * (2.0 * random.clamp(0.0, 1.0) - 1.0);
        base.min(self.max).mul_f64(spread)
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self::DEFAULT
    }
}

fn checked_delay(delay: Duration) -> Result<Duration, Invalid> {
    if delay > limits::BACKOFF_MAX {
        let (ms, most) = (delay.as_millis(), limits::BACKOFF_MAX.as_millis());
        return Err(Invalid::new(format!("{ms} is not allowed: 0 to {most} milliseconds")));
    }
    Ok(delay)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn exponential_doubles_up_to_its_maximum() {
        let policy = RetryPolicy::DEFAULT.with_jitter(0.0).unwrap();
        let seconds: Vec<u64> = (1..=11).map(|n| policy.delay(n, 0.5).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    }

    #[test]
    fn fixed_stays_and_none_never_waits() {
        let fixed = RetryPolicy::DEFAULT.with_backoff(Backoff::Fixed).with_jitter(0.0).unwrap();
        assert_eq!(fixed.delay(9, 0.9), Duration::from_secs(1));
        assert_eq!(RetryPolicy::DEFAULT.with_backoff(Backoff::None).delay(9, 0.9), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn no_argument_overflows_and_jitter_keeps_its_bounds(
            attempt: u32, random in 0.0f64..1.0, jitter in 0.0f64..=1.0,
            initial_ms in 0..=2_592_000_000u64, max_ms in 0..=2_592_000_000u64,
        ) {
            let plain = RetryPolicy::DEFAULT
                .with_initial(Duration::from_millis(initial_ms)).unwrap()
                .with_max(Duration::from_millis(max_ms)).unwrap()
                .with_jitter(0.0).unwrap();
            let base = plain.delay(attempt, random).as_secs_f64();
            let spread = plain.with_jitter(jitter).unwrap().delay(attempt, random).as_secs_f64();
            prop_assert!(spread >= base * (1.0 - jitter) - 1e-6);
            prop_assert!(spread <= base * (1.0 + jitter) + 1e-6);
        }
    }
}
