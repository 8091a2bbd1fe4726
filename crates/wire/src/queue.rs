use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// The answer of `GET /v1/queues`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct QueueList {
    /// Every queue, by name.
    pub queues: Vec<QueueDocument>,
}

/// One queue, as `GET /v1/queues/{name}` answers it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Queue")]
pub struct QueueDocument {
    /// Its name.
    #[schemars(with = "schema::Name")]
    pub name: String,
    /// Who runs its jobs; `null` of a queue that the answering process does not declare.
    pub mode: Option<QueueMode>,
    /// Whether claims from it are paused.
    pub paused: bool,
    /// Stored jobs by state.
    pub depth: QueueDepth,
    /// Jobs that are not terminal: what counts against `capacity`.
    pub jobs: u64,
    /// How many there may be.
    pub capacity: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// How many there may be.
    pub capacity_bytes: u64,
    /// For how long the oldest ready job has been due, in milliseconds; `null` when none is ready.
    pub oldest_ready_age_ms: Option<u64>,
    /// What the answering process did with its jobs lately, other replicas not counted; `null` of a queue that it
    /// does not declare.
    pub rates: Option<QueueRates>,
}

/// Who runs a queue's jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum QueueMode {
    /// The servers themselves.
    Push,
    /// Remote workers.
    Pull,
}

/// Jobs per second in one process, over the last ten seconds or since it began.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct QueueRates {
    /// Accepted.
    pub submitted_per_second: f64,
    /// Attempts begun by its workers, retries too.
    pub started_per_second: f64,
    /// Brought to their end by its workers.
    pub finished_per_second: f64,
}

/// Stored jobs of one queue by state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct QueueDepth {
    /// Accepted, for later.
    pub scheduled: u64,
    /// Ready to run.
    pub queued: u64,
    /// Running.
    pub processing: u64,
    /// Waiting for their next attempt.
    pub retryable: u64,
    /// Ended well.
    pub completed: u64,
    /// Given up.
    pub dead: u64,
    /// Ended by request.
    pub cancelled: u64,
    /// Ended by their deadline or longest wait.
    pub expired: u64,
}

impl QueueDepth {
    /// The counts in the order of [`JobState::ALL`](steadfast_domain::JobState::ALL).
    pub const fn from_counts(counts: [u64; 8]) -> Self {
        let [scheduled, queued, processing, retryable, completed, dead, cancelled, expired] = counts;
        Self { scheduled, queued, processing, retryable, completed, dead, cancelled, expired }
    }
}
