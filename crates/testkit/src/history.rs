//! The history checker: what clients were told, held against what a server has in the end.
//!
//! ```text
//!   begin() ─▶ Mark (a tag on the job) ─▶ submit ─▶ told(mark, …)
//!                                                        │
//!   jobs in the store, deliveries at the gate ──▶ check ─┴─▶ violations
//! ```
//!
//! Every submit carries a mark of its own as a tag, so that the checker finds what a request left behind
//! even when its answer was lost. A mark whose answer never came counts as lost, whatever stopped it.

#[cfg(test)]
mod tests;
mod violation;

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use steadfast_client::{Client, Error, JobFilter, SubmitOptions};
use steadfast_domain::{IdempotencyToken, JobId, RawJson};
use steadfast_wire::{BatchRequest, JobDocument, Outcome, SubmitRequest};
pub use violation::Violation;

use crate::eventually::eventually;
use crate::gate::Delivery;
use crate::raw::RawAnswer;

/// The tag that carries the mark.
pub const MARK_TAG: &str = "mark";
const PAGE_JOBS: usize = 1_000;
/// How long a client waits that was not told how long.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

/// What every submit of a test sent and was told. Shared by its clients.
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

/// What there is in the end.
#[derive(Debug, Clone, Copy, Default)]
pub struct Evidence<'a> {
    /// Every job of the store.
    pub jobs: &'a [JobDocument],
    /// Every delivery at the gate that the test's `http` and `stubborn` jobs go to, if it has one.
    pub deliveries: Option<&'a [Delivery]>,
    /// Jobs that graceful stops handed back or let checkpoint, once for each time: such runs are in no
    /// job's account.
    pub handed_back: &'a [JobId],
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

impl std::fmt::Display for Mark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Mark {
    /// The job of this kind that carries the mark.
    pub fn job(self, kind: &str, payload: &Value) -> SubmitRequest {
        SubmitRequest {
            kind: kind.to_owned(),
            payload: Some(RawJson::encode(payload).expect("a JSON value is a payload")),
            tags: BTreeMap::from([(MARK_TAG.to_owned(), self.to_string())]),
            ..SubmitRequest::default()
        }
    }

    /// The same as the body of a raw request.
    pub fn body(self, kind: &str, payload: &Value) -> String {
        serde_json::to_string(&self.job(kind, payload)).expect("a request has a JSON form")
    }
}

impl Told {
    /// What a whole answer to the submit of one job tells its sender.
    pub fn by_answer(answer: &RawAnswer) -> Self {
        let body = answer.json();
        match body["id"].as_str().and_then(|id| id.parse().ok()) {
            Some(id) if matches!(answer.status, 200 | 202) => Self::Accepted(vec![id]),
            _ if body["outcome"] == json!("none") => Self::Refused,
            _ => Self::Unknown,
        }
    }

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

    /// Remembers what its sender was told.
    pub fn told(&self, mark: Mark, told: Told) {
        self.sent.lock().get_mut(&mark).expect("marks come from begin").told = told;
    }

    /// Submits one marked job and remembers what it was told.
    pub async fn submit(&self, client: &Client, kind: &str, payload: &Value) -> Result<JobDocument, Error> {
        let mark = self.begin(1);
        let submitted = client.submit(&mark.job(kind, payload), &SubmitOptions::default()).await;
        self.told(
            mark,
            submitted.as_ref().map_or_else(Told::by_error, |done| Told::Accepted(vec![done.job.id])),
        );
        submitted.map(|done| done.job)
    }

    /// Submits one marked job under a key of its own, again and again until it is accepted. Each failure before
    /// that is shown to `failed`.
    pub async fn submit_until_accepted(
        &self,
        client: &Client,
        kind: &str,
        payload: &Value,
        failed: impl Fn(&Error),
    ) -> JobId {
        let mark = self.begin(1);
        let job = mark.job(kind, payload);
        let key = IdempotencyToken::new(&format!("mark-{mark}")).expect("a valid key");
        let options = SubmitOptions { key: Some(key), ..SubmitOptions::default() };
        loop {
            match client.submit(&job, &options).await {
                Ok(submitted) => {
                    self.told(mark, Told::Accepted(vec![submitted.job.id]));
                    return submitted.job.id;
                }
                Err(error) => {
                    failed(&error);
                    tokio::time::sleep(error.retry_after().unwrap_or(AGAIN_AFTER)).await;
                }
            }
        }
    }

    /// Submits `count` marked jobs as one batch and remembers what it was told.
    pub async fn submit_batch(
        &self,
        client: &Client,
        kind: &str,
        payload: &Value,
        count: usize,
    ) -> Result<Vec<JobId>, Error> {
        let mark = self.begin(count);
        let batch = BatchRequest { jobs: vec![mark.job(kind, payload); count] };
        let submitted = client.submit_batch(&batch, None).await;
        let ids = submitted.map(|done| done.jobs.into_iter().map(|job| job.id).collect::<Vec<_>>());
        self.told(mark, ids.as_ref().map_or_else(Told::by_error, |ids| Told::Accepted(ids.clone())));
        ids
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

    /// Holds what was told against what there is. Empty when every promise was kept.
    pub fn check(&self, evidence: Evidence<'_>, expected: Expected) -> Vec<Violation> {
        let mut violations = Vec::new();
        let mut by_mark: BTreeMap<Mark, Vec<&JobDocument>> = BTreeMap::new();
        let deliveries = evidence.deliveries.map(by_job);
        for job in evidence.jobs {
            violations.extend(violation::of_state(job, expected));
            if let Some(deliveries) = &deliveries {
                let own = deliveries.get(&job.id).map_or(&[][..], Vec::as_slice);
                let handed_back = evidence.handed_back.iter().filter(|id| **id == job.id).count() as u32;
                violations.extend(violation::of_runs(job, own, handed_back));
            }
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

    /// Checks that every promise was kept.
    ///
    /// # Panics
    /// When one was not, naming each violation.
    #[track_caller]
    pub fn assert_kept(&self, evidence: Evidence<'_>, expected: Expected) {
        let violations = self.check(evidence, expected);
        let listed: Vec<String> = violations.iter().map(ToString::to_string).collect();
        assert!(violations.is_empty(), "{} promises broken:\n{}", listed.len(), listed.join("\n"));
    }
}

fn by_job(deliveries: &[Delivery]) -> BTreeMap<JobId, Vec<&Delivery>> {
    let mut by_job: BTreeMap<JobId, Vec<&Delivery>> = BTreeMap::new();
    for delivery in deliveries {
        by_job.entry(delivery.job).or_default().push(delivery);
    }
    by_job
}

fn mark_of(job: &JobDocument) -> Option<Mark> {
    job.tags.get(MARK_TAG)?.parse().ok().map(Mark)
}

/// Every job that a server has, newest first.
///
/// # Panics
/// When it cannot be read.
pub async fn all_jobs(client: &Client) -> Vec<JobDocument> {
    let mut jobs = Vec::new();
    let mut filter = JobFilter { limit: Some(PAGE_JOBS), ..JobFilter::default() };
    loop {
        let page = client.jobs(&filter).await.unwrap_or_else(|error| panic!("the list: {error}"));
        jobs.extend(page.jobs);
        match page.next_cursor {
            Some(cursor) => filter.cursor = Some(cursor),
            None => return jobs,
        }
    }
}

/// Waits until no job is left that has not ended.
///
/// # Panics
/// When some are left after a long time.
pub async fn until_all_ended(client: &Client) {
    let live = async || {
        let queues = client.queues().await.ok()?.queues;
        (queues.iter().map(|queue| queue.jobs).sum::<u64>() == 0).then_some(())
    };
    eventually("every job has ended", live).await;
}
