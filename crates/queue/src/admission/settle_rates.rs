use std::collections::HashMap;

use parking_lot::Mutex;
use steadfast_domain::QueueName;
use tokio::time::Instant;

use super::rate_meter::RateMeter;

/// How fast room comes free: the jobs, and the payload bytes, that reach their end per second, by queue and
/// in all. Written by whoever settles jobs, read by admission for its `retry_after`.
#[derive(Debug, Default)]
pub struct SettleRates(Mutex<Meters>);

#[derive(Debug, Default)]
struct Meters {
    all: Room,
    /// One for each queue this process has settled jobs of: no more than are declared.
    queues: HashMap<QueueName, Room>,
}

#[derive(Debug, Default)]
struct Room {
    jobs: RateMeter,
    bytes: RateMeter,
}

/// What a capacity is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Jobs,
    Bytes,
}

impl SettleRates {
    /// Nothing measured yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts a job of `queue` that reached its end just now, with this many bytes of payload.
    pub fn settled(&self, queue: &QueueName, payload_bytes: usize) {
        let now = Instant::now();
        let mut meters = self.0.lock();
        meters.all.add(payload_bytes, now);
        match meters.queues.get_mut(queue) {
            Some(room) => room.add(payload_bytes, now),
            None => meters.queues.entry(queue.clone()).or_default().add(payload_bytes, now),
        }
    }

    /// What comes free per second, in `queue` or in all; `None` while nothing is known.
    pub(super) fn per_second(&self, queue: Option<&QueueName>, unit: Unit) -> Option<f64> {
        let meters = self.0.lock();
        let room = match queue {
            Some(queue) => meters.queues.get(queue)?,
            None => &meters.all,
        };
        let meter = match unit {
            Unit::Jobs => &room.jobs,
            Unit::Bytes => &room.bytes,
        };
        meter.per_second(Instant::now())
    }
}

impl Room {
    fn add(&mut self, payload_bytes: usize, now: Instant) {
        self.jobs.add(1.0, now);
        self.bytes.add(payload_bytes as f64, now);
    }
}
