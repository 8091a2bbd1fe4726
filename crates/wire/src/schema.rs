//! JSON Schemas (2020-12) of what the documents are made of but the domain defines: for
//! `#[schemars(with = "...")]`. Limits and names come from the domain, so that they are said once.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};
use steadfast_domain::{Backoff, JobState, Priority, limits};

use crate::ErrorCode;

/// Any character but controls, of which [`limits`] count the bytes.
const NO_CONTROLS: &str = r"^[^\u0000-\u001f\u007f-\u009f]*$";
/// The years 1970 to 9999: the rest is left to the format.
const YEARS: &str = "^(19[7-9][0-9]|[2-9][0-9]{3})-";

/// A job's id, the claim's token and the lease's length of 1,000 to 3,600,000 ms.
const LEASE: &str = concat!(
    r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.(0|[1-9][0-9]{0,18})\.",
    r"([1-9][0-9]{3,5}|[12][0-9]{6}|3[0-5][0-9]{5}|3600000)$",
);
const LEASE_EXAMPLE: &str = "019aa3c4-6f80-7000-8c4e-5b1f0c6a7d21.4294967297.30000";

/// The phases of the server's life, in order.
pub const PHASES: [&str; 7] =
    ["starting", "ready", "lame_duck", "draining", "cancelling", "handback", "stopped"];

/// Defines a type that only has a schema.
macro_rules! shape {
    (#[doc = $doc:literal] $name:ident, $title:literal, inline: $inline:literal, $schema:expr) => {
        #[doc = $doc]
        #[derive(Debug)]
        pub struct $name;

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                $inline
            }

            fn schema_name() -> Cow<'static, str> {
                $title.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                let mut schema = $schema;
                if !$inline {
                    schema.insert("description".to_owned(), $doc.trim().into());
                }
                schema
            }
        }
    };
}

shape!(
    /// A job's id.
    Id, "JobId", inline: true,
    json_schema!({ "type": "string", "format": "uuid" })
);
shape!(
    /// A lease.
    Lease, "LeaseId", inline: true,
    json_schema!({ "type": "string", "pattern": LEASE, "examples": [LEASE_EXAMPLE] })
);
shape!(
    /// A moment, as answers write it.
    Time, "Time", inline: true,
    json_schema!({ "type": "string", "format": "date-time", "examples": ["2026-11-21T00:00:00.000Z"] })
);
shape!(
    /// A moment, as requests may write it.
    GivenTime, "GivenTime", inline: true,
    json_schema!({
        "type": "string", "format": "date-time", "pattern": YEARS, "examples": ["2026-11-21T00:00:00Z"],
    })
);
shape!(
    /// The name of a queue or a kind.
    Name, "Name", inline: true,
    json_schema!({
        "type": "string", "pattern": "^[a-z0-9._-]+$", "minLength": 1, "maxLength": limits::NAME_BYTES_MAX,
    })
);
shape!(
    /// A `unique_key`.
    Unique, "UniqueKey", inline: true,
    json_schema!({
        "type": "string", "pattern": NO_CONTROLS, "minLength": 1, "maxLength": limits::KEY_BYTES_MAX,
    })
);
shape!(
    /// Labels of a job.
    Labels, "Labels", inline: true,
    json_schema!({
        "type": "object",
        "maxProperties": limits::TAGS_MAX,
        "propertyNames": { "pattern": NO_CONTROLS, "minLength": 1, "maxLength": limits::TAG_KEY_BYTES_MAX },
        "additionalProperties": {
            "type": "string", "pattern": NO_CONTROLS, "maxLength": limits::TAG_VALUE_BYTES_MAX,
        },
    })
);
shape!(
    /// A trace: 32 hexadecimal digits.
    TraceId, "TraceId", inline: true,
    json_schema!({ "type": "string", "pattern": "^[0-9a-f]{32}$" })
);
shape!(
    /// Where a job is in its life.
    State, "JobState", inline: false,
    json_schema!({ "type": "string", "enum": JobState::ALL.map(JobState::as_str) })
);
shape!(
    /// How early a job is taken.
    PriorityName, "Priority", inline: false,
    json_schema!({ "type": "string", "enum": Priority::ALL.map(Priority::as_str) })
);
shape!(
    /// How the delay before a retry grows.
    BackoffName, "Backoff", inline: true,
    json_schema!({ "type": "string", "enum": Backoff::ALL.map(Backoff::as_str) })
);
shape!(
    /// A phase of the server's life.
    PhaseName, "Phase", inline: false,
    json_schema!({ "type": "string", "enum": PHASES })
);
shape!(
    /// Every reason for which the API answers something else than what was asked.
    Code, "ErrorCode", inline: false,
    json_schema!({ "type": "string", "enum": ErrorCode::ALL.map(ErrorCode::as_str) })
);

/// What a job that says twice when it may start has.
pub(crate) fn two_starts() -> Value {
    json!({
        "properties": { "run_at": { "type": "string" }, "delay_ms": { "type": "integer", "minimum": 1 } },
        "required": ["run_at", "delay_ms"],
    })
}

/// What has exactly one of these members, `null` for absent.
pub(crate) fn one_of(members: &[&str]) -> Value {
    let has =
        |member: &&str| json!({ "properties": { *member: { "type": "object" } }, "required": [*member] });
    members.iter().map(has).collect()
}
