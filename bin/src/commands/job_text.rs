use std::fmt;

use steadfast_domain::JobState;
use steadfast_wire::JobDocument;

use super::human;

/// Characters of a payload, a result and the like that are shown.
const JSON_CHARS_MAX: usize = 1_000;

/// Everything about a job, one member a line, what it does not have left out.
pub(crate) struct JobText<'a>(pub(crate) &'a JobDocument);

impl fmt::Display for JobText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let job = self.0;
        let mut line = |name: &str, value: &str| writeln!(f, "{name:<16} {value}");
        line("id", &job.id.to_string())?;
        line("state", &state(job))?;
        line("kind", &human::clean(&job.kind))?;
        line("queue", &human::clean(&job.queue))?;
        line("priority", job.priority.as_str())?;
        line("attempts", &format!("{} of {}", job.attempt, job.max_attempts))?;
        if job.interruptions > 0 {
            line("interruptions", &job.interruptions.to_string())?;
        }
        line("created", &job.created_at.to_string())?;
        if matches!(job.state, JobState::Scheduled | JobState::Retryable) {
            line("due", &job.run_at.to_string())?;
        }
        if let Some(started) = job.started_at {
            let waited = human::duration(started.since(job.created_at));
            line("started", &format!("{started}, {waited} after it was created"))?;
        }
        if let Some(finished) = job.finished_at {
            let ran = job.started_at.map(|started| human::duration(finished.since(started)));
            line(
                "finished",
                &ran.map_or(finished.to_string(), |ran| format!("{finished}, {ran} after it started")),
            )?;
        }
        if let Some(deadline) = job.deadline {
            line("deadline", &deadline.to_string())?;
        }
        for (name, text) in [
            ("idempotency key", &job.idempotency_key),
            ("unique key", &job.unique_key),
            ("owner", &job.owner),
            ("trace", &job.trace_id),
        ] {
            if let Some(text) = text {
                line(name, &human::clean(text))?;
            }
        }
        for (key, value) in &job.tags {
            line("tag", &human::clean(&format!("{key}={value}")))?;
        }
        for (name, json) in [
            ("payload", &job.payload),
            ("progress", &job.progress),
            ("checkpoint", &job.checkpoint),
            ("result", &job.result),
        ] {
            if let Some(json) = json.as_ref().filter(|json| json.as_str() != "null") {
                line(name, &human::cut(json.as_str(), JSON_CHARS_MAX))?;
            }
        }
        for error in &job.errors {
            let text =
                format!("attempt {} at {}: {}: {}", error.attempt, error.at, error.code, error.message);
            line("error", &human::clean(&text))?;
        }
        Ok(())
    }
}

/// The state in words: a job that is to stop still runs.
pub(crate) fn state(job: &JobDocument) -> String {
    let asked = job.cancel_requested && !job.state.is_terminal();
    format!("{}{}", job.state.as_str(), if asked { ", asked to stop" } else { "" })
}
