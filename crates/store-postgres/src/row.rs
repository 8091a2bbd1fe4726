//! How a job is written into rows and read back.

use std::time::Duration;

use steadfast_domain::{
    AttemptTimeout, Change, Fence, IdempotencyToken, Invalid, Job, JobId, JobState, KindName, Priority,
    QueueName, RawJson, Tenant, Timestamp, TraceParent, UniqueKey, Version,
};
use steadfast_queue::store::columns::{read_errors, read_history, read_retry, read_tags};
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;
use uuid::Uuid;

use crate::error::Failure;

/// A job as its rows have it: not claimed, as far as `job` says.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) job: Job,
    /// Under which token it was last settled, and the version that made.
    pub(crate) settled: Option<(Fence, Version)>,
    /// The row in `uniques` that it has while it lives.
    pub(crate) unique_hash: Option<Uuid>,
    /// Its claim, if it has one.
    pub(crate) claim: Option<ClaimRow>,
}

/// What the row of a claim adds to its job.
#[derive(Debug, Clone)]
pub(crate) struct ClaimRow {
    pub(crate) fence: Fence,
    pub(crate) owner: String,
    pub(crate) started_at: Timestamp,
    /// It holds through this millisecond, from whose beginning the clock cuts: no holder still believes in a
    /// claim that is given up.
    pub(crate) expires_at: Timestamp,
    pub(crate) cancel_requested: bool,
    pub(crate) progress: Option<RawJson>,
    pub(crate) checkpoint: Option<RawJson>,
}

impl Stored {
    /// The job as it reads at `now`: `processing` under a claim, else `queued` from its time on.
    pub(crate) fn into_job(mut self, now: Timestamp) -> Job {
        if let Some(claim) = self.claim.take() {
            let job = &mut self.job;
            job.state = JobState::Processing;
            job.attempt += 1;
            job.owner = Some(claim.owner.clone());
            job.cancel_requested = claim.cancel_requested;
            claim.merge(job);
        } else if matches!(self.job.state, JobState::Scheduled | JobState::Retryable)
            && self.job.run_at <= now
        {
            self.job.state = JobState::Queued;
        }
        self.job
    }

    /// Ends the claim: the job keeps what the attempt left, counts it, and is `processing` until its next
    /// state is recorded.
    pub(crate) fn end_attempt(&mut self) {
        if let Some(claim) = self.claim.take() {
            self.job.state = JobState::Processing;
            self.job.attempt += 1;
            claim.merge(&mut self.job);
        }
    }

    /// The change that settled it under `fence`, while its history still has it.
    pub(crate) fn settled_under(&self, fence: Fence) -> Option<Change> {
        let (_, version) = self.settled.filter(|(settled, _)| *settled == fence)?;
        self.job.history.iter().copied().find(|change| change.version == version)
    }
}

impl ClaimRow {
    fn merge(self, job: &mut Job) {
        job.started_at = Some(self.started_at);
        job.progress = self.progress.or(job.progress.take());
        job.checkpoint = self.checkpoint.or(job.checkpoint.take());
    }
}

/// Columns that [`read`] reads, of `jobs j` and of `claims c`; `$payload`, `$result` and `$checkpoints` are
/// whole columns or NULL.
macro_rules! columns {
    ($payload:literal, $result:literal, $checkpoint:literal, $claimed_checkpoint:literal) => {
        concat!(
            "j.id, j.tenant, j.queue, j.kind, ",
            $payload,
            ", j.payload_bytes, j.priority, j.timeout_ms, ",
            "j.retry, j.created_at, j.deadline, j.max_wait_ms, j.idempotency_key, ",
            "j.unique_key, j.unique_hash, j.tags, j.trace, j.state, j.version, j.history, j.attempt, ",
            "j.interruptions, j.run_at, j.started_at, j.finished_at, j.errors, j.progress, ",
            $checkpoint,
            ", ",
            $result,
            ", j.settled_fence, j.settled_version, c.fence, c.owner, c.started_at, ",
            "c.expires_at, c.cancel_requested, c.progress, ",
            $claimed_checkpoint
        )
    };
}

/// Everything.
macro_rules! whole_job {
    () => {
        $crate::row::columns!("j.payload", "j.result", "j.checkpoint", "c.checkpoint")
    };
}

/// Everything but the payload: for what changes a job.
macro_rules! job_to_change {
    () => {
        $crate::row::columns!("NULL::text", "j.result", "j.checkpoint", "c.checkpoint")
    };
}

/// Neither payload nor result nor checkpoint: for lists.
macro_rules! listed_job {
    () => {
        $crate::row::columns!("NULL::text", "NULL::text", "NULL::text", "NULL::text")
    };
}
pub(crate) use {columns, job_to_change, listed_job, whole_job};

/// Where the claim's columns begin.
const CLAIM: usize = 31;

/// Reads the columns of [`columns`].
pub(crate) fn read(row: &Row) -> Result<Stored, Failure> {
    let id = JobId::from_u128(row.try_get::<_, Uuid>(0)?.as_u128());
    let version = Version(row.try_get::<_, i64>(18)? as u64);
    let history: &[u8] = row.try_get(19)?;
    let job = Job {
        id,
        tenant: text(row, 1, Tenant::new)?,
        queue: text(row, 2, QueueName::new)?,
        kind: text(row, 3, KindName::new)?,
        payload: json(row, 4)?,
        payload_bytes: row.try_get::<_, i64>(5)? as usize,
        priority: numbered(row.try_get(6)?, &Priority::ALL)?,
        timeout: AttemptTimeout::new(Duration::from_millis(row.try_get::<_, i64>(7)? as u64))?,
        retry: optional(row, 8, read_retry)?.unwrap_or_default(),
        created_at: time(row, 9)?,
        deadline: optional_time(row, 10)?,
        max_wait: get::<Option<i64>>(row, 11)?.map(|ms| Duration::from_millis(ms as u64)),
        idempotency_key: optional(row, 12, IdempotencyToken::new)?,
        unique_key: optional(row, 13, UniqueKey::new)?,
        tags: optional(row, 15, read_tags)?.unwrap_or_default(),
        trace: optional(row, 16, TraceParent::new)?,
        state: numbered(row.try_get(17)?, &JobState::ALL)?,
        version,
        history: read_history(id, version, history)?,
        attempt: row.try_get::<_, i32>(20)? as u32,
        interruptions: row.try_get::<_, i32>(21)? as u32,
        run_at: time(row, 22)?,
        started_at: optional_time(row, 23)?,
        finished_at: optional_time(row, 24)?,
        errors: optional(row, 25, read_errors)?.unwrap_or_default(),
        progress: json(row, 26)?,
        checkpoint: json(row, 27)?,
        result: json(row, 28)?,
        cancel_requested: false,
        owner: None,
    };
    let settled = get::<Option<i64>>(row, 29)?.zip(get::<Option<i64>>(row, 30)?);
    Ok(Stored {
        job,
        settled: settled.map(|(fence, version)| (Fence(fence as u64), Version(version as u64))),
        unique_hash: row.try_get(14)?,
        claim: read_claim(row)?,
    })
}

fn read_claim(row: &Row) -> Result<Option<ClaimRow>, Failure> {
    let Some(fence) = get::<Option<i64>>(row, CLAIM)? else { return Ok(None) };
    Ok(Some(ClaimRow {
        fence: Fence(fence as u64),
        owner: row.try_get(CLAIM + 1)?,
        started_at: time(row, CLAIM + 2)?,
        expires_at: time(row, CLAIM + 3)?,
        cancel_requested: row.try_get(CLAIM + 4)?,
        progress: json(row, CLAIM + 5)?,
        checkpoint: json(row, CLAIM + 6)?,
    }))
}

fn get<'a, T: FromSql<'a>>(row: &'a Row, column: usize) -> Result<T, Failure> {
    Ok(row.try_get(column)?)
}

fn text<T>(row: &Row, column: usize, make: impl FnOnce(&str) -> Result<T, Invalid>) -> Result<T, Failure> {
    Ok(make(row.try_get(column)?)?)
}

fn optional<T>(
    row: &Row,
    column: usize,
    make: impl FnOnce(&str) -> Result<T, Invalid>,
) -> Result<Option<T>, Failure> {
    Ok(get::<Option<&str>>(row, column)?.map(make).transpose()?)
}

fn json(row: &Row, column: usize) -> Result<Option<RawJson>, Failure> {
    optional(row, column, RawJson::from_stored)
}

fn time(row: &Row, column: usize) -> Result<Timestamp, Failure> {
    Ok(Timestamp::from_unix_ms(row.try_get(column)?))
}

fn optional_time(row: &Row, column: usize) -> Result<Option<Timestamp>, Failure> {
    Ok(get::<Option<i64>>(row, column)?.map(Timestamp::from_unix_ms))
}

/// The value that has this place in `all`.
pub(crate) fn numbered<T: Copy>(place: i16, all: &[T]) -> Result<T, Invalid> {
    let found = usize::try_from(place).ok().and_then(|place| all.get(place)).copied();
    found.ok_or_else(|| Invalid::new(format!("{place} is out of range")))
}

/// A job's id as a column.
pub(crate) fn uuid(id: JobId) -> Uuid {
    Uuid::from_u128(id.as_u128())
}

/// A job's id out of a column.
pub(crate) fn job_id(uuid: Uuid) -> JobId {
    JobId::from_u128(uuid.as_u128())
}
