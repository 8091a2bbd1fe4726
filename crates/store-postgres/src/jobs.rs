//! Writing the rows of jobs: new ones, changed ones, and their places among those that wait.

use steadfast_domain::{Invalid, Job, JobState, Timestamp};
use steadfast_queue::store::columns::{write_errors, write_history, write_retry, write_tags};
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::error::Failure;
use crate::row::{Stored, uuid};
use crate::session::{Session, Sql};

/// The columns of jobs just accepted.
#[derive(Debug, Default)]
pub(crate) struct NewJobs {
    ids: Vec<Uuid>,
    tenants: Vec<String>,
    queues: Vec<String>,
    kinds: Vec<String>,
    payloads: Vec<String>,
    payload_bytes: Vec<i64>,
    priorities: Vec<i16>,
    timeouts: Vec<i64>,
    retries: Vec<Option<String>>,
    deadlines: Vec<Option<i64>>,
    max_waits: Vec<Option<i64>>,
    tokens: Vec<Option<String>>,
    key_hashes: Vec<Option<Uuid>>,
    unique_keys: Vec<Option<String>>,
    unique_hashes: Vec<Option<Uuid>>,
    tags: Vec<Option<String>>,
    traces: Vec<Option<String>>,
    states: Vec<i16>,
    histories: Vec<Vec<u8>>,
    run_ats: Vec<i64>,
}

impl NewJobs {
    pub(crate) fn push(
        &mut self,
        job: &Job,
        key_hash: Option<Uuid>,
        unique_hash: Option<Uuid>,
    ) -> Result<(), Invalid> {
        let payload = job.payload.as_ref().ok_or_else(|| Invalid::new("a new job without a payload"))?;
        self.ids.push(uuid(job.id));
        self.tenants.push(job.tenant.as_str().to_owned());
        self.queues.push(job.queue.as_str().to_owned());
        self.kinds.push(job.kind.as_str().to_owned());
        self.payloads.push(payload.as_str().to_owned());
        self.payload_bytes.push(job.payload_bytes as i64);
        self.priorities.push(job.priority as i16);
        self.timeouts.push(job.timeout.get().as_millis() as i64);
        self.retries.push(write_retry(&job.retry)?);
        self.deadlines.push(job.deadline.map(Timestamp::unix_ms));
        self.max_waits.push(job.max_wait.map(|wait| wait.as_millis() as i64));
        self.tokens.push(job.idempotency_key.as_ref().map(|token| token.as_str().to_owned()));
        self.key_hashes.push(key_hash);
        self.unique_keys.push(job.unique_key.as_ref().map(|key| key.as_str().to_owned()));
        self.unique_hashes.push(unique_hash);
        self.tags.push(write_tags(&job.tags)?);
        self.traces.push(job.trace.as_ref().map(|trace| trace.as_str().to_owned()));
        self.states.push(job.state as i16);
        self.histories.push(write_history(&job.history));
        self.run_ats.push(job.run_at.unix_ms());
        Ok(())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Inserts them, all accepted at `now`.
    pub(crate) async fn write(&self, session: &Session, now: Timestamp) -> Result<(), Failure> {
        if self.is_empty() {
            return Ok(());
        }
        let at = now.unix_ms();
        session
            .rows(
                &INSERT_JOBS,
                &[
                    &self.ids,
                    &self.tenants,
                    &self.queues,
                    &self.kinds,
                    &self.payloads,
                    &self.payload_bytes,
                    &self.priorities,
                    &self.timeouts,
                    &any(&self.retries),
                    &any(&self.deadlines),
                    &any(&self.max_waits),
                    &any(&self.tokens),
                    &any(&self.key_hashes),
                    &any(&self.unique_keys),
                    &any(&self.unique_hashes),
                    &any(&self.tags),
                    &any(&self.traces),
                    &self.states,
                    &self.histories,
                    &self.run_ats,
                    &at,
                ],
            )
            .await?;
        Ok(())
    }
}

/// The columns of jobs that changed.
#[derive(Debug, Default)]
pub(crate) struct ChangedJobs {
    ids: Vec<Uuid>,
    /// [`FIGURES`] of each, one behind the other.
    figures: Vec<i64>,
    histories: Vec<Vec<u8>>,
    errors: Vec<Option<String>>,
    progress: Vec<Option<String>>,
    checkpoints: Vec<Option<String>>,
    results: Vec<Option<String>>,
}

/// Columns of a changed job that are numbers.
const FIGURES: usize = 9;
/// Stands for none of them: a set of numbers without holes is read faster.
const NONE: i64 = i64::MIN;

impl ChangedJobs {
    pub(crate) fn push(&mut self, stored: &Stored) -> Result<(), Invalid> {
        let job = &stored.job;
        let text =
            |json: &Option<steadfast_domain::RawJson>| json.as_ref().map(|json| json.as_str().to_owned());
        let time = |time: Option<Timestamp>| time.map_or(NONE, Timestamp::unix_ms);
        let (fence, settled) = stored.settled.map_or((NONE, NONE), |(f, v)| (f.0 as i64, v.0 as i64));
        let figures: [i64; FIGURES] = [
            job.state as i64,
            job.version.0 as i64,
            job.attempt.into(),
            job.interruptions.into(),
            job.run_at.unix_ms(),
            time(job.started_at),
            time(job.finished_at),
            fence,
            settled,
        ];
        self.ids.push(uuid(job.id));
        self.figures.extend(figures);
        self.histories.push(write_history(&job.history));
        self.errors.push(write_errors(&job.errors)?);
        self.progress.push(text(&job.progress));
        self.checkpoints.push(text(&job.checkpoint));
        self.results.push(text(&job.result));
        Ok(())
    }

    pub(crate) async fn write(&self, session: &Session) -> Result<(), Failure> {
        if self.ids.is_empty() {
            return Ok(());
        }
        session
            .rows(
                &UPDATE_JOBS,
                &[
                    &self.ids,
                    &self.histories,
                    &any(&self.errors),
                    &any(&self.progress),
                    &any(&self.checkpoints),
                    &any(&self.results),
                    &self.figures,
                    &NONE,
                ],
            )
            .await?;
        Ok(())
    }
}

/// The columns of jobs that wait from now on.
#[derive(Debug, Default)]
pub(crate) struct WaitingJobs {
    ids: Vec<Uuid>,
    queues: Vec<String>,
    kinds: Vec<String>,
    priorities: Vec<i16>,
    states: Vec<i16>,
    ready: Vec<bool>,
    due_ats: Vec<i64>,
    places: Vec<i64>,
    expires_ats: Vec<Option<i64>>,
    interruptions: Vec<i32>,
}

impl WaitingJobs {
    /// The job waits from `now` on.
    pub(crate) fn push(&mut self, job: &Job, now: Timestamp) {
        self.ids.push(uuid(job.id));
        self.queues.push(job.queue.as_str().to_owned());
        self.kinds.push(job.kind.as_str().to_owned());
        self.priorities.push(job.priority as i16);
        self.states.push(state_waiting(job, now) as i16);
        self.ready.push(job.run_at <= now);
        self.due_ats.push(job.run_at.unix_ms());
        self.places.push(job.ready_order());
        self.expires_ats.push(job.expires_at().map(Timestamp::unix_ms));
        self.interruptions.push(job.interruptions as i32);
    }

    pub(crate) async fn write(&self, session: &Session) -> Result<(), Failure> {
        if self.ids.is_empty() {
            return Ok(());
        }
        session
            .rows(
                &INSERT_WAITING,
                &[
                    &self.ids,
                    &self.queues,
                    &self.kinds,
                    &self.priorities,
                    &self.states,
                    &self.ready,
                    &self.due_ats,
                    &self.places,
                    &any(&self.expires_ats),
                    &self.interruptions,
                ],
            )
            .await?;
        Ok(())
    }
}

/// A column, or nothing where all of it is NULL: `unnest` fills a shorter one up with that for nothing.
fn any<T>(column: &[Option<T>]) -> &[Option<T>] {
    if column.iter().any(Option::is_some) { column } else { &[] }
}

/// As which state a waiting job is counted at `now`: `queued` from its time on.
pub(crate) fn state_waiting(job: &Job, now: Timestamp) -> JobState {
    if job.run_at <= now { JobState::Queued } else { job.state }
}

const TEXTS: Type = Type::TEXT_ARRAY;
const I2S: Type = Type::INT2_ARRAY;
const I4S: Type = Type::INT4_ARRAY;
const I8S: Type = Type::INT8_ARRAY;
const BYTES: Type = Type::BYTEA_ARRAY;
const IDS: Type = Type::UUID_ARRAY;

pub(crate) static INSERT_JOBS: Sql = Sql {
    text: "INSERT INTO {s}.jobs (id, tenant, queue, kind, payload, payload_bytes, priority, timeout_ms, \
           retry, deadline, max_wait_ms, idempotency_key, key_hash, unique_key, unique_hash, tags, trace, \
           state, history, run_at, created_at, version, attempt, interruptions) \
           SELECT n.*, $21, 1, 0, 0 FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, \
           $14, $15, $16, $17, $18, $19, $20) AS n",
    types: &[
        IDS,
        TEXTS,
        TEXTS,
        TEXTS,
        TEXTS,
        I8S,
        I2S,
        I8S,
        TEXTS,
        I8S,
        I8S,
        TEXTS,
        IDS,
        TEXTS,
        IDS,
        TEXTS,
        TEXTS,
        I2S,
        BYTES,
        I8S,
        Type::INT8,
    ],
};

pub(crate) static UPDATE_JOBS: Sql = Sql {
    text: "UPDATE {s}.jobs j SET state = $7[n.at - 8], version = $7[n.at - 7], attempt = $7[n.at - 6], \
           interruptions = $7[n.at - 5], run_at = $7[n.at - 4], started_at = nullif($7[n.at - 3], $8), \
           finished_at = nullif($7[n.at - 2], $8), settled_fence = nullif($7[n.at - 1], $8), \
           settled_version = nullif($7[n.at], $8), history = n.history, errors = n.errors, \
           progress = n.progress, checkpoint = n.checkpoint, result = n.result \
           FROM (SELECT *, place::int * 9 FROM unnest($1, $2, $3, $4, $5, $6) WITH ORDINALITY \
           AS s(id, history, errors, progress, checkpoint, result, place)) \
           AS n(id, history, errors, progress, checkpoint, result, place, at) WHERE j.id = n.id",
    types: &[IDS, BYTES, TEXTS, TEXTS, TEXTS, TEXTS, I8S, Type::INT8],
};

pub(crate) static INSERT_WAITING: Sql = Sql {
    text: "INSERT INTO {s}.waiting (id, queue, kind, priority, state, ready, due_at, place, expires_at, \
           interruptions) SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    types: &[IDS, TEXTS, TEXTS, I2S, I2S, Type::BOOL_ARRAY, I8S, I8S, I8S, I4S],
};

pub(crate) static DELETE_WAITING: Sql =
    Sql { text: "DELETE FROM {s}.waiting WHERE id = ANY($1)", types: &[IDS] };

pub(crate) static DELETE_CLAIMS: Sql =
    Sql { text: "DELETE FROM {s}.claims WHERE job = ANY($1)", types: &[IDS] };
