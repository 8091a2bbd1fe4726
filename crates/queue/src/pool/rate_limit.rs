use std::time::Duration;

use tokio::time::Instant;

/// How many attempts of a queue a process may start each second: exact to a thousandth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct StartRate(u64);

/// Starts that were not used may be made up for, as many as the rate gives in this time, and at least one.
const BURST: Duration = Duration::from_millis(100);
/// A claim is worth its call when the rate has given what it gives in this time, and at least one start.
const CLAIM_EVERY: Duration = Duration::from_millis(10);

impl StartRate {
    /// The lowest: one start in a thousand seconds.
    pub const MIN: Self = Self(1);
    /// The highest: a million a second, more than any process starts.
    pub const MAX: Self = Self(1_000_000_000);

    /// A rate in starts for a thousand seconds; `None` outside of [`MIN`](Self::MIN) and [`MAX`](Self::MAX).
    pub fn from_thousandths(thousandths: u64) -> Option<Self> {
        Some(Self(thousandths)).filter(|rate| (Self::MIN..=Self::MAX).contains(rate))
    }

    /// Starts for a thousand seconds.
    pub const fn thousandths(self) -> u64 {
        self.0
    }

    /// From one start to the next.
    const fn interval(self) -> Duration {
        Duration::from_nanos(1_000_000_000_000 / self.0)
    }
}

/// A token bucket, kept as the one moment when it is full again (the generic cell rate algorithm, ITU-T I.371,
/// annex A): nothing runs while nothing starts, and no fraction of a start is lost to rounding.
#[derive(Debug)]
pub(super) struct RateLimit {
    interval: Duration,
    /// Starts that a full bucket gives at once.
    burst: u32,
    /// Starts below which a claim waits for more.
    least: u32,
    full_at: Instant,
}

impl RateLimit {
    /// A full bucket.
    pub(super) fn new(rate: StartRate) -> Self {
        let interval = rate.interval();
        let starts_in = |time: Duration| (time.as_nanos() / interval.as_nanos()).max(1) as u32;
        Self { interval, burst: starts_in(BURST), least: starts_in(CLAIM_EVERY), full_at: Instant::now() }
    }

    /// How many may start now; 0 while they are fewer than a claim is worth.
    pub(super) fn starts(&self) -> usize {
        let missing = self.full_at.saturating_duration_since(Instant::now());
        let held = (self.interval * self.burst).saturating_sub(missing);
        let starts = held.as_nanos() / self.interval.as_nanos();
        if starts < u128::from(self.least) { 0 } else { starts as usize }
    }

    /// When [`starts`](Self::starts) is no longer 0; `None` when it is not.
    pub(super) fn starts_at(&self) -> Option<Instant> {
        (self.starts() == 0).then(|| self.full_at - self.interval * (self.burst - self.least))
    }

    /// So many start.
    pub(super) fn take(&mut self, starts: usize) {
        self.full_at = self.full_at.max(Instant::now()) + self.interval * starts as u32;
    }

    /// So many that were taken did not start.
    pub(super) fn give_back(&mut self, starts: usize) {
        self.full_at -= self.interval * starts as u32;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn limit(per_second: u64) -> RateLimit {
        RateLimit::new(StartRate::from_thousandths(per_second * 1_000).unwrap())
    }

    /// Starts whatever it may, whenever it may, for a minute: how many, and how often it was asked.
    async fn a_minute_of(limit: &mut RateLimit) -> (usize, usize) {
        let ends = Instant::now() + Duration::from_secs(60);
        let (mut started, mut asked) = (0, 0);
        while Instant::now() < ends {
            let starts = limit.starts();
            limit.take(starts);
            (started, asked) = (started + starts, asked + 1);
            tokio::time::sleep_until(limit.starts_at().unwrap().min(ends)).await;
        }
        (started, asked)
    }

    #[tokio::test(start_paused = true)]
    async fn a_minute_holds_a_minutes_starts_and_one_burst() {
        for (per_second, burst) in [(1, 1), (50, 5), (1_000, 100)] {
            let (started, asked) = a_minute_of(&mut limit(per_second)).await;
            let most = 60 * per_second as usize + burst;
            // The clock of the runtime has milliseconds: what is due within one may miss the end.
            assert!((most - most / 50 - 1..=most).contains(&started), "{started} at {per_second} a second");
            assert!(asked <= started.min(6_000) + 1, "asked {asked} times at {per_second} a second");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_saves_one_burst_and_no_more() {
        let mut limit = limit(50);
        assert_eq!(limit.starts(), 5);
        limit.take(5);
        assert_eq!(limit.starts(), 0);
        advance(Duration::from_millis(20)).await;
        assert_eq!(limit.starts(), 1);
        advance(Duration::from_secs(3_600)).await;
        assert_eq!(limit.starts(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn what_did_not_start_may_start_at_once() {
        let mut limit = limit(50);
        limit.take(5);
        limit.give_back(3);
        assert_eq!(limit.starts(), 3);
        assert_eq!(limit.starts_at(), None);
    }

    #[test]
    fn a_rate_is_within_its_bounds() {
        assert_eq!(StartRate::from_thousandths(0), None);
        assert_eq!(StartRate::from_thousandths(StartRate::MAX.thousandths() + 1), None);
        assert_eq!(StartRate::from_thousandths(500).map(StartRate::interval), Some(Duration::from_secs(2)));
    }
}
