use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;
use steadfast_domain::{
    AttemptTimeout, Backoff, KindName, NewJob, Priority, QueueName, RawJson, RetryPolicy, Start, Tags,
    Timestamp, UniqueKey, limits,
};

use crate::members::{Faults, Members, Misread, entries, text_of};
use crate::scalars::rfc3339_option;
use crate::schema;

/// The body of `POST /v1/jobs` as a client writes it; what is `None` is left out and gets its default.
///
/// The server does not read it through this type but with [`read_job`], which finds every fault at once.
#[derive(Debug, Clone, PartialEq, Default, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields, extend("not" = schema::two_starts()))]
pub struct SubmitRequest {
    /// Which handler is to run it.
    #[schemars(with = "schema::Name", extend("examples" = ["echo", "http", "sleep"]))]
    pub kind: String,
    /// What the handler gets; `{}` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Value>", extend("default" = {}))]
    pub payload: Option<RawJson>,
    /// Where it waits; `default` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::Name>", extend("default" = QueueName::default_queue().as_str()))]
    pub queue: Option<String>,
    /// `critical`, `high`, `normal` (the default) or `low`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::PriorityName>", extend("default" = Priority::default().as_str()))]
    pub priority: Option<String>,
    /// When it may first run; not together with `delay_ms`.
    #[serde(skip_serializing_if = "Option::is_none", with = "rfc3339_option")]
    #[schemars(with = "Option<schema::GivenTime>")]
    pub run_at: Option<Timestamp>,
    /// For how long it is to wait before it may first run.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = SCHEDULE_AHEAD_MS_MAX))]
    pub delay_ms: Option<u64>,
    /// The longest one attempt may run.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = ATTEMPT_TIMEOUT_MS_MAX))]
    pub timeout_ms: Option<u64>,
    /// After this moment it is not started any more.
    #[serde(skip_serializing_if = "Option::is_none", with = "rfc3339_option")]
    #[schemars(with = "Option<schema::GivenTime>")]
    pub deadline: Option<Timestamp>,
    /// The longest it may wait, from its due time, for its first start.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = SCHEDULE_AHEAD_MS_MAX))]
    pub max_wait_ms: Option<u64>,
    /// What happens when an attempt fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryRequest>,
    /// At most one live job of the queue has this key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::Unique>")]
    pub unique_key: Option<String>,
    /// Labels for lists.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "Option<schema::Labels>")]
    pub tags: BTreeMap<String, String>,
}

/// The member `retry` of a [`SubmitRequest`]; what is `None` gets its default.
#[derive(Debug, Clone, PartialEq, Default, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct RetryRequest {
    /// Attempts in all, the first included.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = limits::ATTEMPTS_MAX))]
    pub max_attempts: Option<u32>,
    /// `exponential`, `fixed` or `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::BackoffName>")]
    pub backoff: Option<String>,
    /// The delay after the first failed attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = BACKOFF_MS_MAX))]
    pub initial_ms: Option<u64>,
    /// The longest delay.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = BACKOFF_MS_MAX))]
    pub max_ms: Option<u64>,
    /// By which share of itself a delay is spread: 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1))]
    pub jitter: Option<f64>,
}

const JOB_MEMBERS: [&str; 12] = [
    "kind",
    "payload",
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
];
const RETRY_MEMBERS: [&str; 5] = ["max_attempts", "backoff", "initial_ms", "max_ms", "jitter"];

const SCHEDULE_AHEAD_MS_MAX: u64 = limits::SCHEDULE_AHEAD_MAX.as_millis() as u64;
const ATTEMPT_TIMEOUT_MS_MAX: u64 = limits::ATTEMPT_TIMEOUT_MAX.as_millis() as u64;
const BACKOFF_MS_MAX: u64 = limits::BACKOFF_MAX.as_millis() as u64;

/// Reads the body of `POST /v1/jobs`. Every rule that needs neither a clock nor the server's settings is
/// checked here, all faults at once; JSON `null` stands for a member's default.
pub fn read_job(body: &str) -> Result<NewJob, Misread> {
    let mut faults = Faults::default();
    let members = Members::of_body(body, &JOB_MEMBERS, &mut faults)?;
    let job = members.and_then(|members| job_of(&members, "#", &mut faults));
    faults.or(job)
}

/// Reads one job inside a batch, at the pointer `at`.
pub(crate) fn read_element(value: &RawValue, at: &str, faults: &mut Faults) -> Option<NewJob> {
    let members = Members::of_value(value, at, &JOB_MEMBERS, faults)?;
    job_of(&members, at, faults)
}

/// The job; `None`, with a fault, when it has no kind or a payload that cannot be kept. Other faults leave
/// a default behind, so that the rest is looked at too.
fn job_of(members: &Members<'_, 12>, at: &str, faults: &mut Faults) -> Option<NewJob> {
    members.required("kind", faults);
    let kind = members.checked("kind", faults, KindName::new);
    let payload = match members.value_or_null("payload") {
        Some(value) => RawJson::from_raw_value(value).map_err(|fault| faults.add(at, "payload", fault)).ok(),
        None => Some(RawJson::empty_object()),
    };
    let queue = members.checked("queue", faults, QueueName::new);
    let priority = members.checked("priority", faults, Priority::parse);
    let start = start_of(members, at, faults);
    let timeout = members.whole("timeout_ms", "milliseconds", 1..=ATTEMPT_TIMEOUT_MS_MAX, faults);
    let timeout = timeout.and_then(|ms| AttemptTimeout::new(Duration::from_millis(ms)).ok());
    let deadline = members.time("deadline", faults);
    let max_wait = members.whole("max_wait_ms", "milliseconds", 1..=SCHEDULE_AHEAD_MS_MAX, faults);
    let retry = members.value("retry").and_then(|value| retry_of(value, at, faults));
    let unique_key = members.checked("unique_key", faults, UniqueKey::new);
    let tags = members.value("tags").and_then(|value| tags_of(value, at, faults));
    Some(NewJob {
        queue: queue.unwrap_or_else(QueueName::default_queue),
        priority: priority.unwrap_or_default(),
        start,
        timeout: timeout.unwrap_or_default(),
        deadline,
        max_wait: max_wait.map(Duration::from_millis),
        retry: retry.unwrap_or_default(),
        unique_key,
        tags: tags.unwrap_or_default(),
        ..NewJob::new(kind?, payload?)
    })
}

fn start_of(members: &Members<'_, 12>, at: &str, faults: &mut Faults) -> Start {
    let run_at = members.time("run_at", faults);
    let delay = members.whole("delay_ms", "milliseconds", 0..=SCHEDULE_AHEAD_MS_MAX, faults);
    match (run_at, delay) {
        (Some(_), Some(1..)) => {
            faults.add(at, "delay_ms", "is not allowed together with run_at: give one of them");
            Start::Now
        }
        (Some(time), _) => Start::At(time),
        (None, Some(ms @ 1..)) => Start::After(Duration::from_millis(ms)),
        (None, _) => Start::Now,
    }
}

fn retry_of(value: &RawValue, at: &str, faults: &mut Faults) -> Option<RetryPolicy> {
    let at = format!("{at}/retry");
    let members = Members::of_value(value, &at, &RETRY_MEMBERS, faults)?;
    let mut policy = RetryPolicy::DEFAULT;
    let attempts_max = u64::from(limits::ATTEMPTS_MAX);
    if let Some(attempts) = members.whole("max_attempts", "attempts", 1..=attempts_max, faults) {
        policy = policy.with_max_attempts(attempts as u32).ok()?;
    }
    if let Some(backoff) = members.checked("backoff", faults, Backoff::parse) {
        policy = policy.with_backoff(backoff);
    }
    if let Some(ms) = members.whole("initial_ms", "milliseconds", 0..=BACKOFF_MS_MAX, faults) {
        policy = policy.with_initial(Duration::from_millis(ms)).ok()?;
    }
    if let Some(ms) = members.whole("max_ms", "milliseconds", 0..=BACKOFF_MS_MAX, faults) {
        policy = policy.with_max(Duration::from_millis(ms)).ok()?;
    }
    if let Some(jitter) = members.number("jitter", faults) {
        match policy.with_jitter(jitter) {
            Ok(spread) => policy = spread,
            Err(fault) => faults.add(&at, "jitter", fault),
        }
    }
    Some(policy)
}

fn tags_of(value: &RawValue, at: &str, faults: &mut Faults) -> Option<Tags> {
    let at = format!("{at}/tags");
    let mut tags = BTreeMap::new();
    for (key, value) in entries(value, &at, limits::TAGS_MAX, faults)? {
        match text_of(value) {
            Ok(_) if tags.contains_key(&*key) => faults.add(&at, &key, "is given twice"),
            Ok(text) => {
                tags.insert(key.into_owned(), text.into_owned());
            }
            Err(fault) => faults.add(&at, &key, fault),
        }
    }
    Tags::new(tags).map_err(|fault| faults.add_here(&at, fault)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pointers(body: &str) -> Vec<String> {
        match read_job(body) {
            Err(Misread::Invalid(faults)) => faults.into_iter().map(|fault| fault.pointer).collect(),
            other => panic!("{body}: {other:?}"),
        }
    }

    #[test]
    fn what_a_client_writes_is_what_the_server_reads() {
        let time = Timestamp::from_unix_ms(1_795_219_200_000);
        let request = SubmitRequest {
            kind: "http".into(),
            payload: Some(RawJson::parse(r#"{"n":1}"#).unwrap()),
            queue: Some("mail".into()),
            priority: Some("low".into()),
            run_at: Some(time),
            delay_ms: Some(0),
            timeout_ms: Some(5_000),
            deadline: Some(time),
            max_wait_ms: Some(7),
            retry: Some(RetryRequest {
                max_attempts: Some(3),
                backoff: Some("fixed".into()),
                initial_ms: Some(10),
                max_ms: Some(20),
                jitter: Some(0.5),
            }),
            unique_key: Some("order 7".into()),
            tags: BTreeMap::from([("team".into(), "a".into())]),
        };
        let body = serde_json::to_string(&request).unwrap();
        for name in JOB_MEMBERS.iter().chain(&RETRY_MEMBERS) {
            assert!(body.contains(&format!("\"{name}\":")), "{name}");
        }
        let job = read_job(&body).unwrap();
        assert_eq!((job.queue.as_str(), job.kind.as_str(), job.priority), ("mail", "http", Priority::Low));
        assert_eq!((job.start, job.deadline), (Start::At(time), Some(time)));
        assert_eq!(job.timeout.get(), Duration::from_secs(5));
        assert_eq!(job.max_wait, Some(Duration::from_millis(7)));
        assert_eq!((job.retry.max_attempts(), job.retry.backoff()), (3, Backoff::Fixed));
        assert_eq!((job.retry.initial(), job.retry.jitter()), (Duration::from_millis(10), 0.5));
        assert!(job.tags.has("team", "a"));
        assert_eq!(job.unique_key.map(|key| key.to_string()), Some("order 7".into()));
    }

    #[test]
    fn only_the_kind_is_required_and_null_is_a_default() {
        let plain = read_job(r#"{"kind":"echo"}"#).unwrap();
        assert_eq!(plain.payload.as_str(), "{}");
        let nulls = r#"{"kind":"echo","queue":null,"priority":null,"run_at":null,"delay_ms":null,"tags":null,
            "timeout_ms":null,"deadline":null,"max_wait_ms":null,"retry":null,"unique_key":null}"#;
        assert_eq!(read_job(nulls).unwrap(), plain);
        assert_eq!(read_job(r#"{"kind":"echo","payload":null}"#).unwrap().payload.as_str(), "null");
        assert_eq!(pointers(r#"{"kind":null}"#), ["#/kind"]);
    }

    #[test]
    fn whole_numbers_may_be_written_with_a_fraction_or_an_exponent() {
        for text in ["7000", "7000.0", "7e3", "70000e-1"] {
            let job = read_job(&format!(r#"{{"kind":"echo","timeout_ms":{text}}}"#)).unwrap();
            assert_eq!(job.timeout.get(), Duration::from_secs(7), "{text}");
        }
        for text in ["7.5", "-7.0", "1e300", "-1", "\"7\"", "7e-1"] {
            assert_eq!(
                pointers(&format!(r#"{{"kind":"echo","timeout_ms":{text}}}"#)),
                ["#/timeout_ms"],
                "{text}"
            );
        }
    }

    #[test]
    fn every_fault_is_found_with_its_place() {
        let body = r#"{"kind":7,"payload":{},"queue":"A","priority":"urgent","run_at":"soon","delay_ms":1e999,
            "timeout_ms":0,"deadline":{},"max_wait_ms":-1,"retry":{"max_attempts":0,"jitter":2,"tries":1},
            "unique_key":"a\u0000b","tags":{"a/b":1},"colour":"red","queue":"b"}"#;
        let mut found = pointers(body);
        found.sort();
        let mut expected = vec![
            "#/kind",
            "#/queue",
            "#/priority",
            "#/run_at",
            "#/delay_ms",
            "#/timeout_ms",
            "#/deadline",
            "#/max_wait_ms",
            "#/retry/max_attempts",
            "#/retry/jitter",
            "#/retry/tries",
            "#/unique_key",
            "#/tags/a~1b",
            "#/colour",
            "#/queue",
        ];
        expected.sort_unstable();
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_not_json_is_told_from_what_is_not_a_job() {
        for body in ["", "{", "[1,", r#"{"kind":"echo"} x"#, r#"{"kind":}"#, "nul", "{\"kind\":\"\u{1}\"}"] {
            assert!(matches!(read_job(body), Err(Misread::NotJson { .. })), "{body}");
        }
        for body in ["[]", "null", "7", r#""x""#, r#"{"\ud800":1,"kind":"echo"}"#] {
            assert_eq!(pointers(body), ["#"], "{body}");
        }
    }

    #[test]
    fn hostile_values_are_faults_of_their_member() {
        let deep = format!(r#"{{"kind":"echo","payload":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(pointers(&deep), ["#/payload"]);
        assert_eq!(pointers(r#"{"kind":"\ud800"}"#), ["#/kind"]);
        assert_eq!(
            pointers(r#"{"kind":"echo","timeout_ms":123456789012345678901234567890}"#),
            ["#/timeout_ms"]
        );
        assert_eq!(
            pointers(r#"{"kind":"echo","run_at":"2027-01-01T00:00:00Z","delay_ms":5}"#),
            ["#/delay_ms"]
        );
        assert_eq!(pointers(r#"{"kind":"echo","tags":[]}"#), ["#/tags"]);
        let many = (0..100_000).map(|n| format!("\"f{n}\":0")).collect::<Vec<_>>().join(",");
        assert_eq!(pointers(&format!("{{{many}}}")).len(), crate::FAULTS_MAX);
        let payload = r#"{"kind":"echo","payload":{"n":1e999999,"s":"\u0000\ud800"}}"#;
        assert_eq!(read_job(payload).unwrap().payload.as_str(), r#"{"n":1e999999,"s":"\u0000\ud800"}"#);
    }
}
