use std::collections::BTreeSet;

use steadfast_domain::{Change, QueueName};
use steadfast_queue::store::{ClaimId, Hint};

/// What a transaction is to tell once it is committed.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// Each with its job's queue.
    pub(crate) changes: Vec<(Change, QueueName)>,
    pub(crate) cancels: Vec<ClaimId>,
    /// Queues that got ready work, each told once.
    pub(crate) ready: BTreeSet<QueueName>,
    /// Whether a queue was declared, paused or resumed.
    pub(crate) queues: bool,
}

impl Effects {
    /// The hints, those about jobs first.
    pub(crate) fn into_hints(self) -> Vec<Hint> {
        let changes = self.changes.into_iter().map(|(change, queue)| Hint::Changed(change, queue));
        let cancels = self.cancels.into_iter().map(Hint::CancelRequested);
        let queues = self.queues.then_some(Hint::Queues);
        changes.chain(cancels).chain(queues).chain(self.ready.into_iter().map(Hint::Ready)).collect()
    }
}
