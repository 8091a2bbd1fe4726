use std::collections::BTreeMap;

use steadfast_domain::QueueName;
use steadfast_queue::store::JobCounts;

/// What this process, or one of its transactions, counted of each queue.
#[derive(Debug, Default)]
pub(crate) struct Counts(BTreeMap<QueueName, JobCounts>);

impl Counts {
    pub(crate) fn of(&mut self, queue: &QueueName) -> &mut JobCounts {
        self.0.entry(queue.clone()).or_default()
    }

    pub(crate) fn add(&mut self, more: &Self) {
        more.0.iter().for_each(|(queue, more)| self.of(queue).add(more));
    }
}
