//! The history checker, with what a test knows beyond its clients' answers: how often each job ran.
//!
//! ```text
//!   begin() ─▶ Mark (a tag on the job) ─▶ submit ─▶ told(mark, …)
//!                                                        │
//!   jobs in the store, deliveries at the gate ──▶ check ─┴─▶ violations
//! ```
//!
//! What clients were told is checked by [`steadfast_client::history`], which this completes.

#[cfg(test)]
mod tests;
mod violation;

use std::collections::BTreeMap;
use std::ops::Deref;
use std::time::Duration;

use serde_json::{Value, json};
use steadfast_client::history;
use steadfast_client::{Client, Error, SubmitOptions};
use steadfast_domain::{IdempotencyToken, JobId, RawJson};
use steadfast_wire::{BatchRequest, JobDocument, SubmitRequest};

use crate::eventually::eventually;
use crate::gate::Delivery;
use crate::raw::RawAnswer;
pub use steadfast_client::history::{Expected, MARK_TAG, Mark, Told};
pub use violation::Violation;

/// How long a client waits that was not told how long.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

/// What every submit of a test sent and was told. Shared by its clients.
#[derive(Debug, Default)]
pub struct History(history::History);

impl Deref for History {
    type Target = history::History;

    fn deref(&self) -> &history::History {
        &self.0
    }
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

/// The jobs of tests.
pub trait Marked {
    /// The job of this kind that carries the mark.
    fn job(self, kind: &str, payload: &Value) -> SubmitRequest;
    /// The same as the body of a raw request.
    fn body(self, kind: &str, payload: &Value) -> String;
}

impl Marked for Mark {
    fn job(self, kind: &str, payload: &Value) -> SubmitRequest {
        let payload = RawJson::encode(payload).expect("a JSON value is a payload");
        self.on(SubmitRequest { kind: kind.to_owned(), payload: Some(payload), ..SubmitRequest::default() })
    }

    fn body(self, kind: &str, payload: &Value) -> String {
        serde_json::to_string(&self.job(kind, payload)).expect("a request has a JSON form")
    }
}

/// What a whole answer to the submit of one job tells its sender.
pub fn told_by(answer: &RawAnswer) -> Told {
    let body = answer.json();
    match body["id"].as_str().and_then(|id| id.parse().ok()) {
        Some(id) if matches!(answer.status, 200 | 202) => Told::Accepted(vec![id]),
        _ if body["outcome"] == json!("none") => Told::Refused,
        _ => Told::Unknown,
    }
}

impl History {
    /// Nothing sent yet.
    pub fn new() -> Self {
        Self::default()
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

    /// Holds what was told against what there is. Empty when every promise was kept.
    pub fn check(&self, evidence: Evidence<'_>, expected: Expected) -> Vec<Violation> {
        let told = self.0.check(evidence.jobs, expected).into_iter().map(Violation::Told);
        let mut violations: Vec<Violation> = told.collect();
        if let Some(deliveries) = evidence.deliveries.map(by_job) {
            for job in evidence.jobs {
                let own = deliveries.get(&job.id).map_or(&[][..], Vec::as_slice);
                let handed_back = evidence.handed_back.iter().filter(|id| **id == job.id).count() as u32;
                violations.extend(violation::of_runs(job, own, handed_back));
            }
        }
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

/// Every job that a server has, newest first.
///
/// # Panics
/// When it cannot be read.
pub async fn all_jobs(client: &Client) -> Vec<JobDocument> {
    history::all_jobs(client).await.unwrap_or_else(|error| panic!("the list: {error}"))
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
