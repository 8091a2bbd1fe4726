use steadfast_domain::Change;
use steadfast_queue::store::{ClaimId, Hint};
use tokio::sync::broadcast;

use crate::queues::{QueueIndex, Queues};

/// What a transaction has changed, to be told once it is committed.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// Each with its job's queue.
    pub(crate) changes: Vec<(Change, QueueIndex)>,
    pub(crate) cancels: Vec<ClaimId>,
    pub(crate) queues: bool,
    /// Queues that got ready work, each once.
    ready: Vec<QueueIndex>,
}

impl Effects {
    /// This queue has ready work.
    pub(crate) fn ready(&mut self, queue: QueueIndex) {
        if !self.ready.contains(&queue) {
            self.ready.push(queue);
        }
    }

    /// Forgets everything: the transaction did not happen.
    pub(crate) fn clear(&mut self) {
        self.changes.clear();
        self.cancels.clear();
        self.ready.clear();
        self.queues = false;
    }

    /// Tells whoever listens, and forgets it.
    pub(crate) fn publish(&mut self, hints: &broadcast::Sender<Hint>, queues: &Queues) {
        if hints.receiver_count() > 0 {
            let name = |index: &QueueIndex| queues.get(*index).spec.name.clone();
            let ready = self.ready.iter().map(|index| Hint::Ready(name(index)));
            let declared = self.queues.then_some(Hint::Queues);
            let cancels = self.cancels.iter().copied().map(Hint::CancelRequested);
            let changes = self.changes.iter().map(|(change, queue)| Hint::Changed(*change, name(queue)));
            for hint in changes.chain(cancels).chain(ready).chain(declared) {
                // An error says that the last listener has just gone.
                let _ = hints.send(hint);
            }
        }
        self.clear();
    }
}
