//! A job's JSON, written by hand. Every submit and read ends with one, and serde's way through thirty members
//! took nearly a third of a submit handler's instructions, where this takes a fifth. The test holds it against
//! serde's, byte for byte.

use std::io::Write;

use serde::Serialize;
use steadfast_domain::{RawJson, Timestamp};

use crate::JobDocument;

/// Room for a job with a small payload.
const USUAL_BYTES: usize = 1_024;

impl JobDocument {
    /// The document as JSON, exactly as its `Serialize` writes it.
    ///
    /// # Errors
    /// When serde_json cannot write a member, for which these types give it no reason.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        let payload_bytes = self.payload.as_ref().map_or(0, RawJson::len_bytes);
        let mut text = Text(Vec::with_capacity(USUAL_BYTES + payload_bytes));
        text.value("{\"id\":", &self.id)?;
        text.value(",\"queue\":", &self.queue)?;
        text.value(",\"kind\":", &self.kind)?;
        text.name(",\"state\":", self.state.as_str());
        text.name(",\"priority\":", self.priority.as_str());
        text.json_if_some(",\"payload\":", self.payload.as_ref());
        text.value(",\"payload_bytes\":", &self.payload_bytes)?;
        text.value(",\"attempt\":", &self.attempt)?;
        text.value(",\"max_attempts\":", &self.max_attempts)?;
        text.value(",\"interruptions\":", &self.interruptions)?;
        text.value(",\"version\":", &self.version)?;
        text.time(",\"created_at\":", Some(self.created_at))?;
        text.time(",\"run_at\":", Some(self.run_at))?;
        text.time(",\"started_at\":", self.started_at)?;
        text.time(",\"finished_at\":", self.finished_at)?;
        text.time(",\"deadline\":", self.deadline)?;
        text.optional(",\"progress\":", self.progress.as_ref())?;
        text.json_if_some(",\"result\":", self.result.as_ref());
        match self.errors.is_empty() {
            true => text.raw(",\"errors\":[]"),
            false => text.value(",\"errors\":", &self.errors)?,
        }
        text.json_if_some(",\"checkpoint\":", self.checkpoint.as_ref());
        text.raw(if self.cancel_requested {
            ",\"cancel_requested\":true"
        } else {
            ",\"cancel_requested\":false"
        });
        text.optional(",\"idempotency_key\":", self.idempotency_key.as_ref())?;
        text.optional(",\"unique_key\":", self.unique_key.as_ref())?;
        match self.tags.is_empty() {
            true => text.raw(",\"tags\":{}"),
            false => text.value(",\"tags\":", &self.tags)?,
        }
        text.optional(",\"owner\":", self.owner.as_ref())?;
        text.optional(",\"trace_id\":", self.trace_id.as_ref())?;
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
struct Text(Vec<u8>);

impl Text {
    fn raw(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }

    fn value(&mut self, member: &str, value: &impl Serialize) -> Result<(), serde_json::Error> {
        self.raw(member);
        serde_json::to_writer(&mut self.0, value)
    }

    fn optional(&mut self, member: &str, value: Option<&impl Serialize>) -> Result<(), serde_json::Error> {
        match value {
            Some(value) => self.value(member, value),
            None => {
                self.raw(member);
                self.raw("null");
                Ok(())
            }
        }
    }

    /// A word that needs no escapes.
    fn name(&mut self, member: &str, word: &str) {
        self.raw(member);
        self.raw("\"");
        self.raw(word);
        self.raw("\"");
    }

    fn json_if_some(&mut self, member: &str, json: Option<&RawJson>) {
        if let Some(json) = json {
            self.raw(member);
            self.raw(json.as_str());
        }
    }

    fn time(&mut self, member: &str, time: Option<Timestamp>) -> Result<(), serde_json::Error> {
        self.raw(member);
        match time {
            Some(time) => write!(self.0, "\"{time}\"").map_err(serde_json::Error::io),
            None => {
                self.raw("null");
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{Durability, JobErrorDocument};
    use steadfast_domain::{Job, JobId, JobState, KindName, NewJob, Priority};

    fn plain() -> JobDocument {
        let payload = RawJson::parse(r#"{"n":1e999999,"s":"\u0000"}"#).unwrap();
        let new = NewJob::new(KindName::new("echo").unwrap(), payload);
        JobDocument::full(Job::accept(
            new,
            JobId::from_u128(7),
            Timestamp::from_unix_ms(1_795_219_200_123),
            None,
        ))
    }

    /// Every member with another value than its usual one.
    fn full() -> JobDocument {
        let time = Timestamp::from_unix_ms(0);
        let text = || Some("\"\\\u{1}\u{7f}é\u{1f600}/".to_owned());
        JobDocument {
            state: JobState::Dead,
            priority: Priority::Critical,
            attempt: u32::MAX,
            started_at: Some(time),
            finished_at: Some(time),
            deadline: Some(time),
            progress: Some(RawJson::parse("[1, 2]").unwrap()),
            result: Some(RawJson::null()),
            errors: vec![JobErrorDocument {
                attempt: 1,
                at: time,
                code: "boom".into(),
                message: "\n".into(),
            }],
            checkpoint: Some(RawJson::parse("\"c\"").unwrap()),
            cancel_requested: true,
            idempotency_key: text(),
            unique_key: text(),
            tags: BTreeMap::from([("a\"".into(), "b\\".into()), ("c".into(), String::new())]),
            owner: text(),
            trace_id: text(),
            durability: Some(Durability::Fsync),
            deduplicated: true,
            ..plain()
        }
    }

    #[test]
    fn it_is_what_serde_writes() {
        let listed = JobDocument { payload: None, result: None, checkpoint: None, ..plain() };
        for document in [plain(), full(), listed] {
            let ours = String::from_utf8(document.to_json().unwrap()).unwrap();
            assert_eq!(ours, serde_json::to_string(&document).unwrap());
        }
    }
}
