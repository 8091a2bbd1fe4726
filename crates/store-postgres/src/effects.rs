use std::collections::BTreeSet;

use steadfast_domain::{Change, Job, JobState, QueueName};
use steadfast_queue::store::{ClaimId, Hint, QueueCounts};

/// What a transaction is to count and tell once it is committed.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// Each with its job's queue.
    changes: Vec<(Change, QueueName)>,
    /// What the changes count.
    pub(crate) counts: QueueCounts,
    pub(crate) cancels: Vec<ClaimId>,
    /// Queues that got ready work, each told once.
    pub(crate) ready: BTreeSet<QueueName>,
    /// Whether a queue was declared, paused or resumed.
    pub(crate) queues: bool,
}

impl Effects {
    /// A job changed from what it was `before`; `None` is not stored.
    pub(crate) fn changed(&mut self, job: &Job, before: Option<JobState>, change: Option<Change>) {
        self.changes.extend(change.map(|change| (change, job.queue.clone())));
        self.counts.of_mut(&job.queue).moved(&job.kind, before, Some(job.state));
    }

    /// The hints, those about jobs first.
    pub(crate) fn into_hints(self) -> Vec<Hint> {
        let changes = self.changes.into_iter().map(|(change, queue)| Hint::Changed(change, queue));
        let cancels = self.cancels.into_iter().map(Hint::CancelRequested);
        let queues = self.queues.then_some(Hint::Queues);
        changes.chain(cancels).chain(queues).chain(self.ready.into_iter().map(Hint::Ready)).collect()
    }
}
