use steadfast_domain::QueueName;

use super::value::Slot;

/// Queues one file may declare.
pub(super) const QUEUES_MAX: usize = 1_000;

/// What a queue's table may hold.
const QUEUE_KEYS: [&str; 4] = ["capacity", "capacity_bytes", "concurrency", "weight"];

/// A `[queues.NAME]` table: a queue with limits of its own. What is unset is bounded by the server's
/// limits only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueSettings {
    /// Its name.
    pub name: QueueName,
    /// Jobs of it that are not terminal.
    pub capacity: Option<u64>,
    /// Bytes of their payloads.
    pub capacity_bytes: Option<u64>,
    /// Jobs of it at once in this process.
    pub concurrency: Option<usize>,
    /// Its share of the free places, against the other queues' weights.
    pub weight: u32,
}

impl QueueSettings {
    /// A queue with no limits of its own and weight 1.
    pub fn new(name: QueueName) -> Self {
        Self { name, capacity: None, capacity_bytes: None, concurrency: None, weight: 1 }
    }

    /// Its keys and values, as one may write them.
    pub fn shown(&self) -> impl Iterator<Item = (&'static str, String)> {
        let mut queue = self.clone();
        QUEUE_KEYS.iter().filter_map(move |key| Some((*key, queue.slot(key)?.show())))
    }

    /// The place of the value under `key`; `None` for a key a queue does not have.
    pub(super) fn slot(&mut self, key: &str) -> Option<Slot<'_>> {
        Some(match key {
            "capacity" => Slot::Count(&mut self.capacity, 1..=1_000_000_000),
            "capacity_bytes" => Slot::Size(&mut self.capacity_bytes, 1..=1 << 50),
            "concurrency" => Slot::Count(&mut self.concurrency, 1..=10_000),
            "weight" => Slot::Count(&mut self.weight, 1..=1_000),
            _ => return None,
        })
    }
}
