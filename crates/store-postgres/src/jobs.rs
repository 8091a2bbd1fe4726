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
                    &self.retries,
                    &self.deadlines,
                    &self.max_waits,
                    &self.tokens,
                    &self.key_hashes,
                    &self.unique_keys,
                    &self.unique_hashes,
                    &self.tags,
                    &self.traces,
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
    states: Vec<i16>,
    versions: Vec<i64>,
    histories: Vec<Vec<u8>>,
    attempts: Vec<i32>,
    interruptions: Vec<i32>,
    run_ats: Vec<i64>,
    started_ats: Vec<Option<i64>>,
    finished_ats: Vec<Option<i64>>,
    errors: Vec<Option<String>>,
    progress: Vec<Option<String>>,
    checkpoints: Vec<Option<String>>,
    results: Vec<Option<String>>,
    fences: Vec<Option<i64>>,
    settled_versions: Vec<Option<i64>>,
}

impl ChangedJobs {
    pub(crate) fn push(&mut self, stored: &Stored) -> Result<(), Invalid> {
        let job = &stored.job;
        let text =
            |json: &Option<steadfast_domain::RawJson>| json.as_ref().map(|json| json.as_str().to_owned());
        self.ids.push(uuid(job.id));
        self.states.push(job.state as i16);
        self.versions.push(job.version.0 as i64);
        self.histories.push(write_history(&job.history));
        self.attempts.push(job.attempt as i32);
        self.interruptions.push(job.interruptions as i32);
        self.run_ats.push(job.run_at.unix_ms());
        self.started_ats.push(job.started_at.map(Timestamp::unix_ms));
        self.finished_ats.push(job.finished_at.map(Timestamp::unix_ms));
        self.errors.push(write_errors(&job.errors)?);
        self.progress.push(text(&job.progress));
        self.checkpoints.push(text(&job.checkpoint));
        self.results.push(text(&job.result));
        self.fences.push(stored.settled.map(|(fence, _)| fence.0 as i64));
        self.settled_versions.push(stored.settled.map(|(_, version)| version.0 as i64));
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
                    &self.states,
                    &self.versions,
                    &self.histories,
                    &self.attempts,
                    &self.interruptions,
                    &self.run_ats,
                    &self.started_ats,
                    &self.finished_ats,
                    &self.errors,
                    &self.progress,
                    &self.checkpoints,
                    &self.results,
                    &self.fences,
                    &self.settled_versions,
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
                    &self.expires_ats,
                    &self.interruptions,
                ],
            )
            .await?;
        Ok(())
    }
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
    text: "UPDATE {s}.jobs j SET state = n.state, version = n.version, history = n.history, \
           attempt = n.attempt, interruptions = n.interruptions, run_at = n.run_at, \
           started_at = n.started_at, finished_at = n.finished_at, errors = n.errors, \
           progress = n.progress, checkpoint = n.checkpoint, result = n.result, \
           settled_fence = n.settled_fence, settled_version = n.settled_version \
           FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) AS n(id, state, \
           version, history, attempt, interruptions, run_at, started_at, finished_at, errors, progress, \
           checkpoint, result, settled_fence, settled_version) WHERE j.id = n.id",
    types: &[IDS, I2S, I8S, BYTES, I4S, I4S, I8S, I8S, I8S, TEXTS, TEXTS, TEXTS, TEXTS, I8S, I8S],
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
