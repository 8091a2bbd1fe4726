use steadfast_domain::{Job, RawJson, limits};

use crate::handler::{Failure, Finish, StopReason};
use crate::store::{End, Failed};

/// How a handler came to its end.
#[derive(Debug)]
pub(crate) enum Ended {
    /// By itself.
    Returned(Result<Finish, Failure>),
    /// By a panic.
    Panicked,
    /// It did not return in time after it was told to stop.
    CutOff,
}

/// What an attempt's end means for its job.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// What the store is told.
    pub(crate) end: End,
    /// The `outcome` label of the attempt.
    pub(crate) outcome: &'static str,
    /// A checkpoint that `end` cannot carry: to be stored before it is settled.
    pub(crate) checkpoint: Option<RawJson>,
}

impl Verdict {
    /// The job goes back as it came, claimable at once.
    pub(crate) fn hand_back(outcome: &'static str) -> Self {
        Self::yielded(outcome, None)
    }

    /// The job goes back with what the next attempt is to find.
    pub(crate) fn yielded(outcome: &'static str, checkpoint: Option<RawJson>) -> Self {
        let end = End::HandBack { checkpoint, after: std::time::Duration::ZERO };
        Self { end, outcome, checkpoint: None }
    }

    /// The job is done.
    pub(crate) fn completed(result: Option<RawJson>) -> Self {
        Self { end: End::Completed { result }, outcome: "completed", checkpoint: None }
    }

    fn cancelled() -> Self {
        Self { end: End::Cancelled, outcome: "cancelled", checkpoint: None }
    }

    /// Another attempt by the job's policy; or the end of it, when the failure is permanent or was the last.
    pub(crate) fn failed(job: &Job, failure: Failure, outcome: &'static str, random: f64) -> Self {
        let error = Failed { code: failure.code, message: failure.message };
        let end = if failure.retryable && job.attempt < job.retry.max_attempts() {
            let after = job.retry.delay(job.attempt, random).max(failure.retry_after.unwrap_or_default());
            End::Retry { error, after }
        } else {
            End::Dead { error }
        };
        Self { end, outcome, checkpoint: None }
    }

    fn timed_out(job: &Job, checkpoint: Option<RawJson>, random: f64) -> Self {
        let ms = job.timeout.get().as_millis();
        let failure = Failure::retryable("timeout", format!("the attempt ran longer than {ms} ms"));
        Self { checkpoint, ..Self::failed(job, failure, "timeout", random) }
    }
}

/// What an attempt's end means, by why it was told to stop, if it was. `random` (0..1) spreads the delay of
/// a retry.
///
/// A success counts whenever it comes, except under a lost claim. Whatever else a stopped attempt returns,
/// the reason decides: a cancelled job is `cancelled`, an attempt that ran out of time has failed with code
/// `timeout`.
pub(crate) fn verdict(job: &Job, ended: Ended, stop: Option<StopReason>, random: f64) -> Verdict {
    match (ended, stop) {
        // Fenced, so harmless when the claim is another's; when it is not, the attempt is refunded at once.
        (_, Some(StopReason::LeaseLost)) => Verdict::hand_back("lease_lost"),
        (Ended::Returned(Ok(Finish::Completed(result))), _) => completed(job, result, random),
        (_, Some(StopReason::Cancelled)) => Verdict::cancelled(),
        (Ended::Returned(Ok(Finish::Yield { checkpoint })), stop) => yielded(job, checkpoint, stop, random),
        (_, Some(StopReason::Timeout)) => Verdict::timed_out(job, None, random),
        (Ended::Returned(Err(failure)), _) => Verdict::failed(job, failure, "failed", random),
        (Ended::Panicked, _) => {
            Verdict::failed(job, Failure::retryable("panic", "the handler panicked"), "panic", random)
        }
        (Ended::CutOff, _) => Verdict::hand_back("handed_back"),
    }
}

fn completed(job: &Job, result: Option<RawJson>, random: f64) -> Verdict {
    match result.map(|result| result.within("the result", limits::RESULT_BYTES_MAX)).transpose() {
        Ok(result) => Verdict::completed(result),
        Err(invalid) => {
            let failure = Failure::permanent("result_too_large", invalid.to_string());
            Verdict::failed(job, failure, "failed", random)
        }
    }
}

fn yielded(job: &Job, checkpoint: Option<RawJson>, stop: Option<StopReason>, random: f64) -> Verdict {
    match checkpoint.map(|value| value.within("the checkpoint", limits::CHECKPOINT_BYTES_MAX)).transpose() {
        Ok(checkpoint) if stop == Some(StopReason::Timeout) => Verdict::timed_out(job, checkpoint, random),
        Ok(checkpoint) => Verdict::yielded("yielded", checkpoint),
        Err(_) if stop == Some(StopReason::Timeout) => Verdict::timed_out(job, None, random),
        Err(invalid) => {
            let failure = Failure::retryable("checkpoint_too_large", invalid.to_string());
            Verdict::failed(job, failure, "failed", random)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use steadfast_domain::{JobId, KindName, NewJob, RetryPolicy, Timestamp};

    use super::*;

    fn job(attempt: u32) -> Job {
        let mut new = NewJob::new(KindName::new("echo").unwrap(), RawJson::empty_object());
        new.retry = RetryPolicy::DEFAULT.with_max_attempts(3).unwrap().with_jitter(0.0).unwrap();
        let mut job = Job::accept(new, JobId::from_u128(7), Timestamp::from_unix_ms(0), None);
        job.attempt = attempt;
        job
    }

    fn text(bytes: usize) -> RawJson {
        RawJson::parse(&format!("\"{}\"", "x".repeat(bytes - 2))).unwrap()
    }

    /// The verdict in a word: the state it leads to and the code of its error.
    fn told(attempt: u32, ended: Ended, stop: Option<StopReason>) -> String {
        match verdict(&job(attempt), ended, stop, 0.5).end {
            End::Completed { .. } => "completed".to_owned(),
            End::Retry { error, after } => format!("retry {} after {} s", error.code, after.as_secs()),
            End::Dead { error } => format!("dead {}", error.code),
            End::Cancelled => "cancelled".to_owned(),
            End::HandBack { checkpoint, after } => {
                assert_eq!(after, Duration::ZERO);
                if checkpoint.is_some() { "queued with checkpoint".to_owned() } else { "queued".to_owned() }
            }
        }
    }

    fn completes(bytes: usize) -> Ended {
        Ended::Returned(Ok(Finish::Completed(Some(text(bytes)))))
    }

    fn yields(bytes: usize) -> Ended {
        Ended::Returned(Ok(Finish::Yield { checkpoint: Some(text(bytes)) }))
    }

    fn fails(failure: Failure) -> Ended {
        Ended::Returned(Err(failure))
    }

    #[test]
    fn without_a_stop_the_handlers_word_counts() {
        assert_eq!(told(1, completes(limits::RESULT_BYTES_MAX), None), "completed");
        assert_eq!(told(1, completes(limits::RESULT_BYTES_MAX + 1), None), "dead result_too_large");
        assert_eq!(told(1, yields(10), None), "queued with checkpoint");
        let too_large = yields(limits::CHECKPOINT_BYTES_MAX + 1);
        assert_eq!(told(1, too_large, None), "retry checkpoint_too_large after 1 s");
        assert_eq!(told(2, fails(Failure::retryable("io", "")), None), "retry io after 2 s");
        let asked = Failure::retryable("io", "").after(Duration::from_secs(9));
        assert_eq!(told(2, fails(asked), None), "retry io after 9 s");
        assert_eq!(told(3, fails(Failure::retryable("io", "")), None), "dead io");
        assert_eq!(told(1, fails(Failure::permanent("bad", "")), None), "dead bad");
        assert_eq!(told(1, Ended::Panicked, None), "retry panic after 1 s");
        assert_eq!(told(3, Ended::Panicked, None), "dead panic");
        assert_eq!(told(1, Ended::CutOff, None), "queued");
    }

    #[test]
    fn a_cancelled_attempt_is_cancelled_unless_it_succeeds() {
        let stop = Some(StopReason::Cancelled);
        assert_eq!(told(1, completes(4), stop), "completed");
        for ended in [yields(4), fails(Failure::permanent("bad", "")), Ended::Panicked, Ended::CutOff] {
            assert_eq!(told(1, ended, stop), "cancelled");
        }
    }

    #[test]
    fn a_late_attempt_has_timed_out_unless_it_succeeds() {
        let stop = Some(StopReason::Timeout);
        assert_eq!(told(1, completes(4), stop), "completed");
        assert_eq!(told(1, Ended::CutOff, stop), "retry timeout after 1 s");
        assert_eq!(told(3, fails(Failure::retryable("interrupted", "")), stop), "dead timeout");
        assert_eq!(told(1, yields(limits::CHECKPOINT_BYTES_MAX + 1), stop), "retry timeout after 1 s");
        let yielded = verdict(&job(1), yields(8), stop, 0.5);
        assert_eq!(yielded.checkpoint, Some(text(8)));
        assert!(matches!(yielded.end, End::Retry { error, .. } if error.code == "timeout"));
    }

    #[test]
    fn a_shutdown_leaves_the_handler_its_word_and_a_lost_lease_nothing() {
        let stop = Some(StopReason::Shutdown);
        assert_eq!(told(1, completes(4), stop), "completed");
        assert_eq!(told(1, yields(4), stop), "queued with checkpoint");
        assert_eq!(told(1, fails(Failure::retryable("io", "")), stop), "retry io after 1 s");
        for ended in [completes(4), yields(4), Ended::Panicked, Ended::CutOff] {
            assert_eq!(told(1, ended, Some(StopReason::LeaseLost)), "queued");
        }
    }
}
