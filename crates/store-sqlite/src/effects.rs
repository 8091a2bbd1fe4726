use steadfast_domain::{Change, Job, JobState};
use steadfast_queue::store::{ClaimId, Hint, JobCounts, QueueCounts};
use tokio::sync::broadcast;

use crate::queues::{QueueIndex, Queues};

/// What a transaction has changed, to be counted and told once it is committed.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// Each with its job's queue.
    changes: Vec<(Change, QueueIndex)>,
    pub(crate) cancels: Vec<ClaimId>,
    pub(crate) queues: bool,
    /// Queues that got ready work, each once.
    ready: Vec<QueueIndex>,
    /// What the changes count, each queue once.
    counts: Vec<(QueueIndex, JobCounts)>,
}

impl Effects {
    /// A job of the queue changed from what it was `before`; `None` is not stored.
    pub(crate) fn changed(
        &mut self,
        job: &Job,
        queue: QueueIndex,
        before: Option<JobState>,
        change: Option<Change>,
    ) {
        self.changes.extend(change.map(|change| (change, queue)));
        let place = self.counts.iter().position(|(counted, _)| *counted == queue).unwrap_or_else(|| {
            self.counts.push((queue, JobCounts::default()));
            self.counts.len() - 1
        });
        self.counts[place].1.moved(&job.kind, before, Some(job.state));
    }

    /// This queue has ready work.
    pub(crate) fn ready(&mut self, queue: QueueIndex) {
        if !self.ready.contains(&queue) {
            self.ready.push(queue);
        }
    }

    /// The jobs' changes.
    pub(crate) fn changes(&self) -> impl Iterator<Item = Change> {
        self.changes.iter().map(|(change, _)| *change)
    }

    /// What the changes count.
    pub(crate) fn counts(&self, queues: &Queues) -> QueueCounts {
        let mut counts = QueueCounts::default();
        self.count(&mut counts, queues);
        counts
    }

    /// Forgets everything: the transaction did not happen.
    pub(crate) fn clear(&mut self) {
        self.changes.clear();
        self.cancels.clear();
        self.ready.clear();
        self.counts.clear();
        self.queues = false;
    }

    /// Counts it, tells whoever listens, and forgets it.
    pub(crate) fn publish(
        &mut self,
        hints: &broadcast::Sender<Hint>,
        counts: &mut QueueCounts,
        queues: &Queues,
    ) {
        self.count(counts, queues);
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

    fn count(&self, counts: &mut QueueCounts, queues: &Queues) {
        for (queue, more) in &self.counts {
            counts.of_mut(&queues.get(*queue).spec.name).add(more);
        }
    }
}
