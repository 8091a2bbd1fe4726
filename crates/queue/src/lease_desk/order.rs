use std::sync::Arc;
use std::time::Duration;

use steadfast_domain::{KindName, QueueName, WorkerName};

use super::LeaseDesk;
use crate::admission::QueueMode;
use crate::store::{Owner, Want};

/// What a worker may be given: only ever from pull queues that this server declares.
#[derive(Debug, Clone)]
pub struct Order {
    pub(super) owner: Owner,
    pub(super) kind_of_work: KindOfWork,
    /// The same as a store reads it. No queue has a share: what is ready is taken in ready order.
    pub(super) wants: Arc<[Want]>,
    pub(super) max: usize,
    pub(super) lease: Duration,
}

/// From where and what. Those who want the same wait in one line.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct KindOfWork {
    pub(super) queues: Arc<[QueueName]>,
    kinds: Option<Arc<[KindName]>>,
}

/// A queue that workers cannot lease from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WrongQueue {
    /// It is not declared.
    NotFound(QueueName),
    /// The server itself runs its jobs: the queue of this index.
    NotPull(usize),
}

impl LeaseDesk {
    /// An order of `max` jobs of these queues, or of every pull queue if none is named, and of these kinds, or of
    /// any.
    ///
    /// # Errors
    /// When one of the queues is not a pull queue of this server.
    pub fn order(
        &self,
        worker: WorkerName,
        mut queues: Vec<QueueName>,
        mut kinds: Vec<KindName>,
        max: usize,
        lease: Duration,
    ) -> Result<Order, WrongQueue> {
        let admission = &self.shared.admission;
        for (index, queue) in queues.iter().enumerate() {
            match admission.queue_mode(queue) {
                Some(QueueMode::Pull) => {}
                Some(QueueMode::Push) => return Err(WrongQueue::NotPull(index)),
                None => return Err(WrongQueue::NotFound(queue.clone())),
            }
        }
        if queues.is_empty() {
            queues.extend(admission.pull_queues().cloned());
        }
        queues.sort();
        queues.dedup();
        kinds.sort();
        kinds.dedup();
        let kinds: Option<Arc<[KindName]>> = (!kinds.is_empty()).then(|| kinds.into());
        let wants = queues
            .iter()
            .map(|queue| Want { queue: queue.clone(), kinds: kinds.clone(), share: 0 })
            .collect();
        Ok(Order {
            owner: Owner::Worker(worker),
            kind_of_work: KindOfWork { queues: queues.into(), kinds },
            wants,
            max,
            lease,
        })
    }
}
