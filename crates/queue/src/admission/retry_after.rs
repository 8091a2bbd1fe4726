use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use steadfast_domain::QueueName;
use tokio::time::Instant;

use super::settle_rates::Unit;
use super::{AdmissionConfig, Why};
use crate::store::{QueueSpec, Refusal, StoreError};

/// No answer sends a client back earlier than this.
const RETRY_AFTER_MIN: Duration = Duration::from_millis(50);
/// No answer keeps a client away for longer than this.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);
/// What a client is told when nothing better is known.
const FIRST_BACK_OFF: Duration = Duration::from_secs(1);
/// Answers are spread by this share of themselves, both ways, so that refused clients do not return at once.
const JITTER: f64 = 0.2;
/// Which part of a capacity is to be free when a refused client returns.
const FREE_SHARE: u64 = 10;

/// Tells refused clients when to come back (API.md, "Errors").
///
/// Out of room: the time until a tenth of the capacity, at least one place, is free at the measured rate.
/// Where no rate is known: as long as the refusals have gone on already, at least a second. A client
/// that comes back each time it was told thus doubles its wait, with no state kept for it.
#[derive(Debug)]
pub(crate) struct RetryAfter {
    config: AdmissionConfig,
    /// Since when each queue has been out of room at an unknown rate: bounded by the declared queues.
    full_since: Mutex<HashMap<QueueName, Instant>>,
    /// Since when the store has not been able to answer.
    store_away_since: Mutex<Option<Instant>>,
    /// Whether one of the two has anything to forget: most submits follow no refusal.
    remembers: AtomicBool,
}

impl RetryAfter {
    pub(super) fn new(config: AdmissionConfig) -> Self {
        Self {
            config,
            full_since: Mutex::default(),
            store_away_since: Mutex::default(),
            remembers: AtomicBool::new(false),
        }
    }

    /// The store took jobs of `queue`: what is refused from now on is refused anew.
    pub(super) fn accepted(&self, queue: &QueueName) {
        if self.remembers.load(Ordering::Relaxed) {
            let (mut full, mut away) = (self.full_since.lock(), self.store_away_since.lock());
            *away = None;
            full.remove(queue);
            self.remembers.store(!full.is_empty(), Ordering::Relaxed);
        }
    }

    /// When to come back after `why`; `None` where that is not answered 429 or 503.
    pub(super) fn after(&self, why: &Why) -> Option<Duration> {
        let wait = match why {
            Why::Refused(Refusal::QueueFull { queue, depth, capacity }) => {
                self.until_room(queue, Unit::Jobs, *depth, *capacity)
            }
            Why::Refused(Refusal::QueueBytesFull { queue, bytes, capacity }) => {
                self.until_room(queue, Unit::Bytes, *bytes, *capacity)
            }
            Why::ShuttingDown(_) => self.until_restart(),
            Why::Store(StoreError::Closed) => self.until_restart(),
            Why::Store(_) | Why::TimedOut => {
                let mut away = self.store_away_since.lock();
                self.remembers.store(true, Ordering::Relaxed);
                gone_on(away.get_or_insert_with(Instant::now))
            }
            Why::Starting => FIRST_BACK_OFF,
            _ => return None,
        };
        Some(spread(wait, rand::random()))
    }

    /// When a worker is to look whether a process that drains has been replaced. Most drains end long before their
    /// budget, and a look costs nothing: the jobs are not to wait for workers that stay away.
    pub(crate) fn of_a_worker() -> Duration {
        spread(FIRST_BACK_OFF, rand::random())
    }

    fn until_room(&self, queue: &QueueName, unit: Unit, used: u64, capacity: u64) -> Duration {
        // Either the queue was full or the whole store; a queue's own capacity tells which.
        let own = self.spec(queue).and_then(|spec| match unit {
            Unit::Jobs => spec.capacity_jobs,
            Unit::Bytes => spec.capacity_bytes,
        });
        let scope = (own == Some(capacity)).then_some(queue);
        match self.config.settle_rates.per_second(scope, unit) {
            Some(rate) => {
                self.full_since.lock().remove(queue);
                let wanted_free = capacity.div_ceil(FREE_SHARE).max(1);
                let missing = wanted_free.saturating_sub(capacity.saturating_sub(used)).max(1);
                Duration::try_from_secs_f64(missing as f64 / rate).unwrap_or(RETRY_AFTER_MAX)
            }
            None => {
                let mut full = self.full_since.lock();
                self.remembers.store(true, Ordering::Relaxed);
                gone_on(full.entry(queue.clone()).or_insert_with(Instant::now))
            }
        }
    }

    fn until_restart(&self) -> Duration {
        let ends = *self.config.drain_ends.borrow();
        ends.map_or(FIRST_BACK_OFF, |ends| ends.duration_since(Instant::now()) + FIRST_BACK_OFF)
    }

    fn spec(&self, queue: &QueueName) -> Option<&QueueSpec> {
        self.config.queues.iter().map(|queue| &queue.spec).find(|spec| spec.name == *queue)
    }
}

fn gone_on(since: &mut Instant) -> Duration {
    since.elapsed().max(FIRST_BACK_OFF)
}

/// `wait` times 1 ± [`JITTER`] by `random` (0..1), within the bounds of an answer.
fn spread(wait: Duration, random: f64) -> Duration {
    let factor = 1.0 + JITTER * (2.0 * random - 1.0);
    wait.min(RETRY_AFTER_MAX).mul_f64(factor).clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX)
}
