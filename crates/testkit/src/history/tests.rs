//! Each way in which a job can have run wrongly is made once, and must be named.

use steadfast_domain::{Job, JobId, JobState, KindName, NewJob, RawJson, Timestamp};
use steadfast_wire::JobDocument;

use super::{Evidence, Expected, History, MARK_TAG, Mark, Told, Violation};
use crate::gate::{Delivery, Fate};

const FIRST: JobId = JobId::from_u128(1);

/// A completed `http` job with the mark, run once.
fn job(id: JobId, mark: Mark) -> JobDocument {
    let new = NewJob::new(KindName::new("http").unwrap(), RawJson::empty_object());
    let mut job = JobDocument::listed(Job::accept(new, id, Timestamp::from_unix_ms(0), None));
    job.tags.insert(MARK_TAG.to_owned(), mark.to_string());
    job.state = JobState::Completed;
    job.attempt = 1;
    job
}

fn delivery(job: JobId) -> Delivery {
    Delivery { job, attempt: 1, trace: None, overlaps: false, fate: Fate::Answered }
}

fn mark() -> Mark {
    History::new().begin(1)
}

fn check_runs(jobs: &[JobDocument], deliveries: &[Delivery], handed_back: &[JobId]) -> Vec<Violation> {
    let history = History::new();
    history.told(history.begin(1), Told::Accepted(vec![FIRST]));
    history.check(Evidence { jobs, deliveries: Some(deliveries), handed_back }, Expected::Ended)
}

#[test]
fn one_run_that_was_answered_is_no_violation() {
    assert_eq!(check_runs(&[job(FIRST, mark())], &[delivery(FIRST)], &[]), []);
    let violations = check_runs(&[], &[], &[]);
    assert!(matches!(violations[..], [Violation::Told(_)]), "what clients were told is held against it, too");
}

#[test]
fn a_run_beyond_the_stores_account_is_named() {
    let jobs = [job(FIRST, mark())];
    let twice = [delivery(FIRST), delivery(FIRST)];
    let violation = Violation::RanTooOften { job: FIRST, deliveries: 2, accounted: 1 };
    assert_eq!(check_runs(&jobs, &twice, &[]), [violation]);
    assert_eq!(check_runs(&jobs, &twice, &[FIRST]), [], "a hand-back explains it");
    let interrupted = [JobDocument { interruptions: 1, ..job(FIRST, mark()) }];
    assert_eq!(check_runs(&interrupted, &twice, &[]), [], "an interruption explains it");
}

#[test]
fn two_runs_at_once_are_named_however_often_it_may_run() {
    let jobs = [JobDocument { attempt: 2, ..job(FIRST, mark()) }];
    let deliveries = [delivery(FIRST), Delivery { overlaps: true, ..delivery(FIRST) }];
    assert_eq!(check_runs(&jobs, &deliveries, &[]), [Violation::RanTwiceAtOnce { job: FIRST }]);
}

#[test]
fn a_completion_without_a_run_is_named() {
    let jobs = [job(FIRST, mark())];
    assert_eq!(check_runs(&jobs, &[], &[]), [Violation::CompletedUnseen { job: FIRST }]);
    let abandoned = [Delivery { fate: Fate::Abandoned, ..delivery(FIRST) }];
    assert_eq!(check_runs(&jobs, &abandoned, &[]), [Violation::CompletedUnseen { job: FIRST }]);
}
