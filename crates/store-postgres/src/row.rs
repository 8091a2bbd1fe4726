//! How a job is written into rows and read back.

use std::collections::BTreeMap;
use std::time::Duration;

use steadfast_domain::{
    AttemptTimeout, Backoff, Change, Fence, IdempotencyToken, Invalid, Job, JobError, JobId, JobState,
    KindName, Priority, QueueName, RawJson, RetryPolicy, Tags, Tenant, Timestamp, TraceParent, UniqueKey,
    Version,
};
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
        history: read_history(id, version, history).ok_or_else(|| Invalid::new("not a history"))?,
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

/// Bytes of one change in a history: the state, then the time. Its version follows from its place, since
/// the last one's is the job's.
const CHANGE_BYTES: usize = 9;

/// A job's history as one column.
pub(crate) fn write_history(history: &[Change]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(history.len() * CHANGE_BYTES);
    for change in history {
        bytes.push(change.state as u8);
        bytes.extend(change.at.unix_ms().to_be_bytes());
    }
    bytes
}

fn read_history(id: JobId, newest: Version, bytes: &[u8]) -> Option<Vec<Change>> {
    let (changes, rest) = bytes.as_chunks::<CHANGE_BYTES>();
    let first = (newest.0 + 1).checked_sub(changes.len() as u64).filter(|_| rest.is_empty())?;
    let change = |(place, [state, at @ ..]): (u64, &[u8; CHANGE_BYTES])| {
        Some(Change {
            id,
            version: Version(first + place),
            state: *JobState::ALL.get(usize::from(*state))?,
            at: Timestamp::from_unix_ms(i64::from_be_bytes(*at)),
        })
    };
    (0..).zip(changes).map(change).collect()
}

/// A job's errors as one column; none when there are none.
pub(crate) fn write_errors(errors: &[JobError]) -> Result<Option<String>, Invalid> {
    let rows: Vec<_> = errors.iter().map(|e| (e.attempt, e.at.unix_ms(), &e.code, &e.message)).collect();
    write_json((!rows.is_empty()).then_some(&rows))
}

fn read_errors(text: &str) -> Result<Vec<JobError>, Invalid> {
    let rows: Vec<(u32, i64, String, String)> = read_json(text)?;
    let error =
        |(attempt, at, code, message)| JobError { attempt, at: Timestamp::from_unix_ms(at), code, message };
    Ok(rows.into_iter().map(error).collect())
}

/// A retry policy as one column; none for the default.
pub(crate) fn write_retry(retry: &RetryPolicy) -> Result<Option<String>, Invalid> {
    let millis = |d: Duration| d.as_millis() as u64;
    let row = (
        retry.max_attempts(),
        retry.backoff().as_str(),
        millis(retry.initial()),
        millis(retry.max()),
        retry.jitter(),
    );
    write_json((*retry != RetryPolicy::DEFAULT).then_some(&row))
}

fn read_retry(text: &str) -> Result<RetryPolicy, Invalid> {
    let (max_attempts, backoff, initial, max, jitter): (u32, String, u64, u64, f64) = read_json(text)?;
    RetryPolicy::DEFAULT
        .with_max_attempts(max_attempts)?
        .with_backoff(Backoff::parse(&backoff)?)
        .with_initial(Duration::from_millis(initial))?
        .with_max(Duration::from_millis(max))?
        .with_jitter(jitter)
}

/// Tags as one column; none when there are none.
pub(crate) fn write_tags(tags: &Tags) -> Result<Option<String>, Invalid> {
    write_json((!tags.as_map().is_empty()).then(|| tags.as_map()))
}

fn read_tags(text: &str) -> Result<Tags, Invalid> {
    Tags::new(read_json::<BTreeMap<String, String>>(text)?)
}

fn write_json<T: serde::Serialize>(value: Option<&T>) -> Result<Option<String>, Invalid> {
    value.map(serde_json::to_string).transpose().map_err(|e| Invalid::new(e.to_string()))
}

fn read_json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, Invalid> {
    serde_json::from_str(text).map_err(|e| Invalid::new(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_policy_is_read_back_to_the_last_bit() {
        let policy = RetryPolicy::DEFAULT.with_max_attempts(7).unwrap();
        for n in 1..1_000_u32 {
            let written = policy.with_jitter(f64::from(n).recip().sqrt()).unwrap();
            let text = write_retry(&written).unwrap().unwrap();
            assert_eq!(read_retry(&text).unwrap(), written, "{text}");
        }
    }
}
