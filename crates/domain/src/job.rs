use std::time::Duration;

use crate::{
    AttemptTimeout, IdempotencyToken, JobId, JobState, KindName, NewJob, Priority, QueueName, RawJson,
    RetryPolicy, Start, Tags, Tenant, Timestamp, TraceParent, UniqueKey, Version, limits,
};

/// State changes a job remembers, the newest ones.
pub const HISTORY_MAX: usize = 32;

/// A job as its store has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Its identity.
    pub id: JobId,
    /// Whose job it is.
    pub tenant: Tenant,
    /// Where it waits.
    pub queue: QueueName,
    /// Which handler runs it.
    pub kind: KindName,
    /// What the handler gets; `None` in lists, which leave it out.
    pub payload: Option<RawJson>,
    /// Bytes of the payload.
    pub payload_bytes: usize,
    /// Where it is in its life.
    pub state: JobState,
    /// How early it is taken.
    pub priority: Priority,
    /// Attempts begun and counted: the running one included, refunded ones not.
    pub attempt: u32,
    /// How often a crash or a lapsed lease ended its attempt.
    pub interruptions: u32,
    /// Counts its durable state changes.
    pub version: Version,
    /// Its newest durable state changes, oldest first, at most [`HISTORY_MAX`].
    pub history: Vec<Change>,
    /// The longest one attempt may run.
    pub timeout: AttemptTimeout,
    /// What happens when an attempt fails.
    pub retry: RetryPolicy,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When it is, or was, due for its next attempt.
    pub run_at: Timestamp,
    /// When its newest attempt began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// After this moment it is not started any more.
    pub deadline: Option<Timestamp>,
    /// The longest it may wait, from its first due time, for its first start.
    pub max_wait: Option<Duration>,
    /// What its handler last reported.
    pub progress: Option<RawJson>,
    /// What its handler returned.
    pub result: Option<RawJson>,
    /// How its newest failed attempts ended, oldest first, at most [`limits::ERRORS_MAX`].
    pub errors: Vec<JobError>,
    /// What its handler left for its next attempt.
    pub checkpoint: Option<RawJson>,
    /// Whether its running attempt was asked to stop for good.
    pub cancel_requested: bool,
    /// The key of the submission that made it.
    pub idempotency_key: Option<IdempotencyToken>,
    /// At most one live job of its queue has this key.
    pub unique_key: Option<UniqueKey>,
    /// Labels for lists.
    pub tags: Tags,
    /// Who runs it now, for people to read.
    pub owner: Option<String>,
    /// The trace it belongs to.
    pub trace: Option<TraceParent>,
}

/// One durable state change of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Whose change.
    pub id: JobId,
    /// Its number, from 1.
    pub version: Version,
    /// The state from then on.
    pub state: JobState,
    /// When, by the store's clock.
    pub at: Timestamp,
}

/// How one attempt failed. Shown to clients: it holds nothing internal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobError {
    /// The attempt's number, from 1.
    pub attempt: u32,
    /// When it ended, by the store's clock.
    pub at: Timestamp,
    /// A stable word for programs, such as `timeout` or `http_status`.
    pub code: String,
    /// A sentence for people.
    pub message: String,
}

impl JobError {
    /// An error whose code and message are cut to [`limits::ERROR_CODE_BYTES_MAX`] and
    /// [`limits::ERROR_MESSAGE_BYTES_MAX`] bytes. NUL bytes, which not every store can hold, become spaces.
    pub fn new(attempt: u32, at: Timestamp, code: &str, message: &str) -> Self {
        Self {
            attempt,
            at,
            code: cut(code, limits::ERROR_CODE_BYTES_MAX),
            message: cut(message, limits::ERROR_MESSAGE_BYTES_MAX),
        }
    }
}

fn cut(text: &str, bytes_max: usize) -> String {
    text[..text.floor_char_boundary(bytes_max)].replace('\0', " ")
}

impl Job {
    /// The job that a store makes of `new` when it accepts it at `now`.
    pub fn accept(new: NewJob, id: JobId, now: Timestamp, key: Option<IdempotencyToken>) -> Self {
        let run_at = new.start.due_at(now);
        let state = match new.start {
            Start::After(_) | Start::At(_) if run_at > now => JobState::Scheduled,
            _ => JobState::Queued,
        };
        Self {
            id,
            tenant: new.tenant,
            queue: new.queue,
            kind: new.kind,
            payload_bytes: new.payload.len_bytes(),
            payload: Some(new.payload),
            state,
            priority: new.priority,
            attempt: 0,
            interruptions: 0,
            version: Version::FIRST,
            history: vec![Change { id, version: Version::FIRST, state, at: now }],
            timeout: new.timeout,
            retry: new.retry,
            created_at: now,
            run_at,
            started_at: None,
            finished_at: None,
            deadline: new.deadline,
            max_wait: new.max_wait,
            progress: None,
            result: None,
            errors: Vec::new(),
            checkpoint: None,
            cancel_requested: false,
            idempotency_key: key,
            unique_key: new.unique_key,
            tags: new.tags,
            owner: None,
            trace: new.trace,
        }
    }

    /// Its place among the ready jobs of its queue, smallest first: due time plus the priority's
    /// penalty, in milliseconds. Ties go by id.
    pub fn ready_order(&self) -> i64 {
        self.run_at.plus(self.priority.penalty()).unix_ms()
    }

    /// From when on it is `expired` instead of started: its deadline, or the end of its longest wait
    /// while it has never been started.
    pub fn expires_at(&self) -> Option<Timestamp> {
        let waited_out = match (self.max_wait, self.started_at) {
            (Some(max_wait), None) => Some(self.run_at.plus(max_wait)),
            _ => None,
        };
        [self.deadline, waited_out].into_iter().flatten().min()
    }

    /// Makes `state` its state as a durable change: counts the version and remembers it.
    pub fn record(&mut self, state: JobState, at: Timestamp) -> Change {
        self.version = self.version.next();
        self.state = state;
        let change = Change { id: self.id, version: self.version, state, at };
        if self.history.len() >= HISTORY_MAX {
            self.history.drain(..=self.history.len() - HISTORY_MAX);
        }
        self.history.push(change);
        change
    }

    /// Remembers how an attempt failed, forgetting the oldest beyond [`limits::ERRORS_MAX`].
    pub fn push_error(&mut self, error: JobError) {
        if self.errors.len() >= limits::ERRORS_MAX {
            self.errors.drain(..=self.errors.len() - limits::ERRORS_MAX);
        }
        self.errors.push(error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> Job {
        let new = NewJob::new(KindName::new("echo").unwrap(), RawJson::empty_object());
        Job::accept(new, JobId::from_u128(7), Timestamp::from_unix_ms(1_000), None)
    }

    #[test]
    fn history_and_errors_keep_the_newest() {
        let mut job = job();
        for n in 0..100 {
            job.record(JobState::Retryable, Timestamp::from_unix_ms(n));
            job.push_error(JobError::new(n as u32, job.created_at, "boom", "again"));
        }
        assert_eq!(job.history.len(), HISTORY_MAX);
        assert_eq!(job.history.last().map(|c| c.version), Some(Version(101)));
        assert_eq!(job.errors.len(), limits::ERRORS_MAX);
        assert_eq!(job.errors.last().map(|e| e.attempt), Some(99));
    }

    #[test]
    fn an_error_is_cut_at_a_character() {
        let error = JobError::new(1, Timestamp::from_unix_ms(0), "c", &"é\0".repeat(1_000));
        assert!(error.message.len() <= limits::ERROR_MESSAGE_BYTES_MAX);
        assert!(!error.message.contains('\0'));
    }

    #[test]
    fn the_longest_wait_counts_until_the_first_start_only() {
        let mut job = job();
        job.max_wait = Some(Duration::from_millis(500));
        assert_eq!(job.expires_at(), Some(Timestamp::from_unix_ms(1_500)));
        job.started_at = Some(job.created_at);
        assert_eq!(job.expires_at(), None);
        job.deadline = Some(Timestamp::from_unix_ms(9_000));
        assert_eq!(job.expires_at(), Some(Timestamp::from_unix_ms(9_000)));
    }
}
