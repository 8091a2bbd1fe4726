//! What must hold for any bytes sent as the body of a submit.

use std::time::Duration;

use serde_json::Value;
use serde_json::value::RawValue;
use steadfast_domain::{Job, JobId, NewJob, RawJson, Timestamp, limits};
use steadfast_wire::{FAULTS_MAX, JobDocument, Misread, read_batch, read_job};

/// Bytes one fault may add to an answer: a pointer of at most four names, and a sentence.
const FAULT_BYTES_MAX: usize = 4_096;

/// Reads the bytes as a job and as a batch. Neither panics; what is refused is told why, with its place, in
/// bounded words; what is accepted keeps to the limits and is shown again as it was sent.
pub(crate) fn check(bytes: &[u8]) {
    let Ok(body) = std::str::from_utf8(bytes) else { return };
    let read = read_job(body);
    match &read {
        Ok(job) => {
            assert_within_limits(job);
            assert_as_sent(job, body);
            assert_shown_again(job);
        }
        Err(misread) => assert_explained(misread, body),
    }
    assert_same_in_a_batch(read, body);
    match read_batch(body) {
        Ok(jobs) => {
            assert!((1..=limits::BATCH_JOBS_MAX).contains(&jobs.len()));
            jobs.iter().for_each(assert_within_limits);
        }
        Err(misread) => assert_explained(&misread, body),
    }
}

fn assert_within_limits(job: &NewJob) {
    for name in [job.kind.as_str(), job.queue.as_str()] {
        assert!((1..=limits::NAME_BYTES_MAX).contains(&name.len()), "{name:?}");
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b)));
    }
    if let Some(key) = &job.unique_key {
        assert!((1..=limits::KEY_BYTES_MAX).contains(&key.as_str().len()));
    }
    let tags = job.tags.as_map();
    assert!(tags.len() <= limits::TAGS_MAX);
    for (key, value) in tags {
        assert!((1..=limits::TAG_KEY_BYTES_MAX).contains(&key.len()));
        assert!(value.len() <= limits::TAG_VALUE_BYTES_MAX);
        assert!(!key.chars().chain(value.chars()).any(char::is_control));
    }
    let ms = Duration::from_millis(1);
    assert!((ms..=limits::ATTEMPT_TIMEOUT_MAX).contains(&job.timeout.get()));
    assert!(job.max_wait.is_none_or(|wait| (ms..=limits::SCHEDULE_AHEAD_MAX).contains(&wait)));
    assert!((1..=limits::ATTEMPTS_MAX).contains(&job.retry.max_attempts()));
    assert!(job.retry.initial() <= limits::BACKOFF_MAX && job.retry.max() <= limits::BACKOFF_MAX);
    assert!((0.0..=1.0).contains(&job.retry.jitter()));
    // It is JSON, and not too deep, by the domain's own word.
    RawJson::parse(job.payload.as_str()).expect("a payload is what its constructor would take");
}

/// The payload is a piece of the body, byte for byte; where an ordinary reader of JSON can hold the body,
/// it reads the same.
fn assert_as_sent(job: &NewJob, body: &str) {
    let payload = job.payload.as_str();
    assert!(body.contains(payload) || payload == "{}", "{payload}");
    let Ok(value) = serde_json::from_str::<Value>(body) else { return };
    assert_eq!(value["kind"], job.kind.as_str());
    if let Some(sent) = value.get("payload") {
        assert_eq!(serde_json::from_str::<Value>(payload).ok().as_ref(), Some(sent));
    } else {
        assert_eq!(payload, "{}");
    }
    for (name, kept) in
        [("queue", Some(job.queue.as_str())), ("unique_key", job.unique_key.as_ref().map(|k| k.as_str()))]
    {
        if let Some(Value::String(sent)) = value.get(name) {
            assert_eq!(Some(sent.as_str()), kept);
        }
    }
    if let Some(Value::Object(sent)) = value.get("tags") {
        assert_eq!(sent.len(), job.tags.as_map().len());
        assert!(sent.iter().all(|(key, value)| value.as_str().is_some_and(|value| job.tags.has(key, value))));
    }
}

/// What the server shows of the accepted job is read back whole by its client, payload included.
fn assert_shown_again(job: &NewJob) {
    let now = Timestamp::from_unix_ms(1_795_219_200_000);
    let accepted = Job::accept(job.clone(), JobId::from_u128(7), now, None);
    let document = JobDocument::full(accepted);
    let text = serde_json::to_string(&document).expect("a job can be shown");
    let read: JobDocument = serde_json::from_str(&text).expect("a client reads what the server shows");
    assert_eq!(read, document);
    assert_eq!(read.payload.as_ref(), Some(&job.payload));
}

fn assert_explained(misread: &Misread, body: &str) {
    let is_json = serde_json::from_str::<&RawValue>(body.trim_matches([' ', '\t', '\r', '\n'])).is_ok();
    match misread {
        Misread::NotJson { line, .. } => {
            assert!(!is_json, "called no JSON");
            assert!(*line <= body.lines().count() + 1);
        }
        Misread::Invalid(faults) => {
            assert!(is_json);
            assert!((1..=FAULTS_MAX).contains(&faults.len()));
            for fault in faults {
                assert!(fault.pointer.starts_with('#') && fault.pointer.is_ascii(), "{fault}");
                assert!(!fault.detail.is_empty());
                assert!(fault.pointer.len() + fault.detail.len() <= FAULT_BYTES_MAX, "{fault}");
            }
        }
    }
}

/// A batch of this one job says the same, with its pointers inside the batch.
fn assert_same_in_a_batch(alone: Result<NewJob, Misread>, body: &str) {
    let inside = read_batch(&format!(r#"{{"jobs":[{body}]}}"#));
    match alone {
        Ok(job) => assert_eq!(inside, Ok(vec![job])),
        Err(Misread::NotJson { .. }) => {}
        Err(Misread::Invalid(faults)) => {
            let Err(Misread::Invalid(in_batch)) = inside else { panic!("accepted in a batch: {faults:?}") };
            let pointers: Vec<_> = faults.iter().map(|f| f.pointer.replacen('#', "#/jobs/0", 1)).collect();
            assert_eq!(in_batch.iter().map(|f| f.pointer.clone()).collect::<Vec<_>>(), pointers);
        }
    }
}
