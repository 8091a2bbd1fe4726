use std::time::Duration;

use steadfast_domain::QueueName;

/// What an accepted job survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Loss of power: it was fsynced.
    Fsync,
    /// What a PostgreSQL commit survives.
    Commit,
    /// Nothing: it is in this process's memory only.
    Memory,
}

impl Durability {
    /// The name used in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fsync => "fsync",
            Self::Commit => "commit",
            Self::Memory => "memory",
        }
    }
}

/// Limits every store keeps, over all its queues.
#[derive(Debug, Clone)]
pub struct StoreLimits {
    /// Jobs that are not terminal.
    pub capacity_jobs: u64,
    /// Bytes of their payloads.
    pub capacity_bytes: u64,
    /// A job interrupted this often is `dead` with code `interrupted`; at least 1.
    pub interruptions_max: u32,
    /// What is kept of terminal jobs.
    pub retention: Retention,
}

impl Default for StoreLimits {
    /// The defaults of API.md.
    fn default() -> Self {
        Self {
            capacity_jobs: 100_000,
            capacity_bytes: 1 << 30,
            interruptions_max: 5,
            retention: Retention::default(),
        }
    }
}

impl StoreLimits {
    /// Whether a job interrupted this often is `dead` when it is interrupted once more.
    pub fn is_last_chance(&self, interruptions: u32) -> bool {
        interruptions.saturating_add(1) >= self.interruptions_max
    }
}

/// How long, and how many, terminal jobs are kept. Oldest go first, `dead` ones last.
#[derive(Debug, Clone)]
pub struct Retention {
    /// How long `completed`, `cancelled` and `expired` jobs are kept.
    pub keep: Duration,
    /// How long `dead` jobs are kept.
    pub keep_dead: Duration,
    /// Terminal jobs kept at most.
    pub jobs_max: u64,
    /// Bytes of terminal jobs' payloads and results kept at most.
    pub bytes_max: u64,
}

impl Default for Retention {
    /// The defaults of API.md.
    fn default() -> Self {
        let hour = Duration::from_secs(60 * 60);
        Self { keep: 24 * hour, keep_dead: 7 * 24 * hour, jobs_max: 1_000_000, bytes_max: 4 << 30 }
    }
}

/// One queue and its own limits; without one, only the store's apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueSpec {
    /// Its name.
    pub name: QueueName,
    /// Jobs of it that are not terminal.
    pub capacity_jobs: Option<u64>,
    /// Bytes of their payloads.
    pub capacity_bytes: Option<u64>,
}
