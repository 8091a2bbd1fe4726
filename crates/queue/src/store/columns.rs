//! How the durable stores write parts of a job into one column each. Files and databases hold these: what was
//! written once must always be read.

use std::collections::BTreeMap;
use std::time::Duration;

use steadfast_domain::{
    Backoff, Change, Invalid, JobError, JobId, JobState, RetryPolicy, Tags, Timestamp, Version,
};

/// Bytes of one change in a history: the state, then the time. Its version follows from its place, since
/// the last one's is the job's.
const CHANGE_BYTES: usize = 9;

/// A job's history as one column.
pub fn write_history(history: &[Change]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(history.len() * CHANGE_BYTES);
    for change in history {
        bytes.push(change.state as u8);
        bytes.extend(change.at.unix_ms().to_be_bytes());
    }
    bytes
}

/// Reads what [`write_history`] wrote of a job whose version is `newest`.
pub fn read_history(id: JobId, newest: Version, bytes: &[u8]) -> Result<Vec<Change>, Invalid> {
    let (changes, rest) = bytes.as_chunks::<CHANGE_BYTES>();
    let first = (newest.0 + 1).checked_sub(changes.len() as u64).filter(|_| rest.is_empty());
    let first = first.ok_or_else(|| Invalid::new("not a history"))?;
    let change = |(place, [state, at @ ..]): (u64, &[u8; CHANGE_BYTES])| {
        let state = JobState::ALL.get(usize::from(*state));
        Ok(Change {
            id,
            version: Version(first + place),
            state: *state.ok_or_else(|| Invalid::new("a history of unknown states"))?,
            at: Timestamp::from_unix_ms(i64::from_be_bytes(*at)),
        })
    };
    (0..).zip(changes).map(change).collect()
}

/// A job's errors as one column; none when there are none.
pub fn write_errors(errors: &[JobError]) -> Result<Option<String>, Invalid> {
    let rows: Vec<_> = errors.iter().map(|e| (e.attempt, e.at.unix_ms(), &e.code, &e.message)).collect();
    write_json((!rows.is_empty()).then_some(&rows))
}

/// Reads what [`write_errors`] wrote.
pub fn read_errors(text: &str) -> Result<Vec<JobError>, Invalid> {
    let rows: Vec<(u32, i64, String, String)> = read_json(text)?;
    let error =
        |(attempt, at, code, message)| JobError { attempt, at: Timestamp::from_unix_ms(at), code, message };
    Ok(rows.into_iter().map(error).collect())
}

/// A retry policy as one column; none for the default.
pub fn write_retry(retry: &RetryPolicy) -> Result<Option<String>, Invalid> {
    let millis = |d: Duration| d.as_millis() as u64;
    let row = (
        retry.max_attempts(),
        retry.backoff().as_str(),
        millis(retry.initial()),
        millis(retry.max()),
        retry.jitter(),
    );
    write_json((*retry != RetryPolicy::DEFAULT).then_some(&row))
}

/// Reads what [`write_retry`] wrote.
pub fn read_retry(text: &str) -> Result<RetryPolicy, Invalid> {
    let (max_attempts, backoff, initial, max, jitter): (u32, String, u64, u64, f64) = read_json(text)?;
    RetryPolicy::DEFAULT
        .with_max_attempts(max_attempts)?
        .with_backoff(Backoff::parse(&backoff)?)
        .with_initial(Duration::from_millis(initial))?
        .with_max(Duration::from_millis(max))?
        .with_jitter(jitter)
}

/// Tags as one column; none when there are none.
pub fn write_tags(tags: &Tags) -> Result<Option<String>, Invalid> {
    write_json((!tags.as_map().is_empty()).then(|| tags.as_map()))
}

/// Reads what [`write_tags`] wrote.
pub fn read_tags(text: &str) -> Result<Tags, Invalid> {
    Tags::new(read_json::<BTreeMap<String, String>>(text)?)
}

fn write_json<T: serde::Serialize>(value: Option<&T>) -> Result<Option<String>, Invalid> {
    value.map(serde_json::to_string).transpose().map_err(|e| Invalid::new(e.to_string()))
}

fn read_json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, Invalid> {
    serde_json::from_str(text).map_err(|e| Invalid::new(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_policy_is_read_back_to_the_last_bit() {
        let policy = RetryPolicy::DEFAULT.with_max_attempts(7).unwrap();
        for n in 1..1_000_u32 {
            let written = policy.with_jitter(f64::from(n).recip().sqrt()).unwrap();
            let text = write_retry(&written).unwrap().unwrap();
            assert_eq!(read_retry(&text).unwrap(), written, "{text}");
        }
    }

    /// These bytes stand in files.
    #[test]
    fn columns_have_the_form_they_always_had() {
        let retry = RetryPolicy::DEFAULT.with_max_attempts(7).unwrap();
        assert_eq!(write_retry(&RetryPolicy::DEFAULT).unwrap(), None);
        assert_eq!(write_retry(&retry).unwrap().unwrap(), r#"[7,"exponential",1000,300000,0.2]"#);
        let tags =
            Tags::new([("b", "2"), ("a", "1")].map(|(k, v)| (k.to_owned(), v.to_owned())).into()).unwrap();
        assert_eq!(write_tags(&Tags::default()).unwrap(), None);
        assert_eq!(write_tags(&tags).unwrap().unwrap(), r#"{"a":"1","b":"2"}"#);
        assert_eq!(read_tags(r#"{"a":"1","b":"2"}"#).unwrap(), tags);
        let at = Timestamp::from_unix_ms(258);
        let error = JobError { attempt: 3, at, code: "boom".to_owned(), message: "no".to_owned() };
        assert_eq!(write_errors(&[]).unwrap(), None);
        assert_eq!(write_errors(std::slice::from_ref(&error)).unwrap().unwrap(), r#"[[3,258,"boom","no"]]"#);
        assert_eq!(read_errors(r#"[[3,258,"boom","no"]]"#).unwrap(), [error]);
    }

    #[test]
    fn a_history_ends_with_the_version_of_its_job() {
        let (id, at) = (JobId::from_u128(1), Timestamp::from_unix_ms(258));
        let change = |version, state| Change { id, version: Version(version), state, at };
        let history = [change(4, JobState::ALL[1]), change(5, JobState::ALL[0])];
        let bytes = write_history(&history);
        assert_eq!(bytes, [1, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(read_history(id, Version(5), &bytes).unwrap(), history);
        for damaged in [&bytes[1..], &[99; CHANGE_BYTES], &bytes.repeat(4)] {
            assert!(read_history(id, Version(5), damaged).is_err(), "{damaged:?}");
        }
    }
}
