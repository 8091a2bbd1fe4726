use std::collections::{BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::SystemTime;

use steadfast_domain::{InvalidField, KindName, NewJob, QueueName, Start, Timestamp, limits};

use super::{QueueConfig, QueueMode, Why};
use crate::handler::Handlers;
use crate::metrics::OTHER;
use crate::store::Refusal;

/// What a job must pass before it may reach the store: everything that can be known without it.
pub(super) struct Checks {
    queues: HashMap<QueueName, QueueConfig>,
    handlers: Handlers,
    payload_bytes_max: usize,
    /// The kinds that have a metric label of their own.
    kinds: BTreeSet<KindName>,
}

impl Checks {
    pub(super) fn new(queues: &[QueueConfig], handlers: Handlers, payload_bytes_max: usize) -> Self {
        let accepted = queues.iter().filter_map(|queue| queue.kinds.as_ref()).flatten();
        let kinds = handlers.kinds().chain(accepted).cloned().collect();
        let queues = queues.iter().map(|queue| (queue.spec.name.clone(), queue.clone())).collect();
        Self { queues, handlers, payload_bytes_max, kinds }
    }

    /// The first fault of the submission's jobs.
    pub(super) fn check(&self, jobs: &[NewJob]) -> Result<(), Why> {
        let now = wall_clock();
        jobs.iter().enumerate().try_for_each(|(index, job)| self.check_one(job, index, now))
    }

    fn check_one(&self, job: &NewJob, index: usize, now: Timestamp) -> Result<(), Why> {
        let Some(queue) = self.queues.get(&job.queue) else {
            return Err(Why::Refused(Refusal::QueueNotFound { queue: job.queue.clone() }));
        };
        let handler = self.handlers.get(&job.kind);
        let runs = match (queue.mode, &queue.kinds) {
            (QueueMode::Push, _) => handler.is_some(),
            (QueueMode::Pull, Some(kinds)) => kinds.contains(&job.kind),
            (QueueMode::Pull, None) => true,
        };
        if !runs {
            return Err(Why::UnknownKind { kind: job.kind.clone(), queue: job.queue.clone(), index });
        }
        let (bytes, bytes_max) = (job.payload.len_bytes(), self.payload_bytes_max);
        if bytes > bytes_max {
            return Err(Why::PayloadTooLarge { bytes, bytes_max, index });
        }
        let mut faults = schedule_faults(job, now);
        if let (QueueMode::Push, Some(handler)) = (queue.mode, handler) {
            match catch_unwind(AssertUnwindSafe(|| handler.check(&job.payload))) {
                Ok(Ok(())) => {}
                Ok(Err(found)) => faults.extend(found),
                Err(_) => {
                    tracing::error!(kind = %job.kind, "the payload check of a handler panicked");
                    return Err(Why::Internal);
                }
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(Why::InvalidJob(faults, index)) }
    }

    /// Who runs a queue's jobs, if it is declared.
    pub(super) fn mode(&self, queue: &QueueName) -> Option<QueueMode> {
        self.queues.get(queue).map(|queue| queue.mode)
    }

    /// The queues whose jobs are run by remote workers.
    pub(super) fn pull_queues(&self) -> impl Iterator<Item = &QueueName> {
        let pull = self.queues.values().filter(|queue| queue.mode == QueueMode::Pull);
        pull.map(|queue| &queue.spec.name)
    }

    /// The label of a queue in metrics.
    pub(super) fn queue_label<'a>(&self, queue: &'a QueueName) -> &'a str {
        if self.queues.contains_key(queue) { queue.as_str() } else { OTHER }
    }

    /// The label of a kind in metrics.
    pub(super) fn kind_label<'a>(&self, kind: &'a KindName) -> &'a str {
        if self.kinds.contains(kind) { kind.as_str() } else { OTHER }
    }
}

/// Faults of a job's times. The store owns the clock that schedules; this process's is good enough to say
/// what is more than a year away.
fn schedule_faults(job: &NewJob, now: Timestamp) -> Vec<InvalidField> {
    let mut faults = Vec::new();
    let most = limits::SCHEDULE_AHEAD_MAX;
    match job.start {
        Start::At(time) if time.since(now) > most => {
            let latest = now.plus(most);
            faults.push(InvalidField::new(
                "#/run_at",
                format_args!("{time} is not allowed: {latest} at the latest"),
            ));
        }
        Start::After(delay) if delay > most => {
            faults.push(too_long("#/delay_ms", delay.as_millis()));
        }
        _ => {}
    }
    if let Some(max_wait) = job.max_wait.filter(|max_wait| *max_wait > most) {
        faults.push(too_long("#/max_wait_ms", max_wait.as_millis()));
    }
    faults
}

fn too_long(pointer: &str, ms: u128) -> InvalidField {
    let most = limits::SCHEDULE_AHEAD_MAX.as_millis();
    InvalidField::new(pointer, format_args!("{ms} is not allowed: at most {most} milliseconds"))
}

/// This process's clock.
pub(crate) fn wall_clock() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_unix_ms(0).plus(since_epoch)
}
