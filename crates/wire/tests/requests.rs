//! What the schemas of requests allow is what their readers take.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use jsonschema::Validator;
use schemars::{JsonSchema, schema_for};
use serde_json::Value;
use steadfast_wire::lease::{
    CompleteRequest, FailRequest, HeartbeatRequest, HeartbeatsRequest, LeaseRequest, ReleaseRequest,
    SettlementsRequest, read_complete, read_fail, read_heartbeat, read_heartbeats, read_lease_request,
    read_release, read_settlements,
};
use steadfast_wire::{BatchRequest, Misread, SubmitRequest, read_batch, read_job};

fn schema_of<T: JsonSchema>() -> Validator {
    let schema = Value::from(schema_for!(T));
    jsonschema::options().should_validate_formats(true).build(&schema).unwrap()
}

/// Bodies at each limit and just beyond, of each type that is wrong, and whole ones.
fn bodies() -> Vec<String> {
    let with = |member: &str, values: &[&str]| -> Vec<String> {
        values.iter().map(|value| format!(r#"{{"kind":"echo","{member}":{value}}}"#)).collect()
    };
    let text = |letters: usize| format!("\"{}\"", "a".repeat(letters));
    let tags = |count: usize| {
        let tags: Vec<String> = (0..count).map(|n| format!(r#""t{n}":"v""#)).collect();
        format!("{{{}}}", tags.join(","))
    };
    let wrong = ["true", "[]", "[1]", "\"\"", "1.5", "-1", "null", "{\"a\":1}"];
    let members = [
        "queue",
        "priority",
        "run_at",
        "delay_ms",
        "timeout_ms",
        "deadline",
        "max_wait_ms",
        "retry",
        "unique_key",
        "tags",
        "colour",
        "payload",
    ];
    let mut bodies: Vec<String> = members.iter().flat_map(|member| with(member, &wrong)).collect();
    for member in ["queue", "unique_key"] {
        bodies.extend(with(
            member,
            &[&text(1), &text(64), &text(65), &text(255), &text(256), "\"A\"", "\"\\u0000\""],
        ));
    }
    bodies.extend(with("priority", &["\"critical\"", "\"urgent\""]));
    for member in ["run_at", "deadline"] {
        bodies.extend(with(
            member,
            &[
                "\"2026-11-21T00:00:00Z\"",
                "\"2026-11-21T00:00:00.123456+02:30\"",
                "\"1969-12-31T00:00:00Z\"",
                "\"2026-02-30T00:00:00Z\"",
                "\"soon\"",
            ],
        ));
    }
    bodies.extend(with("delay_ms", &["0", "31622400000", "31622400001", "7.0", "1e3"]));
    bodies.extend(with("max_wait_ms", &["0", "1", "31622400000", "31622400001"]));
    bodies.extend(with("timeout_ms", &["0", "1", "604800000", "604800001"]));
    bodies.extend(with(
        "tags",
        &[&tags(0), &tags(16), &tags(17), r#"{"":"v"}"#, r#"{"a":"\u0007"}"#, r#"{"a":""}"#],
    ));
    bodies.extend(with("tags", &[&format!(r#"{{{}:"v"}}"#, text(65)), &format!(r#"{{"k":{}}}"#, text(257))]));
    bodies.extend(
        [
            r#"{}"#,
            r#"{"max_attempts":1000,"backoff":"none","initial_ms":0,"max_ms":2592000000,"jitter":1}"#,
            r#"{"max_attempts":0}"#,
            r#"{"max_attempts":1001}"#,
            r#"{"backoff":"linear"}"#,
            r#"{"max_ms":2592000001}"#,
            r#"{"jitter":1.01}"#,
            r#"{"jitter":-0.5}"#,
            r#"{"tries":1}"#,
            r#"{"max_attempts":null,"jitter":null}"#,
        ]
        .iter()
        .flat_map(|retry| with("retry", &[retry])),
    );
    for both in [("null", "1"), ("\"2027-01-01T00:00:00Z\"", "0"), ("\"2027-01-01T00:00:00Z\"", "1")] {
        bodies.push(format!(r#"{{"kind":"echo","run_at":{},"delay_ms":{}}}"#, both.0, both.1));
    }
    for kind in ["", "a b", "echo", "a.b_c-9"] {
        bodies.push(format!(r#"{{"kind":"{kind}"}}"#));
    }
    bodies.extend(["[]", "{}", "null", "7", r#"{"kind":null}"#, r#"{"kind":7}"#].map(str::to_owned));
    bodies
}

#[test]
fn a_job_is_taken_when_its_schema_allows_it() {
    let schema = schema_of::<SubmitRequest>();
    for body in bodies() {
        let value: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(schema.is_valid(&value), read_job(&body).is_ok(), "{body}");
    }
}

#[test]
fn a_batch_is_taken_when_its_schema_allows_it() {
    let schema = schema_of::<BatchRequest>();
    let batch = |jobs: &[String]| format!(r#"{{"jobs":[{}]}}"#, jobs.join(","));
    let echo = |jobs: usize| batch(&vec![r#"{"kind":"echo"}"#.to_owned(); jobs]);
    let mut batches = vec![echo(0), echo(1), echo(1_000), echo(1_001)];
    batches.extend(["{}", r#"{"jobs":null}"#, r#"{"jobs":{}}"#, "[]"].map(str::to_owned));
    batches.push(r#"{"jobs":[{"kind":"echo"}],"more":1}"#.to_owned());
    batches.extend(bodies().iter().map(|job| batch(std::slice::from_ref(job))));
    for body in batches {
        let value: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(schema.is_valid(&value), read_batch(&body).is_ok(), "{body:.200}");
    }
}

/// Each body is taken if and only if its schema allows it.
#[track_caller]
fn agree<T: JsonSchema, R>(read: fn(&str) -> Result<R, Misread>, bodies: impl IntoIterator<Item = String>) {
    let schema = schema_of::<T>();
    for body in bodies {
        let value: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(schema.is_valid(&value), read(&body).is_ok(), "{body:.200}");
    }
}

/// Objects with these members beside one more, which has one of these values.
fn with(members: &str, names: &[&str], values: &[&str]) -> Vec<String> {
    let body = |name: &str, value: &str| format!("{{{members}\"{name}\":{value}}}");
    names.iter().flat_map(|name| values.iter().map(|value| body(name, value))).collect()
}

const WRONG: [&str; 9] = ["true", "[]", "[1]", "\"\"", "\"a\"", "1.5", "-1", "null", "{\"a\":1}"];
const LEASE: &str = r#""lease":"019aa3c4-6f80-7000-8c4e-5b1f0c6a7d21.7.1000","#;

#[test]
fn a_lease_request_is_taken_when_its_schema_allows_it() {
    let worker = r#""worker":"w","#;
    let (long, many) = (format!("\"{}\"", "w".repeat(256)), format!("[{}\"z\"]", "\"a\",".repeat(100)));
    let mut bodies = with(worker, &["queues", "kinds", "limit", "wait_ms", "lease_ms", "colour"], &WRONG);
    bodies.extend(with(worker, &["queues", "kinds"], &[r#"["a","b"]"#, r#"["A"]"#, r#"[null]"#, &many]));
    bodies.extend(with(worker, &["limit"], &["0", "1", "1000", "1001", "7.0"]));
    bodies.extend(with(worker, &["wait_ms"], &["0", "30000", "30001"]));
    bodies.extend(with(worker, &["lease_ms"], &["999", "1000", "3600000", "3600001"]));
    bodies.extend(with("", &["worker"], &WRONG));
    bodies.extend(with("", &["worker"], &["\"host-1:4711\"", "\"a b\"", "\"\u{e9}\"", &long]));
    bodies.extend(["{}", "[]", "7"].map(str::to_owned));
    agree::<LeaseRequest, _>(read_lease_request, bodies);
}

#[test]
fn what_is_said_under_a_lease_is_taken_when_its_schema_allows_it() {
    let none = ["{}", "[]", "7"].map(str::to_owned);
    agree::<HeartbeatRequest, _>(
        read_heartbeat,
        [with("", &["progress", "checkpoint", "colour"], &WRONG), none.to_vec()].concat(),
    );
    agree::<CompleteRequest, _>(
        read_complete,
        [with("", &["result", "colour"], &WRONG), none.to_vec()].concat(),
    );
    agree::<ReleaseRequest, _>(
        read_release,
        [with("", &["checkpoint", "colour"], &WRONG), none.to_vec()].concat(),
    );
    let mut bodies = with(r#""message":"m","#, &["code"], &WRONG);
    bodies.extend(with(r#""code":"c","#, &["message", "retryable"], &WRONG));
    bodies.extend(with(r#""code":"c","message":"m","#, &["retryable", "colour"], &WRONG));
    agree::<FailRequest, _>(read_fail, [bodies, none.to_vec()].concat());
}

#[test]
fn what_is_said_of_many_leases_is_taken_when_its_schema_allows_it() {
    let wrong_lease = with("", &["lease"], &WRONG);
    let beats = with(LEASE, &["progress", "checkpoint", "colour"], &WRONG);
    let of = |list: &str, elements: &[String]| format!("{{\"{list}\":[{}]}}", elements.join(","));
    let each = |list: &str, elements: &[Vec<String>]| -> Vec<String> {
        let elements = elements.concat();
        let mut bodies: Vec<String> =
            elements.iter().map(|one| of(list, std::slice::from_ref(one))).collect();
        bodies.extend([of(list, &[]), "{}".to_owned(), format!("{{\"{list}\":7}}")]);
        let one = elements.last().unwrap();
        bodies.extend([of(list, &vec![one.clone(); 1_000]), of(list, &vec![one.clone(); 1_001])]);
        bodies
    };
    let plain = vec![format!("{{{}}}", LEASE.trim_end_matches(','))];
    agree::<HeartbeatsRequest, _>(
        read_heartbeats,
        each("heartbeats", &[wrong_lease.clone(), beats, plain.clone()]),
    );
    let verbs = ["complete", "fail", "release", "colour"];
    let mut ends = with(LEASE, &verbs, &["{}", "null", "7", r#"{"result":1}"#, r#"{"checkpoint":1}"#]);
    ends.extend(with(LEASE, &verbs, &[r#"{"code":"c","message":"m"}"#]));
    ends.extend(with(&format!(r#"{LEASE}"complete":{{}},"#), &verbs[1..], &["{}", "null"]));
    let done = with(LEASE, &["complete"], &["{}"]);
    agree::<SettlementsRequest, _>(read_settlements, each("settlements", &[wrong_lease, ends, plain, done]));
}
