use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use steadfast_domain::{Job, JobError, JobId, JobState, Priority, RawJson, Timestamp, Version, limits};

use crate::scalars::{priority, rfc3339, rfc3339_option, state};
use crate::schema;

/// A job as the API shows it, members in the order of its page.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Job")]
pub struct JobDocument {
    /// Its identity, a UUIDv7.
    #[schemars(with = "schema::Id")]
    pub id: JobId,
    /// Where it waits.
    #[schemars(with = "schema::Name")]
    pub queue: String,
    /// Which handler runs it.
    #[schemars(with = "schema::Name")]
    pub kind: String,
    /// Where it is in its life.
    #[serde(with = "state")]
    #[schemars(with = "schema::State")]
    pub state: JobState,
    /// How early it is taken.
    #[serde(with = "priority")]
    #[schemars(with = "schema::PriorityName")]
    pub priority: Priority,
    /// What its handler gets, byte for byte as submitted; left out in lists.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "serde_json::Value")]
    pub payload: Option<RawJson>,
    /// Bytes of the payload.
    pub payload_bytes: usize,
    /// Attempts begun and counted.
    pub attempt: u32,
    /// Attempts it may have in all.
    #[schemars(range(min = 1, max = limits::ATTEMPTS_MAX))]
    pub max_attempts: u32,
    /// How often a crash or a lapsed lease ended its attempt.
    pub interruptions: u32,
    /// Grows with each durable state change.
    #[schemars(with = "u64", range(min = 1))]
    pub version: Version,
    /// When it was accepted.
    #[serde(with = "rfc3339")]
    #[schemars(with = "schema::Time")]
    pub created_at: Timestamp,
    /// When it is, or was, due for its next attempt.
    #[serde(with = "rfc3339")]
    #[schemars(with = "schema::Time")]
    pub run_at: Timestamp,
    /// When its newest attempt began.
    #[serde(with = "rfc3339_option")]
    #[schemars(with = "Option<schema::Time>")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(with = "rfc3339_option")]
    #[schemars(with = "Option<schema::Time>")]
    pub finished_at: Option<Timestamp>,
    /// After this moment it is not started any more.
    #[serde(with = "rfc3339_option")]
    #[schemars(with = "Option<schema::Time>")]
    pub deadline: Option<Timestamp>,
    /// What its handler last reported.
    #[schemars(with = "serde_json::Value")]
    pub progress: Option<RawJson>,
    /// What its handler returned, JSON `null` when nothing; left out in lists.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "serde_json::Value")]
    pub result: Option<RawJson>,
    /// How its last failed attempts ended, oldest first.
    #[schemars(length(max = limits::ERRORS_MAX))]
    pub errors: Vec<JobErrorDocument>,
    /// What its handler left for the next attempt, JSON `null` when nothing; left out in lists.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "serde_json::Value")]
    pub checkpoint: Option<RawJson>,
    /// Whether its running attempt was asked to stop for good.
    pub cancel_requested: bool,
    /// The key of the submission that made it.
    #[schemars(length(min = 1, max = limits::KEY_BYTES_MAX))]
    pub idempotency_key: Option<String>,
    /// At most one live job of its queue has this key.
    #[schemars(with = "Option<schema::Unique>")]
    pub unique_key: Option<String>,
    /// Its labels.
    #[schemars(with = "schema::Labels")]
    pub tags: BTreeMap<String, String>,
    /// Who runs it now, for people to read.
    pub owner: Option<String>,
    /// The trace it belongs to: 32 hexadecimal digits.
    #[schemars(with = "Option<schema::TraceId>")]
    pub trace_id: Option<String>,
    /// What the job survives; only in the answer to a submit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Durability")]
    pub durability: Option<Durability>,
    /// Whether a live job with the same `unique_key` was answered instead of a new one; left out when not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deduplicated: bool,
}

/// How one attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "JobError")]
pub struct JobErrorDocument {
    /// The attempt's number, from 1.
    #[schemars(range(min = 1))]
    pub attempt: u32,
    /// When it ended.
    #[serde(with = "rfc3339")]
    #[schemars(with = "schema::Time")]
    pub at: Timestamp,
    /// A stable word for programs, such as `timeout`.
    #[schemars(length(max = limits::ERROR_CODE_BYTES_MAX))]
    pub code: String,
    /// A sentence for people.
    #[schemars(length(max = limits::ERROR_MESSAGE_BYTES_MAX))]
    pub message: String,
}

/// What an accepted job survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// Loss of power: it was fsynced.
    Fsync,
    /// What a PostgreSQL commit survives.
    Commit,
    /// Nothing: it is in the server's memory only.
    Memory,
}

/// One page of `GET /v1/jobs`, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobPage {
    /// The jobs, without payload, result and checkpoint.
    #[schemars(length(max = limits::LIST_LIMIT_MAX))]
    pub jobs: Vec<JobDocument>,
    /// The `cursor` of the next page, while there may be one.
    pub next_cursor: Option<String>,
}

impl JobDocument {
    /// The whole job.
    pub fn full(job: Job) -> Self {
        let (payload, result, checkpoint) = (job.payload.clone(), job.result.clone(), job.checkpoint.clone());
        let or_null = |json: Option<RawJson>| Some(json.unwrap_or_else(RawJson::null));
        Self {
            payload: or_null(payload),
            result: or_null(result),
            checkpoint: or_null(checkpoint),
            ..Self::listed(job)
        }
    }

    /// The job as lists have it: without payload, result and checkpoint.
    pub fn listed(job: Job) -> Self {
        Self {
            id: job.id,
            queue: job.queue.as_str().to_owned(),
            kind: job.kind.as_str().to_owned(),
            state: job.state,
            priority: job.priority,
            payload: None,
            payload_bytes: job.payload_bytes,
            attempt: job.attempt,
            max_attempts: job.retry.max_attempts(),
            interruptions: job.interruptions,
            version: job.version,
            created_at: job.created_at,
            run_at: job.run_at,
            started_at: job.started_at,
            finished_at: job.finished_at,
            deadline: job.deadline,
            progress: job.progress,
            result: None,
            errors: job.errors.into_iter().map(JobErrorDocument::from).collect(),
            checkpoint: None,
            cancel_requested: job.cancel_requested,
            idempotency_key: job.idempotency_key.map(|key| key.as_str().to_owned()),
            unique_key: job.unique_key.map(|key| key.as_str().to_owned()),
            tags: job.tags.as_map().clone(),
            owner: job.owner,
            trace_id: job.trace.map(|trace| trace.trace_id().to_owned()),
            durability: None,
            deduplicated: false,
        }
    }
}

impl From<JobError> for JobErrorDocument {
    fn from(error: JobError) -> Self {
        Self { attempt: error.attempt, at: error.at, code: error.code, message: error.message }
    }
}

/// Reads a member that is there, JSON `null` included, which an `Option` alone would take for absent.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<RawJson>, D::Error> {
    RawJson::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use steadfast_domain::{KindName, NewJob};

    fn job() -> Job {
        let payload = RawJson::parse(r#"{"n":1e999999}"#).unwrap();
        let new = NewJob::new(KindName::new("echo").unwrap(), payload);
        Job::accept(new, JobId::from_u128(7), Timestamp::from_unix_ms(1_795_219_200_000), None)
    }

    #[test]
    fn the_document_has_the_members_of_the_api_in_its_order() {
        let text = serde_json::to_string(&JobDocument::full(job())).unwrap();
        assert_eq!(
            text,
            concat!(
                r#"{"id":"00000000-0000-0000-0000-000000000007","queue":"default","kind":"echo","#,
                r#""state":"queued","priority":"normal","payload":{"n":1e999999},"payload_bytes":14,"#,
                r#""attempt":0,"max_attempts":5,"interruptions":0,"version":1,"#,
                r#""created_at":"2026-11-21T00:00:00.000Z","run_at":"2026-11-21T00:00:00.000Z","#,
                r#""started_at":null,"finished_at":null,"deadline":null,"progress":null,"result":null,"#,
                r#""errors":[],"checkpoint":null,"cancel_requested":false,"idempotency_key":null,"#,
                r#""unique_key":null,"tags":{},"owner":null,"trace_id":null}"#
            )
        );
    }

    #[test]
    fn both_forms_read_back_and_ignore_what_is_new() {
        for document in [JobDocument::full(job()), JobDocument::listed(job())] {
            let text = serde_json::to_string(&document).unwrap().replacen('{', r#"{"new_member":[1],"#, 1);
            assert_eq!(serde_json::from_str::<JobDocument>(&text).unwrap(), document);
        }
    }

    #[test]
    fn lists_leave_the_large_members_out() {
        let text = serde_json::to_string(&JobDocument::listed(job())).unwrap();
        for member in ["\"payload\":", "\"result\"", "\"checkpoint\""] {
            assert!(!text.contains(member), "{member}");
        }
    }
}
