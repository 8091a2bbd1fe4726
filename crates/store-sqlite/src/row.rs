//! How a job is written into rows and read back.

use std::time::Duration;

use rusqlite::types::{FromSqlError, Type, ValueRef};
use rusqlite::{Error, Result, Row};
use steadfast_domain::{
    AttemptTimeout, Change, Fence, IdempotencyToken, Invalid, Job, JobId, JobState, KindName, Priority,
    QueueName, RawJson, Tenant, Timestamp, TraceParent, UniqueKey, Version,
};
use steadfast_queue::store::columns::{read_errors, read_history, read_retry, read_tags};

/// A job as its rows have it: not claimed, as far as `job` says.
#[derive(Debug, PartialEq)]
pub(crate) struct Stored {
    pub(crate) job: Job,
    /// Under which token it was last settled, and the version that made.
    pub(crate) settled: Option<(Fence, Version)>,
    /// The job whose row in `keys` its submission has.
    pub(crate) key_job: Option<u64>,
    /// Its claim, if it has one.
    pub(crate) claim: Option<ClaimRow>,
}

/// What the row of a claim adds to its job.
#[derive(Debug, PartialEq)]
pub(crate) struct ClaimRow {
    owner: String,
    started_at: Timestamp,
    cancel_requested: bool,
    progress: Option<RawJson>,
    checkpoint: Option<RawJson>,
}

impl Stored {
    /// A job just accepted.
    pub(crate) fn accepted(job: &Job, key_job: Option<u64>) -> Self {
        Self { job: job.clone(), settled: None, key_job, claim: None }
    }

    /// The same job under a new claim, as it reads without its payload.
    pub(crate) fn claimed(&self, owner: &str, started_at: Timestamp) -> Self {
        let claim = ClaimRow {
            owner: owner.to_owned(),
            started_at,
            cancel_requested: false,
            progress: None,
            checkpoint: None,
        };
        let job = Job { payload: None, ..self.job.clone() };
        Self { job, settled: self.settled, key_job: self.key_job, claim: Some(claim) }
    }

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

    /// Whether its running attempt was asked to stop for good.
    pub(crate) fn is_cancel_requested(&self) -> bool {
        self.claim.as_ref().is_some_and(|claim| claim.cancel_requested)
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

/// Whether a select also reads payload, result and checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bodies {
    /// All of it.
    Read,
    /// Everything but the payload: for what changes a job.
    NoPayload,
    /// None of them: for lists.
    Skip,
}

/// Columns of `jobs`.
const JOB_COLUMNS: usize = 18;
/// Columns of `live`, and of `done` before `finished_at`.
const LIFE_COLUMNS: usize = 13;
const LIVE: usize = JOB_COLUMNS;
const DONE: usize = LIVE + LIFE_COLUMNS;
const FINISHED_AT: usize = DONE + LIFE_COLUMNS;
const CLAIM: usize = FINISHED_AT + 1;

/// Columns of `claims`.
const CLAIM_COLUMNS: usize = 5;

/// The select whose rows [`read`] reads, over the jobs that `condition` names.
pub(crate) fn select(bodies: Bodies, condition: &str) -> String {
    let (job, live, done) = (job_columns(bodies), life_columns("l", bodies), life_columns("d", bodies));
    let claim_checkpoint = if bodies == Bodies::Skip { "NULL" } else { "c.checkpoint" };
    format!(
        "SELECT {job}, {live}, {done}, d.finished_at, \
         c.owner, c.started_at, c.cancel_requested, c.progress, {claim_checkpoint} \
         FROM jobs j LEFT JOIN live l ON l.id = j.id LEFT JOIN done d ON d.id = j.id \
         LEFT JOIN claims c ON c.job = j.id {condition}"
    )
}

/// The same over the waiting jobs of an array of row numbers, in its order. They have neither ended nor a
/// claim, so that half of the tables need not be looked into.
pub(crate) fn select_waiting() -> String {
    let (job, live) = (job_columns(Bodies::Read), life_columns("l", Bodies::Read));
    let absent = ["NULL"; LIFE_COLUMNS + 1 + CLAIM_COLUMNS].join(", ");
    format!(
        "SELECT {job}, {live}, {absent} FROM rarray(?1) r CROSS JOIN live l ON l.id = r.value \
         CROSS JOIN jobs j ON j.id = r.value"
    )
}

fn job_columns(bodies: Bodies) -> String {
    let payload = if bodies == Bodies::Read { "j.payload" } else { "NULL" };
    format!(
        "j.id, j.low, j.queue, j.kind, j.tenant, j.priority, j.created_at, j.timeout_ms, j.deadline, \
         j.max_wait_ms, j.retry, j.unique_key, j.idempotency_key, j.key_job, j.tags, j.trace, \
         j.payload_bytes, {payload}"
    )
}

fn life_columns(table: &str, bodies: Bodies) -> String {
    let (checkpoint, result) = match bodies {
        Bodies::Skip => ("NULL".to_owned(), "NULL".to_owned()),
        Bodies::Read | Bodies::NoPayload => (format!("{table}.checkpoint"), format!("{table}.result")),
    };
    format!(
        "{table}.state, {table}.run_at, {table}.interruptions, {table}.version, {table}.attempt, \
         {table}.started_at, {table}.settled_fence, {table}.settled_version, {table}.history, \
         {table}.errors, {table}.progress, {checkpoint}, {result}"
    )
}

/// Reads a row of [`select`].
pub(crate) fn read(row: &Row<'_>) -> Result<Stored> {
    let id = JobId::from_halves(row.get::<_, i64>(0)? as u64, row.get::<_, i64>(1)? as u64);
    let life = if is_null(row, LIVE)? { DONE } else { LIVE };
    let version = Version(row.get::<_, i64>(life + 3)? as u64);
    let job = Job {
        id,
        queue: text(row, 2, QueueName::new)?,
        kind: text(row, 3, KindName::new)?,
        tenant: text(row, 4, Tenant::new)?,
        priority: index(row, 5, &Priority::ALL)?,
        created_at: time(row, 6)?,
        timeout: AttemptTimeout::new(Duration::from_millis(row.get::<_, i64>(7)? as u64))
            .map_err(invalid(7))?,
        deadline: optional_time(row, 8)?,
        max_wait: row.get::<_, Option<i64>>(9)?.map(|ms| Duration::from_millis(ms as u64)),
        retry: optional(row, 10, read_retry)?.unwrap_or_default(),
        unique_key: optional(row, 11, UniqueKey::new)?,
        idempotency_key: optional(row, 12, IdempotencyToken::new)?,
        tags: optional(row, 14, read_tags)?.unwrap_or_default(),
        trace: optional(row, 15, TraceParent::new)?,
        payload_bytes: row.get::<_, i64>(16)? as usize,
        payload: json(row, 17)?,
        state: index(row, life, &JobState::ALL)?,
        run_at: time(row, life + 1)?,
        interruptions: row.get(life + 2)?,
        version,
        attempt: row.get(life + 4)?,
        started_at: optional_time(row, life + 5)?,
        history: read_history(id, version, row.get_ref(life + 8)?.as_blob().map_err(type_of(life + 8))?)
            .map_err(invalid(life + 8))?,
        errors: optional(row, life + 9, read_errors)?.unwrap_or_default(),
        progress: json(row, life + 10)?,
        checkpoint: json(row, life + 11)?,
        result: json(row, life + 12)?,
        finished_at: optional_time(row, FINISHED_AT)?,
        cancel_requested: false,
        owner: None,
    };
    let settled = row.get::<_, Option<i64>>(life + 6)?.zip(row.get::<_, Option<i64>>(life + 7)?);
    Ok(Stored {
        job,
        settled: settled.map(|(fence, version)| (Fence(fence as u64), Version(version as u64))),
        key_job: row.get::<_, Option<i64>>(13)?.map(|id| id as u64),
        claim: read_claim(row)?,
    })
}

fn read_claim(row: &Row<'_>) -> Result<Option<ClaimRow>> {
    if is_null(row, CLAIM)? {
        return Ok(None);
    }
    Ok(Some(ClaimRow {
        owner: row.get(CLAIM)?,
        started_at: time(row, CLAIM + 1)?,
        cancel_requested: row.get(CLAIM + 2)?,
        progress: json(row, CLAIM + 3)?,
        checkpoint: json(row, CLAIM + 4)?,
    }))
}

fn is_null(row: &Row<'_>, column: usize) -> Result<bool> {
    Ok(row.get_ref(column)? == ValueRef::Null)
}

/// A checked string.
pub(crate) fn text<T>(
    row: &Row<'_>,
    column: usize,
    make: impl FnOnce(&str) -> Result<T, Invalid>,
) -> Result<T> {
    make(row.get_ref(column)?.as_str().map_err(type_of(column))?).map_err(invalid(column))
}

fn optional<T>(row: &Row<'_>, column: usize, make: impl Fn(&str) -> Result<T, Invalid>) -> Result<Option<T>> {
    if is_null(row, column)? { Ok(None) } else { text(row, column, make).map(Some) }
}

fn json(row: &Row<'_>, column: usize) -> Result<Option<RawJson>> {
    optional(row, column, RawJson::from_stored)
}

fn time(row: &Row<'_>, column: usize) -> Result<Timestamp> {
    row.get(column).map(Timestamp::from_unix_ms)
}

fn optional_time(row: &Row<'_>, column: usize) -> Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_unix_ms))
}

/// The value that has this place in `all`.
pub(crate) fn index<T: Copy>(row: &Row<'_>, column: usize, all: &[T]) -> Result<T> {
    let place: u8 = row.get(column)?;
    all.get(usize::from(place))
        .copied()
        .ok_or_else(|| invalid(column)(Invalid::new(format!("{place} is out of range"))))
}

fn invalid(column: usize) -> impl Fn(Invalid) -> Error {
    move |why| Error::FromSqlConversionFailure(column, Type::Text, Box::new(why))
}

/// Why a value is not written.
pub(crate) fn unwritable(why: Invalid) -> Error {
    Error::ToSqlConversionFailure(Box::new(why))
}

fn type_of(column: usize) -> impl Fn(FromSqlError) -> Error {
    move |why| Error::FromSqlConversionFailure(column, Type::Null, Box::new(why))
}
