//! Each kind of broken promise is made once, and must be named.

use steadfast_domain::{Job, JobId, JobState, KindName, NewJob, RawJson, Timestamp};
use steadfast_wire::JobDocument;

use super::{Evidence, Expected, History, MARK_TAG, Mark, Told, Violation};
use crate::gate::{Delivery, Fate};

const FIRST: JobId = JobId::from_u128(1);
const SECOND: JobId = JobId::from_u128(2);

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
    Delivery { job, attempt: 1, overlaps: false, fate: Fate::Answered }
}

/// A history of one submit of `jobs` jobs that was told `told`.
fn told(jobs: usize, told: Told) -> (History, Mark) {
    let history = History::new();
    let mark = history.begin(jobs);
    history.told(mark, told);
    (history, mark)
}

fn check(history: &History, jobs: &[JobDocument]) -> Vec<Violation> {
    history.check(Evidence { jobs, ..Evidence::default() }, Expected::Ended)
}

fn check_runs(jobs: &[JobDocument], deliveries: &[Delivery], handed_back: &[JobId]) -> Vec<Violation> {
    let history = History::new();
    history.told(history.begin(1), Told::Accepted(vec![FIRST]));
    history.check(Evidence { jobs, deliveries: Some(deliveries), handed_back }, Expected::Ended)
}

#[test]
fn kept_promises_are_no_violation() {
    let history = History::new();
    let accepted = history.begin(1);
    history.told(accepted, Told::Accepted(vec![FIRST]));
    let refused = history.begin(1);
    history.told(refused, Told::Refused);
    let (lost, there) = (history.begin(3), history.begin(1));
    let jobs = [job(FIRST, accepted), job(SECOND, there)];
    let deliveries = [delivery(FIRST), delivery(SECOND)];
    let evidence = Evidence { jobs: &jobs, deliveries: Some(&deliveries), handed_back: &[] };
    assert_eq!(history.check(evidence, Expected::Ended), []);
    assert_eq!(history.accepted(), [FIRST]);
    assert_eq!(history.count(|told| *told == Told::Unknown), 2, "{lost} and {there}");
}

#[test]
fn an_accepted_job_that_is_gone_is_lost() {
    let (history, mark) = told(1, Told::Accepted(vec![FIRST]));
    assert_eq!(check(&history, &[]), [Violation::Lost { mark, job: FIRST }]);
}

#[test]
fn a_second_job_of_one_submit_is_named() {
    let (history, mark) = told(1, Told::Accepted(vec![FIRST]));
    let jobs = [job(FIRST, mark), job(SECOND, mark)];
    assert_eq!(check(&history, &jobs), [Violation::Doubled { mark, job: SECOND }]);
}

#[test]
fn a_refusal_that_left_a_job_behind_is_named() {
    let (history, mark) = told(1, Told::Refused);
    assert_eq!(check(&history, &[job(FIRST, mark)]), [Violation::LeftBehind { mark, job: FIRST }]);
}

#[test]
fn a_doubtful_submit_is_there_whole_or_not_at_all() {
    let (history, mark) = told(2, Told::Unknown);
    assert_eq!(check(&history, &[]), []);
    assert_eq!(check(&history, &[job(FIRST, mark), job(SECOND, mark)]), []);
    assert_eq!(check(&history, &[job(FIRST, mark)]), [Violation::NotWhole { mark, found: 1, sent: 2 }]);
}

#[test]
fn a_job_that_nobody_sent_is_invented() {
    let (history, mark) = told(1, Told::Accepted(vec![FIRST]));
    let mut unmarked = job(SECOND, mark);
    unmarked.tags.clear();
    let stranger = job(JobId::from_u128(3), Mark(99));
    let expected = [Violation::Invented { job: SECOND }, Violation::Invented { job: stranger.id }];
    assert_eq!(check(&history, &[job(FIRST, mark), unmarked, stranger]), expected);
}

#[test]
fn a_job_that_has_not_ended_is_named() {
    let (history, mark) = told(1, Told::Accepted(vec![FIRST]));
    for (state, at_rest) in [(JobState::Queued, true), (JobState::Processing, false)] {
        let jobs = [JobDocument { state, ..job(FIRST, mark) }];
        let violation = |expected| Violation::WrongState { job: FIRST, state, expected };
        assert_eq!(check(&history, &jobs), [violation(Expected::Ended)]);
        let evidence = Evidence { jobs: &jobs, ..Evidence::default() };
        let found = history.check(evidence, Expected::AtRest);
        assert_eq!(found.is_empty(), at_rest, "{found:?}");
    }
}

#[test]
fn a_run_beyond_the_stores_account_is_named() {
    let jobs = [job(FIRST, Mark(0))];
    let twice = [delivery(FIRST), delivery(FIRST)];
    let violation = Violation::RanTooOften { job: FIRST, deliveries: 2, accounted: 1 };
    assert_eq!(check_runs(&jobs, &twice, &[]), [violation]);
    assert_eq!(check_runs(&jobs, &twice, &[FIRST]), [], "a hand-back explains it");
    let interrupted = [JobDocument { interruptions: 1, ..job(FIRST, Mark(0)) }];
    assert_eq!(check_runs(&interrupted, &twice, &[]), [], "an interruption explains it");
}

#[test]
fn two_runs_at_once_are_named_however_often_it_may_run() {
    let jobs = [JobDocument { attempt: 2, ..job(FIRST, Mark(0)) }];
    let deliveries = [delivery(FIRST), Delivery { overlaps: true, ..delivery(FIRST) }];
    assert_eq!(check_runs(&jobs, &deliveries, &[]), [Violation::RanTwiceAtOnce { job: FIRST }]);
}

#[test]
fn a_completion_without_a_run_is_named() {
    let jobs = [job(FIRST, Mark(0))];
    assert_eq!(check_runs(&jobs, &[], &[]), [Violation::CompletedUnseen { job: FIRST }]);
    let abandoned = [Delivery { fate: Fate::Abandoned, ..delivery(FIRST) }];
    assert_eq!(check_runs(&jobs, &abandoned, &[]), [Violation::CompletedUnseen { job: FIRST }]);
}
