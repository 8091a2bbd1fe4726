use steadfast_domain::{KindName, QueueName};
use steadfast_queue::admission::QueueMode;
use steadfast_queue::pool::StartRate;

use super::value::{NotAllowed, Slot};

/// Queues one file may declare.
pub(super) const QUEUES_MAX: usize = 1_000;

/// What a queue's table may hold.
const QUEUE_KEYS: [&str; 7] =
    ["capacity", "capacity_bytes", "mode", "kinds", "concurrency", "weight", "rate_limit"];

/// The key that only a pull queue may have.
pub(super) const KINDS: &str = "kinds";

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
    /// Who runs its jobs.
    pub mode: QueueMode,
    /// The kinds a pull queue accepts; any if unset. Never set for a push queue.
    pub kinds: Option<Vec<KindName>>,
    /// Jobs of it at once in this process.
    pub concurrency: Option<usize>,
    /// Its share of the free places, against the other queues' weights.
    pub weight: u32,
    /// How fast this process may start its jobs.
    pub rate_limit: Option<StartRate>,
}

impl QueueSettings {
    /// A push queue with no limits of its own and weight 1.
    pub fn new(name: QueueName) -> Self {
        Self {
            name,
            capacity: None,
            capacity_bytes: None,
            mode: QueueMode::Push,
            kinds: None,
            concurrency: None,
            weight: 1,
            rate_limit: None,
        }
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
            "mode" => Slot::Mode(&mut self.mode),
            KINDS => Slot::Kinds(&mut self.kinds),
            "concurrency" => Slot::Count(&mut self.concurrency, 1..=10_000),
            "weight" => Slot::Count(&mut self.weight, 1..=1_000),
            "rate_limit" => Slot::Rate(&mut self.rate_limit),
            _ => return None,
        })
    }

    /// What a push queue accepts are the kinds this program runs: a list of its own would only hide some.
    pub(super) fn misplaced_kinds(&mut self) -> Option<NotAllowed> {
        if self.mode == QueueMode::Pull || self.kinds.is_none() {
            return None;
        }
        let kinds = Slot::Kinds(&mut self.kinds);
        let shown = kinds.shown(&kinds.show());
        Some(NotAllowed { shown, allowed: "a list of kinds only beside mode = \"pull\"".to_owned() })
    }
}
