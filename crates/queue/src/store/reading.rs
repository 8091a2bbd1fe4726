use steadfast_domain::{Job, JobId, JobState, KindName, QueueName, Timestamp};

use super::JobCounts;

/// Which jobs a list holds.
#[derive(Debug, Clone, Default)]
pub struct ListQuery {
    /// Of this queue.
    pub queue: Option<QueueName>,
    /// In this state.
    pub state: Option<JobState>,
    /// Of this kind.
    pub kind: Option<KindName>,
    /// With this tag.
    pub tag: Option<(String, String)>,
    /// Rows: 1 to 1,000.
    pub limit: usize,
    /// Only jobs older than this one.
    pub before: Option<JobId>,
}

/// One page of a list.
#[derive(Debug, Clone)]
pub struct Page {
    /// Newest first, without payload, result and checkpoint.
    pub jobs: Vec<Job>,
    /// The next page's [`ListQuery::before`], while there may be more.
    pub next: Option<JobId>,
}

/// One queue's figures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueStatus {
    /// Its name.
    pub name: QueueName,
    /// Whether it is paused.
    pub paused: bool,
    /// Stored jobs by state, in the order of [`JobState::ALL`].
    pub depth: [u64; 8],
    /// Payload bytes of jobs that are not terminal.
    pub bytes: u64,
    /// Jobs that are not terminal, at most: the queue's own limit or the store's.
    pub capacity_jobs: u64,
    /// Their payload bytes, at most.
    pub capacity_bytes: u64,
    /// When the oldest ready job became due.
    pub oldest_ready_at: Option<Timestamp>,
    /// The store's clock as it answered.
    pub now: Timestamp,
    /// What this process has done with its jobs.
    pub counts: JobCounts,
}

impl QueueStatus {
    /// Stored jobs in `state`.
    pub fn depth_in(&self, state: JobState) -> u64 {
        self.depth[state as usize]
    }

    /// Jobs that are not terminal: what counts against the capacity.
    pub fn live(&self) -> u64 {
        JobState::ALL.into_iter().filter(|s| !s.is_terminal()).map(|s| self.depth_in(s)).sum()
    }
}
