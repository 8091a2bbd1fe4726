//! The data of the server-sent events of one job. The member `id` is the job's; the event's own id, where
//! it has one, is the job's version. The last event, `end`, carries the whole [`JobDocument`](crate::JobDocument).

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use steadfast_domain::{Change, JobId, JobState, RawJson, Timestamp, Version};

use crate::scalars::{rfc3339, state};
use crate::schema;

/// `event: state` with an id: a durable change, seen exactly once and in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StateEvent {
    /// Whose change.
    #[schemars(with = "schema::Id")]
    pub id: JobId,
    /// Its number, the same as the event's id.
    #[schemars(with = "u64", range(min = 1))]
    pub version: Version,
    /// The state from then on.
    #[serde(with = "state")]
    #[schemars(with = "schema::State")]
    pub state: JobState,
    /// When.
    #[serde(with = "rfc3339")]
    #[schemars(with = "schema::Time")]
    pub at: Timestamp,
}

/// `event: state` without an id: a hint that an attempt runs. May be missed or repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProcessingEvent {
    /// Whose attempt.
    #[schemars(with = "schema::Id")]
    pub id: JobId,
    /// `processing`.
    #[serde(with = "state")]
    #[schemars(with = "String", extend("const" = "processing"))]
    pub state: JobState,
    /// The attempt's number, from 1.
    #[schemars(range(min = 1))]
    pub attempt: u32,
}

/// `event: progress`: what the handler last reported. A hint; the newest wins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProgressEvent {
    /// Whose progress.
    #[schemars(with = "schema::Id")]
    pub id: JobId,
    /// What was reported.
    #[schemars(with = "serde_json::Value")]
    pub progress: RawJson,
}

/// `event: server_shutdown`: the stream ends because the server does; come back after the time of its
/// `retry:` field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ShutdownEvent {
    /// When to reconnect, in milliseconds, the same as the event's `retry:`.
    pub reconnect_after_ms: u64,
    /// The phase of the server's life.
    #[schemars(with = "schema::PhaseName")]
    pub phase: Cow<'static, str>,
}

impl From<Change> for StateEvent {
    fn from(change: Change) -> Self {
        Self { id: change.id, version: change.version, state: change.state, at: change.at }
    }
}

impl ProcessingEvent {
    /// The hint that attempt number `attempt` of job `id` runs.
    pub const fn new(id: JobId, attempt: u32) -> Self {
        Self { id, state: JobState::Processing, attempt }
    }
}
