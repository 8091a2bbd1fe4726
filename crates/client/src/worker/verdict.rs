use steadfast_domain::{RawJson, limits};
use steadfast_wire::JobDocument;
use steadfast_wire::lease::{CompleteRequest, FailRequest, ReleaseRequest, Settle};

use super::attempt::{Failure, Finish, Stop};

/// How a handler came to its end.
#[derive(Debug)]
pub(super) enum Ended {
    /// By itself.
    Returned(Result<Finish, Failure>),
    /// By a panic.
    Panicked,
    /// It did not return in time after it was told to stop.
    CutOff,
}

/// What the server is told of an attempt.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) settle: Settle,
    /// A checkpoint that `settle` cannot carry: to be stored before it.
    pub(super) checkpoint: Option<RawJson>,
}

/// What an attempt's end means, by why it was told to stop, if it was; nothing when its lease is lost.
///
/// A success counts whenever it comes. Whatever else a stopped attempt returns, the reason decides: a cancelled job is
/// released, which ends it; an attempt that ran out of time has failed with code `timeout`.
pub(super) fn verdict(job: &JobDocument, ended: Ended, stop: Option<Stop>) -> Option<Verdict> {
    let (settle, checkpoint) = match (ended, stop) {
        (_, Some(Stop::LeaseLost)) => return None,
        (Ended::Returned(Ok(Finish::Completed(result))), _) => (completed(result), None),
        (_, Some(Stop::Cancelled)) => (release(None), None),
        (Ended::Returned(Ok(Finish::Yield { checkpoint })), stop) => yielded(job, checkpoint, stop),
        (_, Some(Stop::Timeout)) => (timed_out(job), None),
        (Ended::Returned(Err(failure)), _) => (failed(failure), None),
        (Ended::Panicked, _) => (failed(Failure::retryable("panic", "the worker panicked")), None),
        (Ended::CutOff, _) => (release(None), None),
    };
    Some(Verdict { settle, checkpoint })
}

fn completed(result: Option<RawJson>) -> Settle {
    match result.map(|result| result.within("the result", limits::RESULT_BYTES_MAX)).transpose() {
        Ok(result) => Settle::Complete(CompleteRequest { result }),
        Err(invalid) => failed(Failure::permanent("result_too_large", invalid.to_string())),
    }
}

fn yielded(job: &JobDocument, checkpoint: Option<RawJson>, stop: Option<Stop>) -> (Settle, Option<RawJson>) {
    let checkpoint =
        checkpoint.map(|value| value.within("the checkpoint", limits::CHECKPOINT_BYTES_MAX)).transpose();
    match (checkpoint, stop) {
        (Ok(checkpoint), Some(Stop::Timeout)) => (timed_out(job), checkpoint),
        (Err(_), Some(Stop::Timeout)) => (timed_out(job), None),
        (Ok(checkpoint), _) => (release(checkpoint), None),
        (Err(invalid), _) => (failed(Failure::retryable("checkpoint_too_large", invalid.to_string())), None),
    }
}

fn timed_out(job: &JobDocument) -> Settle {
    failed(Failure::retryable("timeout", format!("attempt {} ran out of its time", job.attempt)))
}

fn failed(Failure { code, message, retryable }: Failure) -> Settle {
    Settle::Fail(FailRequest { code, message, retryable })
}

fn release(checkpoint: Option<RawJson>) -> Settle {
    Settle::Release(ReleaseRequest { checkpoint })
}

#[cfg(test)]
mod tests {
    use steadfast_domain::{Job, JobId, KindName, NewJob, Timestamp};

    use super::*;

    fn text(bytes: usize) -> RawJson {
        RawJson::parse(&format!("\"{}\"", "x".repeat(bytes - 2))).unwrap()
    }

    /// The verdict in a few words.
    fn told(ended: Ended, stop: Option<Stop>) -> String {
        let new = NewJob::new(KindName::new("echo").unwrap(), RawJson::empty_object());
        let job = Job::accept(new, JobId::from_u128(7), Timestamp::from_unix_ms(0), None);
        let Some(Verdict { settle, checkpoint }) = verdict(&JobDocument::full(job), ended, stop) else {
            return "nothing".to_owned();
        };
        let stored = if checkpoint.is_some() { ", checkpoint before" } else { "" };
        match settle {
            Settle::Complete(_) => format!("complete{stored}"),
            Settle::Fail(fail) if fail.retryable => format!("fail {}{stored}", fail.code),
            Settle::Fail(fail) => format!("fail {} for good{stored}", fail.code),
            Settle::Release(release) if release.checkpoint.is_some() => "release with checkpoint".to_owned(),
            Settle::Release(_) => "release".to_owned(),
        }
    }

    fn completes(bytes: usize) -> Ended {
        Ended::Returned(Ok(Finish::Completed(Some(text(bytes)))))
    }

    fn yields(bytes: usize) -> Ended {
        Ended::Returned(Ok(Finish::Yield { checkpoint: Some(text(bytes)) }))
    }

    fn fails() -> Ended {
        Ended::Returned(Err(Failure::permanent("bad", "")))
    }

    #[test]
    fn without_a_stop_or_in_a_shutdown_the_handlers_word_counts() {
        for stop in [None, Some(Stop::Shutdown)] {
            assert_eq!(told(completes(limits::RESULT_BYTES_MAX), stop), "complete");
            assert_eq!(told(completes(limits::RESULT_BYTES_MAX + 1), stop), "fail result_too_large for good");
            assert_eq!(told(yields(limits::CHECKPOINT_BYTES_MAX), stop), "release with checkpoint");
            assert_eq!(told(yields(limits::CHECKPOINT_BYTES_MAX + 1), stop), "fail checkpoint_too_large");
            assert_eq!(told(fails(), stop), "fail bad for good");
            assert_eq!(told(Ended::Panicked, stop), "fail panic");
            assert_eq!(told(Ended::CutOff, stop), "release");
        }
    }

    #[test]
    fn a_cancelled_attempt_is_released_unless_it_succeeds() {
        let stop = Some(Stop::Cancelled);
        assert_eq!(told(completes(4), stop), "complete");
        for ended in [yields(4), fails(), Ended::Panicked, Ended::CutOff] {
            assert_eq!(told(ended, stop), "release");
        }
    }

    #[test]
    fn a_late_attempt_has_timed_out_unless_it_succeeds() {
        let stop = Some(Stop::Timeout);
        assert_eq!(told(completes(4), stop), "complete");
        assert_eq!(told(yields(4), stop), "fail timeout, checkpoint before");
        for ended in [yields(limits::CHECKPOINT_BYTES_MAX + 1), fails(), Ended::Panicked, Ended::CutOff] {
            assert_eq!(told(ended, stop), "fail timeout");
        }
    }

    #[test]
    fn under_a_lost_lease_nothing_is_said() {
        for ended in [completes(4), yields(4), fails(), Ended::Panicked, Ended::CutOff] {
            assert_eq!(told(ended, Some(Stop::LeaseLost)), "nothing");
        }
    }
}
