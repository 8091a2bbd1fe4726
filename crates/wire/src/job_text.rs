//! A job's JSON, written by hand from the job itself. Every submit and read ends with one, and serde's way
//! through thirty members took nearly a third of a submit handler's instructions. The test holds it against what
//! serde writes of the job's document, byte for byte.

use std::fmt::{Display, Write};

use serde::Serialize;
use steadfast_domain::{Job, RawJson, Timestamp};

use crate::{Durability, JobErrorDocument};

/// Room for a job with a small payload.
const USUAL_BYTES: usize = 1_024;

/// A whole job as answers show it.
#[derive(Debug, Clone, Copy)]
pub struct JobText<'a> {
    /// The job.
    pub job: &'a Job,
    /// What the job survives; only in the answer to a submit.
    pub durability: Option<Durability>,
    /// Whether a live job with the same `unique_key` is answered instead of a new one.
    pub deduplicated: bool,
}

impl<'a> From<&'a Job> for JobText<'a> {
    /// The job as reads answer it.
    fn from(job: &'a Job) -> Self {
        Self { job, durability: None, deduplicated: false }
    }
}

impl JobText<'_> {
    /// The JSON, exactly as serde writes the job's [`JobDocument`](crate::JobDocument).
    ///
    /// # Errors
    /// When serde_json cannot write a member, for which these types give it no reason.
    pub fn to_json(self) -> Result<String, serde_json::Error> {
        let job = self.job;
        let payload_bytes = job.payload.as_ref().map_or(0, RawJson::len_bytes);
        let mut text = Text(String::with_capacity(USUAL_BYTES + payload_bytes));
        text.quoted("{\"id\":", job.id);
        text.name(",\"queue\":", job.queue.as_str());
        text.name(",\"kind\":", job.kind.as_str());
        text.name(",\"state\":", job.state.as_str());
        text.name(",\"priority\":", job.priority.as_str());
        text.json(",\"payload\":", job.payload.as_ref());
        text.shown(",\"payload_bytes\":", job.payload_bytes);
        text.shown(",\"attempt\":", job.attempt);
        text.shown(",\"max_attempts\":", job.retry.max_attempts());
        text.shown(",\"interruptions\":", job.interruptions);
        text.shown(",\"version\":", job.version.0);
        text.time(",\"created_at\":", Some(job.created_at));
        text.time(",\"run_at\":", Some(job.run_at));
        text.time(",\"started_at\":", job.started_at);
        text.time(",\"finished_at\":", job.finished_at);
        text.time(",\"deadline\":", job.deadline);
        text.json(",\"progress\":", job.progress.as_ref());
        text.json(",\"result\":", job.result.as_ref());
        match job.errors.is_empty() {
            true => text.raw(",\"errors\":[]"),
            false => {
                let errors: Vec<_> = job.errors.iter().cloned().map(JobErrorDocument::from).collect();
                text.value(",\"errors\":", &errors)?;
            }
        }
        text.json(",\"checkpoint\":", job.checkpoint.as_ref());
        text.shown(",\"cancel_requested\":", job.cancel_requested);
        text.optional(",\"idempotency_key\":", job.idempotency_key.as_ref().map(|key| key.as_str()))?;
        text.optional(",\"unique_key\":", job.unique_key.as_ref().map(|key| key.as_str()))?;
        match job.tags.as_map().is_empty() {
            true => text.raw(",\"tags\":{}"),
            false => text.value(",\"tags\":", job.tags.as_map())?,
        }
        text.optional(",\"owner\":", job.owner.as_deref())?;
        text.optional(",\"trace_id\":", job.trace.as_ref().map(|trace| trace.trace_id()))?;
        if let Some(durability) = &self.durability {
            text.value(",\"durability\":", durability)?;
        }
        if self.deduplicated {
            text.raw(",\"deduplicated\":true");
        }
        text.raw("}");
        Ok(text.0)
    }
}

/// JSON on its way. Members come with the comma before and the colon behind their names.
struct Text(String);

impl Text {
    fn raw(&mut self, text: &str) {
        self.0.push_str(text);
    }

    /// What is written in JSON as it is shown.
    fn shown(&mut self, member: &str, value: impl Display) {
        self.raw(member);
        // Writing to a string does not fail.
        let _ = write!(self.0, "{value}");
    }

    /// What is shown without characters that need escapes.
    fn quoted(&mut self, member: &str, value: impl Display) {
        self.raw(member);
        let _ = write!(self.0, "\"{value}\"");
    }

    /// A word that needs no escapes.
    fn name(&mut self, member: &str, word: &str) {
        self.raw(member);
        self.raw("\"");
        self.raw(word);
        self.raw("\"");
    }

    fn time(&mut self, member: &str, time: Option<Timestamp>) {
        match time {
            Some(time) => self.quoted(member, time),
            None => self.null(member),
        }
    }

    fn json(&mut self, member: &str, json: Option<&RawJson>) {
        match json {
            Some(json) => {
                self.raw(member);
                self.raw(json.as_str());
            }
            None => self.null(member),
        }
    }

    fn value(&mut self, member: &str, value: &impl Serialize) -> Result<(), serde_json::Error> {
        self.raw(member);
        self.raw(&serde_json::to_string(value)?);
        Ok(())
    }

    fn optional(&mut self, member: &str, text: Option<&str>) -> Result<(), serde_json::Error> {
        match text {
            Some(text) => self.value(member, &text),
            None => {
                self.null(member);
                Ok(())
            }
        }
    }

    fn null(&mut self, member: &str) {
        self.raw(member);
        self.raw("null");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::JobDocument;
    use steadfast_domain::{
        IdempotencyToken, JobError, JobId, JobState, KindName, NewJob, Priority, Tags, TraceParent, UniqueKey,
    };

    fn plain() -> Job {
        let payload = RawJson::parse(r#"{"n":1e999999,"s":"\u0000"}"#).unwrap();
        let new = NewJob::new(KindName::new("echo").unwrap(), payload);
        Job::accept(new, JobId::from_u128(7), Timestamp::from_unix_ms(1_795_219_200_123), None)
    }

    /// Every member with another value than its usual one.
    fn full() -> Job {
        let time = Timestamp::from_unix_ms(0);
        let odd = "\"\\é\u{1f600}/";
        Job {
            state: JobState::Dead,
            priority: Priority::Critical,
            attempt: u32::MAX,
            interruptions: 3,
            started_at: Some(time),
            finished_at: Some(time),
            deadline: Some(time),
            progress: Some(RawJson::parse("[1, 2]").unwrap()),
            result: Some(RawJson::null()),
            errors: vec![JobError::new(1, time, "boom", "\n")],
            checkpoint: Some(RawJson::parse("\"c\"").unwrap()),
            cancel_requested: true,
            idempotency_key: Some(IdempotencyToken::new("\"\\/").unwrap()),
            unique_key: Some(UniqueKey::new(odd).unwrap()),
            tags: Tags::new([("a\"".into(), "b\\".into()), ("c".into(), String::new())].into()).unwrap(),
            owner: Some(odd.to_owned()),
            trace: Some(TraceParent::new("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").unwrap()),
            ..plain()
        }
    }

    #[test]
    fn it_is_what_serde_writes() {
        for job in [plain(), full()] {
            let document = JobDocument::full(job.clone());
            assert_eq!(JobText::from(&job).to_json().unwrap(), serde_json::to_string(&document).unwrap());

            let (durability, deduplicated) = (Some(Durability::Fsync), true);
            let submitted = JobDocument { durability, deduplicated, ..document };
            let text = JobText { job: &job, durability, deduplicated }.to_json().unwrap();
            assert_eq!(text, serde_json::to_string(&submitted).unwrap());
        }
    }
}
