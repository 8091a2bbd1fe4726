use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use steadfast_domain::QueueName;
use tokio::time::Instant;

/// What this process does with the jobs of each queue lately: for people who look at a queue. Counting takes no
/// lock; nothing is computed until somebody asks.
#[derive(Debug)]
pub struct JobRates {
    began: Instant,
    queues: HashMap<QueueName, Meters>,
}

/// Jobs per second, over the last ten seconds or since the process began.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Rates {
    /// Accepted.
    pub submitted: f64,
    /// Attempts begun.
    pub started: f64,
    /// Brought to their end.
    pub finished: f64,
}

#[derive(Debug, Default)]
struct Meters {
    submitted: Meter,
    started: Meter,
    finished: Meter,
}

/// A ring of seconds. Each holds which second it is of, in its upper half, and how many events that one had.
#[derive(Debug, Default)]
struct Meter([AtomicU64; SECONDS]);

/// What a rate is measured over: the second that runs and the whole ones before it.
const SECONDS: usize = 10;
/// What is measured of a process that began just now.
const SEEN_AT_LEAST: Duration = Duration::from_secs(1);

impl JobRates {
    /// Nothing counted yet. Other queues than these are not counted.
    pub fn new(queues: impl IntoIterator<Item = QueueName>) -> Self {
        let queues = queues.into_iter().map(|queue| (queue, Meters::default())).collect();
        Self { began: Instant::now(), queues }
    }

    /// A job of `queue` was accepted.
    pub(crate) fn submitted(&self, queue: &QueueName) {
        self.count(queue, |meters| &meters.submitted, 1);
    }

    /// So many attempts of its jobs have begun.
    pub(crate) fn started(&self, queue: &QueueName, attempts: usize) {
        self.count(queue, |meters| &meters.started, attempts as u64);
    }

    /// A job of it reached its end.
    pub(crate) fn finished(&self, queue: &QueueName) {
        self.count(queue, |meters| &meters.finished, 1);
    }

    /// The rates of `queue`; `None` if it is not counted.
    pub(crate) fn of(&self, queue: &QueueName) -> Option<Rates> {
        let meters = self.queues.get(queue)?;
        let age = self.began.elapsed();
        Some(Rates {
            submitted: meters.submitted.per_second(age),
            started: meters.started.per_second(age),
            finished: meters.finished.per_second(age),
        })
    }

    fn count(&self, queue: &QueueName, meter: impl Fn(&Meters) -> &Meter, events: u64) {
        if let Some(meters) = self.queues.get(queue) {
            meter(meters).add(events, self.began.elapsed());
        }
    }
}

impl Meter {
    fn add(&self, events: u64, age: Duration) {
        let second = age.as_secs();
        let counted = |held: u64| {
            let before = if held >> 32 == second { held } else { second << 32 };
            Some(before + events)
        };
        // Never refused: the closure always has a next value.
        let _ = self.0[second as usize % SECONDS].fetch_update(Ordering::Relaxed, Ordering::Relaxed, counted);
    }

    fn per_second(&self, age: Duration) -> f64 {
        let now = age.as_secs();
        let held = self.0.iter().map(|cell| cell.load(Ordering::Relaxed));
        let lately = held.filter(|held| now.saturating_sub(held >> 32) < SECONDS as u64);
        let events: u64 = lately.map(|held| held & u64::from(u32::MAX)).sum();
        let first = Duration::from_secs((now + 1).saturating_sub(SECONDS as u64));
        events as f64 / (age - first).max(SEEN_AT_LEAST).as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn queue() -> QueueName {
        QueueName::default_queue()
    }

    #[tokio::test(start_paused = true)]
    async fn a_steady_rate_is_found_from_the_first_second_on_and_forgotten_in_silence() {
        let rates = JobRates::new([queue()]);
        for n in 1..=3_000 {
            advance(Duration::from_millis(10)).await;
            rates.submitted(&queue());
            rates.started(&queue(), 2);
            let Rates { submitted, started, finished } = rates.of(&queue()).unwrap();
            if n >= 100 {
                assert!((98.0..=102.0).contains(&submitted), "{submitted} after {n}");
                assert!((196.0..=204.0).contains(&started), "{started} after {n}");
            }
            assert_eq!(finished, 0.0);
        }
        advance(Duration::from_secs(5)).await;
        let half = rates.of(&queue()).unwrap().submitted;
        assert!((40.0..=60.0).contains(&half), "{half}");
        advance(Duration::from_secs(5)).await;
        assert_eq!(rates.of(&queue()), Some(Rates::default()));
    }

    #[tokio::test(start_paused = true)]
    async fn one_event_is_no_enormous_rate() {
        let rates = JobRates::new([queue()]);
        rates.finished(&queue());
        assert_eq!(rates.of(&queue()).unwrap().finished, 1.0);
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_named_queues_are_counted() {
        let rates = JobRates::new([]);
        rates.submitted(&queue());
        assert_eq!(rates.of(&queue()), None);
    }
}
