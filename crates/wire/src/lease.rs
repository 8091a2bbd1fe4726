//! What remote workers and the server say to each other: leases, their renewal, and how attempts ended.

mod reading;

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use steadfast_domain::{Change, Fence, Invalid, JobId, JobState, RawJson, Timestamp, Version, limits};

use crate::JobDocument;
use crate::scalars::{rfc3339, state};
use crate::schema;
pub use reading::{
    LeaseOrder, read_complete, read_fail, read_heartbeat, read_heartbeats, read_lease_request, read_release,
    read_settlements,
};

/// The shortest lease a worker may ask for, in milliseconds.
pub const LEASE_MS_MIN: u64 = 1_000;
/// The longest, in milliseconds.
pub const LEASE_MS_MAX: u64 = 3_600_000;
/// The lease of a worker that asks for none, in milliseconds.
pub const LEASE_MS_DEFAULT: u64 = 30_000;
pub(crate) const WAIT_MS_MAX: u64 = limits::WAIT_MAX.as_millis() as u64;
/// Queues, or kinds, one request may name.
pub(crate) const NAMES_MAX: usize = 100;

/// Names one lease. To clients it is a word without meaning; it holds what the store needs to find the claim and to
/// know an outdated one, and for how long a heartbeat renews it, so that any server can, after any restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeaseId {
    /// The job that was taken.
    pub job: JobId,
    /// The claim's fencing token.
    pub fence: Fence,
    /// How long it holds without a heartbeat: [`LEASE_MS_MIN`] to [`LEASE_MS_MAX`].
    pub lease_ms: u64,
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.job, self.fence.0, self.lease_ms)
    }
}

impl FromStr for LeaseId {
    type Err = Invalid;

    /// Reads only what [`Display`](fmt::Display) writes, so that a lease has one name.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let read = || {
            let mut parts = text.split('.');
            let id = Self {
                job: parts.next()?.parse().ok()?,
                fence: Fence(parts.next()?.parse().ok()?),
                lease_ms: parts.next()?.parse().ok()?,
            };
            let allowed = (LEASE_MS_MIN..=LEASE_MS_MAX).contains(&id.lease_ms);
            (allowed && id.to_string() == text).then_some(id)
        };
        read().ok_or_else(|| Invalid::new("is not a lease of this server"))
    }
}

impl Serialize for LeaseId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LeaseId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The body of `POST /v1/leases` as a worker writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct LeaseRequest {
    /// From which pull queues; from all when empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Option<Vec<schema::Name>>", length(max = NAMES_MAX))]
    pub queues: Vec<String>,
    /// Which kinds the worker can run; any when empty. It is never given another.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Option<Vec<schema::Name>>", length(max = NAMES_MAX))]
    pub kinds: Vec<String>,
    /// The worker's name for itself: what `owner` of its jobs shows.
    #[schemars(length(min = 1, max = limits::KEY_BYTES_MAX), regex(pattern = "^[!-~]+$"))]
    pub worker: String,
    /// Leases at most; 1 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = limits::LEASES_MAX))]
    pub limit: Option<u64>,
    /// For how long to wait until there is a job; not at all by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = WAIT_MS_MAX))]
    pub wait_ms: Option<u64>,
    /// How long the leases hold without a heartbeat; 30 s by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = LEASE_MS_MIN, max = LEASE_MS_MAX))]
    pub lease_ms: Option<u64>,
}

impl LeaseRequest {
    /// A request of this worker, for one job of any queue and kind, without waiting.
    pub fn new(worker: impl Into<String>) -> Self {
        let (queues, kinds, worker) = (Vec::new(), Vec::new(), worker.into());
        Self { queues, kinds, worker, limit: None, wait_ms: None, lease_ms: None }
    }
}

/// What a worker is to do from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Directive {
    /// Go on.
    Run,
    /// This server drains: lease nothing here before `retry_after_ms`; go on running, renewing and settling what is
    /// held.
    Quiet,
}

/// The answer of `POST /v1/leases`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LeaseAnswer {
    /// The jobs taken; none when there were none in time.
    #[schemars(length(max = limits::LEASES_MAX))]
    pub leases: Vec<LeaseDocument>,
    /// What the worker is to do.
    pub directive: Directive,
    /// With `quiet`: when to ask again, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u64", range(min = 50, max = 60_000))]
    pub retry_after_ms: Option<u64>,
}

/// One job taken by a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Lease")]
pub struct LeaseDocument {
    /// Names the lease in every later call.
    #[schemars(with = "schema::Lease")]
    pub lease: LeaseId,
    /// Until when it holds without a heartbeat, by the server's clock.
    #[serde(with = "rfc3339")]
    #[schemars(with = "schema::Time")]
    pub expires_at: Timestamp,
    /// How long the attempt may run: the worker is to end it then, and to settle it as failed with code `timeout`.
    #[schemars(range(min = 1))]
    pub timeout_ms: u64,
    /// Where the job is part of a trace: what the worker goes on from, and passes on, as `traceparent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", regex(pattern = "^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$"))]
    pub traceparent: Option<String>,
    /// The whole job; `attempt` counts this one, and `checkpoint` is what an earlier one left.
    pub job: JobDocument,
}

/// The body of a heartbeat; both may be left out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct HeartbeatRequest {
    /// What to show as the job's progress: the newest wins, and may be lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Value>")]
    pub progress: Option<RawJson>,
    /// What the next attempt is to find if this one is lost: stored when the answer is 200.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Value>")]
    pub checkpoint: Option<RawJson>,
}

/// The answer to a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeartbeatAnswer {
    /// Until when the lease holds now, by the server's clock.
    #[serde(with = "rfc3339")]
    #[schemars(with = "schema::Time")]
    pub expires_at: Timestamp,
    /// Whether the attempt is to stop for good: settle it in any way, and it ends as cancelled unless it was done.
    pub cancel_requested: bool,
    /// What the worker is to do.
    pub directive: Directive,
    /// With `quiet`: when to ask for leases again, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u64", range(min = 50, max = 60_000))]
    pub retry_after_ms: Option<u64>,
}

/// How a worker says that an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Settle {
    /// The job is done.
    Complete(CompleteRequest),
    /// The attempt failed.
    Fail(FailRequest),
    /// The job goes back to its queue at once, its attempt refunded.
    Release(ReleaseRequest),
}

/// The body of `/complete`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct CompleteRequest {
    /// What the job led to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Value>")]
    pub result: Option<RawJson>,
}

/// The body of `/fail`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct FailRequest {
    /// A stable word for programs; cut to its first 64 bytes.
    pub code: String,
    /// A sentence for people; cut to its first KiB.
    pub message: String,
    /// Whether another attempt may do better; `true` by default.
    #[schemars(with = "Option<bool>")]
    pub retryable: bool,
}

/// The body of `/release`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct ReleaseRequest {
    /// What the next attempt is to find; an earlier one stays when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Value>")]
    pub checkpoint: Option<RawJson>,
}

/// The answer to a settlement, and to its repeat: what it made of the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Settled")]
pub struct SettledDocument {
    /// The job.
    #[schemars(with = "schema::Id")]
    pub id: JobId,
    /// The state that the settlement brought it to.
    #[serde(with = "state")]
    #[schemars(with = "schema::State")]
    pub state: JobState,
    /// The job's version then.
    #[schemars(with = "u64", range(min = 1))]
    pub version: Version,
    /// When.
    #[serde(with = "rfc3339")]
    #[schemars(with = "schema::Time")]
    pub at: Timestamp,
}

impl From<Change> for SettledDocument {
    fn from(change: Change) -> Self {
        let Change { id, version, state, at } = change;
        Self { id, state, version, at }
    }
}

/// The body of `POST /v1/leases/heartbeat` as a worker writes it: heartbeats of 1 to 1,000 leases.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct HeartbeatsRequest {
    /// One for each lease.
    #[schemars(length(min = 1, max = limits::LEASES_MAX))]
    pub heartbeats: Vec<LeaseHeartbeat>,
}

/// One heartbeat among several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct LeaseHeartbeat {
    /// Which lease.
    #[schemars(with = "schema::Lease")]
    pub lease: LeaseId,
    /// As in a heartbeat of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Value>")]
    pub progress: Option<RawJson>,
    /// As in a heartbeat of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Value>")]
    pub checkpoint: Option<RawJson>,
}

/// The answer to several heartbeats.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeartbeatsAnswer {
    /// One for each heartbeat, in the request's order.
    #[schemars(length(min = 1, max = limits::LEASES_MAX))]
    pub heartbeats: Vec<LeaseRenewed>,
    /// What the worker is to do.
    pub directive: Directive,
    /// With `quiet`: when to ask for leases again, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u64", range(min = 50, max = 60_000))]
    pub retry_after_ms: Option<u64>,
}

/// What became of one heartbeat among several: `renewed` or `code`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeaseRenewed {
    /// Which lease.
    #[schemars(with = "schema::Lease")]
    pub lease: LeaseId,
    /// The lease holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "RenewedDocument")]
    pub renewed: Option<RenewedDocument>,
    /// `lease_lost`: it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub code: Option<Cow<'static, str>>,
}

/// A lease that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Renewed")]
pub struct RenewedDocument {
    /// Until when, by the server's clock.
    #[serde(with = "rfc3339")]
    #[schemars(with = "schema::Time")]
    pub expires_at: Timestamp,
    /// Whether the attempt is to stop for good.
    pub cancel_requested: bool,
}

/// The body of `POST /v1/leases/settle` as a worker writes it: ends of 1 to 1,000 attempts, each for itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct SettlementsRequest {
    /// One for each lease.
    #[schemars(length(min = 1, max = limits::LEASES_MAX))]
    pub settlements: Vec<LeaseSettlement>,
}

/// One settlement among several: the lease, and one of `complete`, `fail` and `release`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeaseSettlement {
    /// Which lease.
    pub lease: LeaseId,
    /// How its attempt ended.
    #[serde(flatten)]
    pub settle: Settle,
}

/// What a [`LeaseSettlement`] may have: a flattened enum's own schema would let it have anything else, too.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("oneOf" = schema::one_of(&["complete", "fail", "release"])))]
#[expect(dead_code, reason = "it only has a schema")]
struct SettlementShape {
    /// Which lease.
    #[schemars(with = "schema::Lease")]
    lease: LeaseId,
    /// The job is done.
    complete: Option<CompleteRequest>,
    /// The attempt failed.
    fail: Option<FailRequest>,
    /// The job goes back to its queue at once, its attempt refunded.
    release: Option<ReleaseRequest>,
}

impl JsonSchema for LeaseSettlement {
    fn schema_name() -> Cow<'static, str> {
        "LeaseSettlement".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        SettlementShape::json_schema(generator)
    }
}

/// The answer to several settlements.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SettlementsAnswer {
    /// One for each, in the request's order.
    #[schemars(length(min = 1, max = limits::LEASES_MAX))]
    pub settlements: Vec<LeaseSettled>,
}

/// What became of one settlement among several: `settled` or `code`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeaseSettled {
    /// Which lease.
    #[schemars(with = "schema::Lease")]
    pub lease: LeaseId,
    /// What it made of the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "SettledDocument")]
    pub settled: Option<SettledDocument>,
    /// `lease_lost`: the settlement was not taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub code: Option<Cow<'static, str>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_has_one_name() {
        let id = LeaseId { job: JobId::from_u128(7), fence: Fence(u64::MAX), lease_ms: LEASE_MS_MAX };
        assert_eq!(id.to_string().parse(), Ok(id));
        let job = id.job.to_string();
        for rest in [
            "",
            ".",
            ".7",
            ".7.999",
            ".7.3600001",
            ".07.1000",
            ".+7.1000",
            ".-7.1000",
            ".7.1000.",
            ".7.1000.1",
        ] {
            assert!(format!("{job}{rest}").parse::<LeaseId>().is_err(), "{rest}");
        }
        for text in ["", ".7.1000", "7.7.1000", &format!("{}.7.1000", job.replace('-', ""))] {
            assert!(text.parse::<LeaseId>().is_err(), "{text}");
        }
    }
}
