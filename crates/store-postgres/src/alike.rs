use futures_util::future::join_all;
use steadfast_domain::{Job, RawJson, Timestamp};
use steadfast_queue::store::columns::{write_history, write_retry, write_tags};
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::error::Failure;
use crate::jobs::state_waiting;
use crate::row::uuid;
use crate::session::{Session, Sql};

/// Jobs just accepted that differ in nothing but id and payload from others of their batch, as most do: what they
/// share is sent, read and taken apart once.
#[derive(Debug, Default)]
pub(crate) struct AlikeJobs(Vec<Likeness>);

#[derive(Debug)]
struct Likeness {
    /// The first one of them, without its payload.
    job: Job,
    ids: Vec<Uuid>,
    payloads: Vec<RawJson>,
}

/// Kinds of jobs of a batch that have a statement of their own: with more of them, one for all costs less.
const LIKENESSES_MAX: usize = 4;

impl AlikeJobs {
    /// Takes a job without keys, or leaves it to whoever takes any: one with a trace of its own is like no other.
    pub(crate) fn push(&mut self, job: &Job) -> bool {
        let Some(payload) = job.payload.as_ref().filter(|_| job.trace.is_none()) else { return false };
        if let Some(alike) = self.0.iter_mut().find(|alike| are_alike(&alike.job, job)) {
            alike.ids.push(uuid(job.id));
            alike.payloads.push(payload.clone());
            return true;
        }
        let is_new = self.0.len() < LIKENESSES_MAX;
        if is_new {
            let first = Job { payload: None, ..job.clone() };
            self.0.push(Likeness { job: first, ids: vec![uuid(job.id)], payloads: vec![payload.clone()] });
        }
        is_new
    }

    /// Inserts them, all accepted at `now`, and their places among those that wait.
    pub(crate) async fn write(&self, session: &Session, now: Timestamp) -> Result<(), Failure> {
        join_all(self.0.iter().map(|alike| alike.write(session, now))).await.into_iter().collect()
    }
}

impl Likeness {
    async fn write(&self, session: &Session, now: Timestamp) -> Result<(), Failure> {
        let job = &self.job;
        let payloads: Vec<&str> = self.payloads.iter().map(RawJson::as_str).collect();
        session
            .rows(
                &INSERT,
                &[
                    &self.ids,
                    &payloads,
                    &job.tenant.as_str(),
                    &job.queue.as_str(),
                    &job.kind.as_str(),
                    &(job.priority as i16),
                    &(job.timeout.get().as_millis() as i64),
                    &write_retry(&job.retry)?,
                    &job.deadline.map(Timestamp::unix_ms),
                    &job.max_wait.map(|wait| wait.as_millis() as i64),
                    &write_tags(&job.tags)?,
                    &(job.state as i16),
                    &write_history(&job.history),
                    &job.run_at.unix_ms(),
                    &now.unix_ms(),
                    &(state_waiting(job, now) as i16),
                    &(job.run_at <= now),
                    &job.ready_order(),
                    &job.expires_at().map(Timestamp::unix_ms),
                ],
            )
            .await?;
        Ok(())
    }
}

/// Whether nothing but their ids and payloads tells apart two jobs without keys that were accepted at one moment.
fn are_alike(one: &Job, other: &Job) -> bool {
    let when = |job: &Job| (job.state, job.run_at, job.deadline, job.max_wait);
    let how = |job: &Job| (job.priority, job.timeout);
    when(one) == when(other)
        && how(one) == how(other)
        && one.kind == other.kind
        && one.queue == other.queue
        && one.tenant == other.tenant
        && one.retry == other.retry
        && one.tags == other.tags
}

pub(crate) static INSERT: Sql = Sql {
    text: "WITH made AS (INSERT INTO {s}.jobs (id, payload, payload_bytes, tenant, queue, kind, priority, \
           timeout_ms, retry, deadline, max_wait_ms, tags, state, history, run_at, created_at, version, \
           attempt, interruptions) \
           SELECT n.id, n.payload, octet_length(n.payload), $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, \
           $15, 1, 0, 0 FROM unnest($1, $2) AS n(id, payload) RETURNING id) \
           INSERT INTO {s}.waiting (id, queue, kind, priority, state, ready, due_at, place, expires_at, \
           interruptions) SELECT id, $4, $5, $6, $16, $17, $14, $18, $19, 0 FROM made",
    types: &[
        Type::UUID_ARRAY,
        Type::TEXT_ARRAY,
        Type::TEXT,
        Type::TEXT,
        Type::TEXT,
        Type::INT2,
        Type::INT8,
        Type::TEXT,
        Type::INT8,
        Type::INT8,
        Type::TEXT,
        Type::INT2,
        Type::BYTEA,
        Type::INT8,
        Type::INT8,
        Type::INT2,
        Type::BOOL,
        Type::INT8,
        Type::INT8,
    ],
};
