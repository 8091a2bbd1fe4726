use std::time::Duration;

use crate::{
    Invalid, KindName, Priority, QueueName, RawJson, RetryPolicy, Tags, Tenant, Timestamp, TraceParent,
    UniqueKey, limits,
};

/// A job as submitted: every part has passed its constructor. The store adds id, times and state.
#[derive(Debug, Clone, PartialEq)]
pub struct NewJob {
    /// Whose job it is.
    pub tenant: Tenant,
    /// Where it waits.
    pub queue: QueueName,
    /// Which handler runs it.
    pub kind: KindName,
    /// What the handler gets.
    pub payload: RawJson,
    /// How early it is taken.
    pub priority: Priority,
    /// When it may first be taken.
    pub start: Start,
    /// The longest one attempt may run.
    pub timeout: AttemptTimeout,
    /// After this moment it is not started any more.
    pub deadline: Option<Timestamp>,
    /// The longest it may wait, from its due time, for its first start.
    pub max_wait: Option<Duration>,
    /// What happens when an attempt fails.
    pub retry: RetryPolicy,
    /// At most one live job of the queue has this key.
    pub unique_key: Option<UniqueKey>,
    /// Labels for lists.
    pub tags: Tags,
    /// The trace it belongs to.
    pub trace: Option<TraceParent>,
}

impl NewJob {
    /// A job of this kind in the default queue, everything else as API.md's defaults have it.
    pub fn new(kind: KindName, payload: RawJson) -> Self {
        Self {
            tenant: Tenant::default(),
            queue: QueueName::default_queue(),
            kind,
            payload,
            priority: Priority::default(),
            start: Start::Now,
            timeout: AttemptTimeout::default(),
            deadline: None,
            max_wait: None,
            retry: RetryPolicy::default(),
            unique_key: None,
            tags: Tags::default(),
            trace: None,
        }
    }
}

/// When a job may first be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// As soon as it is accepted.
    #[default]
    Now,
    /// This long after it was accepted, by the store's clock.
    After(Duration),
    /// From this moment on; at once when it is past.
    At(Timestamp),
}

impl Start {
    /// The moment it means for a job accepted at `now`.
    pub fn due_at(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Now => now,
            Self::After(delay) => now.plus(delay),
            Self::At(time) => time.max(now),
        }
    }
}

/// The longest one attempt may run: 1 ms to 7 days, 60 s unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttemptTimeout(Duration);

impl AttemptTimeout {
    /// Checks the limits: 1 ms to 7 days.
    pub fn new(timeout: Duration) -> Result<Self, Invalid> {
        if timeout < Duration::from_millis(1) || timeout > limits::ATTEMPT_TIMEOUT_MAX {
            let (ms, most) = (timeout.as_millis(), limits::ATTEMPT_TIMEOUT_MAX.as_millis());
            return Err(Invalid::new(format!("{ms} is not allowed: 1 to {most} milliseconds")));
        }
        Ok(Self(timeout))
    }

    /// The time as a duration.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl Default for AttemptTimeout {
    fn default() -> Self {
        Self(Duration::from_secs(60))
    }
}
