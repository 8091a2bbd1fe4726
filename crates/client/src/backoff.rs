use std::time::Duration;

/// Delays between tries of one call, with full jitter: each is a random part of a bound that doubles (Marc Brooker,
/// "Exponential Backoff And Jitter", AWS Architecture Blog, 2015), so that callers who failed together do not come
/// back together. What the server asked for is always waited for.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    bound: Duration,
    first: Duration,
    longest: Duration,
}

impl Backoff {
    /// Bounds from `first`, up to `longest`.
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self { bound: first, first, longest }
    }

    /// How long to wait after another failure. `random` is 0..1; `asked` is the server's word.
    pub(crate) fn next(&mut self, random: f64, asked: Option<Duration>) -> Duration {
        let delay = self.bound.mul_f64(random);
        self.bound = self.longest.min(self.bound * 2);
        asked.unwrap_or_default().saturating_add(delay)
    }

    /// A call succeeded: the next failure is the first again.
    pub(crate) fn reset(&mut self) {
        self.bound = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_random_parts_of_doubling_bounds() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(100), ms(300));
        let mut next = |random, asked| backoff.next(random, asked).as_millis();
        assert_eq!((next(0.5, None), next(0.5, None), next(0.5, None), next(0.0, None)), (50, 100, 150, 0));
        assert_eq!(next(0.5, Some(ms(1_000))), 1_150);
        backoff.reset();
        assert_eq!(backoff.next(0.5, None), ms(50));
    }
}
