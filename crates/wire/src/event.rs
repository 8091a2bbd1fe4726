//! The data of server-sent events. The member `id` is the job's. Of the events of one job, the event's own id, where it
//! has one, is the job's version, and the last one, `end`, carries the whole [`JobDocument`](crate::JobDocument).

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use steadfast_domain::{Change, JobId, JobState, RawJson, Timestamp, Version};

use crate::scalars::{rfc3339, rfc3339_option, state, state_option};
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

/// `event: state` or `progress` of any job, and the message of that type on a WebSocket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AnyJobEvent<'a> {
    /// What kind of event it is.
    #[serde(rename = "type")]
    pub kind: AnyJobEventKind,
    /// Whose.
    #[schemars(with = "schema::Id")]
    pub id: JobId,
    /// Where it is.
    #[schemars(with = "schema::Name")]
    pub queue: Cow<'a, str>,
    /// The job's version: that of the change, or of a hint the one it was made in.
    #[schemars(with = "u64", range(min = 1))]
    pub version: Version,
    /// The state from then on.
    #[serde(with = "state_option", default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::State>")]
    pub state: Option<JobState>,
    /// When: with a durable change only.
    #[serde(with = "rfc3339_option", default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::Time>")]
    pub at: Option<Timestamp>,
    /// The attempt's number, from 1: with the hint that it runs only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// What the handler last reported: with `progress` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Value>")]
    pub progress: Option<RawJson>,
}

/// What an [`AnyJobEvent`] tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AnyJobEventKind {
    /// A durable change, or with an `attempt` the hint that it runs.
    State,
    /// A hint: how far a running attempt is.
    Progress,
}

impl<'a> AnyJobEvent<'a> {
    /// A durable change of a job of this queue.
    pub fn change(queue: &'a str, change: Change) -> Self {
        let Change { id, version, state, at } = change;
        let (state, at) = (Some(state), Some(at));
        Self { state, at, ..Self::of(AnyJobEventKind::State, id, queue, version) }
    }

    /// The hint that attempt number `attempt` runs.
    pub fn processing(id: JobId, queue: &'a str, version: Version, attempt: u32) -> Self {
        let (state, attempt) = (Some(JobState::Processing), Some(attempt));
        Self { state, attempt, ..Self::of(AnyJobEventKind::State, id, queue, version) }
    }

    /// How far a running attempt is.
    pub fn progress(id: JobId, queue: &'a str, version: Version, progress: RawJson) -> Self {
        Self { progress: Some(progress), ..Self::of(AnyJobEventKind::Progress, id, queue, version) }
    }

    fn of(kind: AnyJobEventKind, id: JobId, queue: &'a str, version: Version) -> Self {
        let queue = Cow::Borrowed(queue);
        Self { kind, id, queue, version, state: None, at: None, attempt: None, progress: None }
    }
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
