use std::sync::Arc;
use std::time::Duration;

use steadfast_domain::KindName;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{JobRates, SettleRates};
use crate::store::QueueSpec;

/// What admission is told by whoever builds the server.
#[derive(Debug, Clone)]
pub struct AdmissionConfig {
    /// Bytes of one payload, at most.
    pub payload_bytes_max: usize,
    /// How long a mutation may wait for its transaction; one that is still inside it then is answered as
    /// [`Why::TimedOut`](super::Why::TimedOut) with an unknown outcome.
    pub request_timeout: Duration,
    /// The declared queues. A job for any other is refused.
    pub queues: Vec<QueueConfig>,
    /// How fast jobs end, as the worker pool measures it: the pool is given the same one.
    pub settle_rates: Arc<SettleRates>,
    /// What is done with the declared queues' jobs, by admission and by the worker pool: the same one for both.
    pub job_rates: Arc<JobRates>,
    /// When this process will be gone at the latest, once its drain has begun. It stays `None` on a store
    /// that other processes serve too, since they can take a refused request at once.
    pub drain_ends: watch::Receiver<Option<Instant>>,
}

/// One declared queue.
#[derive(Debug, Clone)]
pub struct QueueConfig {
    /// Its name and limits, as declared to the store.
    pub spec: QueueSpec,
    /// Who runs its jobs.
    pub mode: QueueMode,
    /// The kinds a pull queue accepts; any if `None`. A push queue accepts those with a handler.
    pub kinds: Option<Vec<KindName>>,
}

/// Who runs a queue's jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum QueueMode {
    /// This process's worker pool, by the handler of the job's kind.
    #[default]
    Push,
    /// Remote workers, by leases.
    Pull,
}

impl QueueMode {
    /// Every mode.
    pub const ALL: [Self; 2] = [Self::Push, Self::Pull];

    /// The name used in settings and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Pull => "pull",
        }
    }
}
