use std::time::Duration;

/// How long the writer waits, with work in hand, for more to join it.
///
/// Callers that were answered together come back together, a moment after the writer has begun the next
/// commit without them: so they split into two halves that wait for each other's sync. A short wait, a
/// share of what a sync costs, lets them join again. Where a sync is cheap, or one caller is alone, there
/// is nothing to gain and no wait.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// Smoothed time of a synced commit.
    commit: Duration,
    /// Smoothed number of callers that shared one, in hundredths.
    callers: u64,
}

/// Syncs cheaper than this are not worth waiting for.
const CHEAP: Duration = Duration::from_micros(200);
/// The wait is this part of a commit.
const SHARE: u32 = 4;
/// The longest wait, however slow the disk.
const DELAY_MAX: Duration = Duration::from_millis(2);

impl Pace {
    /// Learns from a synced commit that this many callers shared.
    pub(crate) fn committed(&mut self, took: Duration, callers: usize) {
        self.commit = (self.commit * 7 + took) / 8;
        self.callers = (self.callers * 7 + callers as u64 * 100) / 8;
    }

    /// How long to wait now.
    pub(crate) fn delay(&self) -> Duration {
        if self.commit < CHEAP || self.callers < 200 {
            return Duration::ZERO;
        }
        (self.commit / SHARE).min(DELAY_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(commit: Duration, callers: usize) -> Pace {
        let mut pace = Pace::default();
        (0..100).for_each(|_| pace.committed(commit, callers));
        pace
    }

    #[test]
    fn waits_only_where_syncs_are_dear_and_callers_many() {
        assert_eq!(pace(Duration::from_micros(40), 64).delay(), Duration::ZERO);
        assert_eq!(pace(Duration::from_millis(1), 1).delay(), Duration::ZERO);
        let delay = pace(Duration::from_millis(1), 32).delay();
        assert!((Duration::from_micros(200)..=Duration::from_micros(250)).contains(&delay), "{delay:?}");
        assert_eq!(pace(Duration::from_secs(1), 32).delay(), DELAY_MAX);
    }
}
