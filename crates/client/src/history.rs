//! The history checker: what clients were told, held against what a server has in the end.
//!
//! ```text
//!   begin() ─▶ Mark (a tag on the job) ─▶ submit ─▶ told(mark, …)
//!                                                        │
//!                      every job of the server ─▶ check ─┴─▶ violations
//! ```
//!
//! Every submit carries a mark of its own as a tag, so that the checker finds what a request left behind even when its
//! answer was lost. A mark whose answer never came counts as lost, whatever stopped it.

mod violation;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use parking_lot::Mutex;
use steadfast_domain::JobId;
use steadfast_wire::{JobDocument, Outcome, SubmitRequest};

use crate::{Client, Error, JobFilter};
pub use violation::Violation;

/// The tag that carries the mark.
pub const MARK_TAG: &str = "mark";
const PAGE_JOBS: usize = 1_000;

/// What every submit of a run sent and was told. Shared by its clients.
#[derive(Debug, Default)]
pub struct History {
    sent: Mutex<BTreeMap<Mark, Sent>>,
}

/// Names one submit: the value of [`MARK_TAG`] on each of its jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(u64);

#[derive(Debug)]
struct Sent {
    jobs: usize,
    told: Told,
}

/// What the client of one submit was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// Accepted, as these jobs.
    Accepted(Vec<JobId>),
    /// Refused, with nothing left behind.
    Refused,
    /// Nothing certain: `"outcome":"unknown"`, or no answer at all.
    Unknown,
}

/// What jobs must have come to when the history is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Every job has ended.
    Ended,
    /// Every job has ended, or waits for its turn; none is `processing`.
    AtRest,
    /// Any state.
    Any,
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Mark {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl Mark {
    /// The job with the mark on it.
    pub fn on(self, mut job: SubmitRequest) -> SubmitRequest {
        job.tags.insert(MARK_TAG.to_owned(), self.to_string());
        job
    }
}

impl Told {
    /// What a failed submit tells its sender.
    pub fn by_error(error: &Error) -> Self {
        match error.outcome() {
            Outcome::None => Self::Refused,
            Outcome::Unknown => Self::Unknown,
        }
    }
}

impl History {
    /// Nothing sent yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The mark of a submit of `jobs` jobs about to be sent.
    pub fn begin(&self, jobs: usize) -> Mark {
        let mut sent = self.sent.lock();
        let mark = Mark(sent.len() as u64);
        sent.insert(mark, Sent { jobs, told: Told::Unknown });
        mark
    }

    /// Remembers what the sender of a mark of this history was told.
    pub fn told(&self, mark: Mark, told: Told) {
        if let Some(sent) = self.sent.lock().get_mut(&mark) {
            sent.told = told;
        }
    }

    /// The jobs of every accepted submit.
    pub fn accepted(&self) -> Vec<JobId> {
        let sent = self.sent.lock();
        let told = sent.values().map(|sent| &sent.told);
        told.flat_map(|told| if let Told::Accepted(ids) = told { ids.clone() } else { Vec::new() }).collect()
    }

    /// How many submits were told what `which` picks.
    pub fn count(&self, which: impl Fn(&Told) -> bool) -> usize {
        self.sent.lock().values().filter(|sent| which(&sent.told)).count()
    }

    /// Holds what was told against every job that there is. Empty when every promise was kept.
    pub fn check(&self, jobs: &[JobDocument], expected: Expected) -> Vec<Violation> {
        let mut violations = Vec::new();
        let mut by_mark: BTreeMap<Mark, Vec<&JobDocument>> = BTreeMap::new();
        for job in jobs {
            violations.extend(violation::of_state(job, expected));
            match mark_of(job) {
                Some(mark) => by_mark.entry(mark).or_default().push(job),
                None => violations.push(Violation::Invented { job: job.id }),
            }
        }
        let sent = self.sent.lock();
        for (mark, sent) in sent.iter() {
            let found = by_mark.remove(mark).unwrap_or_default();
            violations.extend(violation::of_answer(*mark, sent.jobs, &sent.told, &found));
        }
        let strangers = by_mark.into_values().flatten();
        violations.extend(strangers.map(|job| Violation::Invented { job: job.id }));
        violations
    }
}

fn mark_of(job: &JobDocument) -> Option<Mark> {
    job.tags.get(MARK_TAG)?.parse().ok()
}

/// Every job that a server has, newest first, without payload, result and checkpoint.
pub async fn all_jobs(client: &Client) -> Result<Vec<JobDocument>, Error> {
    let mut jobs = Vec::new();
    let mut filter = JobFilter { limit: Some(PAGE_JOBS), ..JobFilter::default() };
    loop {
        let page = client.jobs(&filter).await?;
        jobs.extend(page.jobs);
        match page.next_cursor {
            Some(cursor) => filter.cursor = Some(cursor),
            None => return Ok(jobs),
        }
    }
}

#[cfg(test)]
mod tests {
    //! Each kind of broken promise is made once, and must be named.

    use steadfast_domain::{Job, JobState, KindName, NewJob, RawJson, Timestamp};

    use super::*;

    const FIRST: JobId = JobId::from_u128(1);
    const SECOND: JobId = JobId::from_u128(2);

    /// A completed job with the mark.
    fn job(id: JobId, mark: Mark) -> JobDocument {
        let new = NewJob::new(KindName::new("echo").unwrap(), RawJson::empty_object());
        let mut job = JobDocument::listed(Job::accept(new, id, Timestamp::from_unix_ms(0), None));
        job.tags.insert(MARK_TAG.to_owned(), mark.to_string());
        job.state = JobState::Completed;
        job
    }

    /// A history of one submit of `jobs` jobs that was told `told`.
    fn told(jobs: usize, told: Told) -> (History, Mark) {
        let history = History::new();
        let mark = history.begin(jobs);
        history.told(mark, told);
        (history, mark)
    }

    fn check(history: &History, jobs: &[JobDocument]) -> Vec<Violation> {
        history.check(jobs, Expected::Ended)
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
        assert_eq!(check(&history, &jobs), []);
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
            let found = history.check(&jobs, Expected::AtRest);
            assert_eq!(found.is_empty(), at_rest, "{found:?}");
        }
    }
}
