//! A workload in which everything happens to a job that can.

use std::time::Duration;

use serde_json::json;
use steadfast_client::{Client, SubmitOptions, Submitted};
use steadfast_domain::{IdempotencyToken, JobId, JobState, RawJson};
use steadfast_testkit::eventually;
use steadfast_testkit::harness::Given;
use steadfast_testkit::history::until_all_ended;
use steadfast_wire::lease::{
    CompleteRequest, FailRequest, LeaseDocument, LeaseRequest, ReleaseRequest, Settle,
};
use steadfast_wire::{BatchRequest, JobDocument, RetryRequest, SubmitRequest};

/// Room for what [`everything`] submits.
const CAPACITY: usize = 40;
/// A lease that no test outlasts.
const LONG_MS: u64 = 30_000;
/// The shortest lease there is, for one that is to end by itself.
pub(crate) const SHORT_MS: u64 = 1_000;
const ENDED_WITHIN: Duration = Duration::from_secs(20);

/// What [`everything`] counts: series and their values, when nothing was counted before.
pub(crate) const COUNTED: &[(&str, i64)] = &[
    (r#"steadfast_jobs_submitted_total{kind="echo",queue="default"}"#, 10),
    (r#"steadfast_jobs_submitted_total{kind="sleep",queue="default"}"#, 1),
    (r#"steadfast_jobs_submitted_total{kind="work",queue="pulled"}"#, 3),
    (r#"steadfast_jobs_finished_total{kind="echo",queue="default",state="completed"}"#, 9),
    (r#"steadfast_jobs_finished_total{kind="echo",queue="default",state="cancelled"}"#, 2),
    (r#"steadfast_jobs_finished_total{kind="echo",queue="default",state="dead"}"#, 0),
    (r#"steadfast_jobs_finished_total{kind="sleep",queue="default",state="cancelled"}"#, 1),
    (r#"steadfast_jobs_finished_total{kind="work",queue="pulled",state="completed"}"#, 1),
    (r#"steadfast_jobs_finished_total{kind="work",queue="pulled",state="dead"}"#, 2),
    (r#"steadfast_jobs_finished_total{kind="work",queue="pulled",state="expired"}"#, 1),
    ("steadfast_jobs_retried_total", 2),
];

/// The settings that [`everything`] needs: an interrupted job is dead at once.
pub(crate) fn given_everything(given: Given) -> Given {
    given
        .capacity(CAPACITY)
        .flag("--interruptions-max", "1")
        .settings("[queues.pulled]\nmode = \"pull\"\nkinds = [\"work\"]\n")
}

/// Does everything, each thing at the next of these replicas, and waits until all of it has ended.
pub(crate) async fn everything(clients: &[&Client]) {
    let (a, b) = (clients[0], clients[clients.len() - 1]);
    accept_and_refuse(a, b).await;
    cancel(a, b).await;
    expire(a).await;
    die_and_be_retried(a, b).await;
    be_interrupted(a, b).await;
    until_all_ended(a).await;
}

/// 8 are accepted.
async fn accept_and_refuse(a: &Client, b: &Client) {
    for client in [a, b] {
        submit(client, &echo()).await;
    }
    a.submit_batch(&BatchRequest { jobs: vec![echo(); 5] }, None).await.expect("room");
    let too_many = BatchRequest { jobs: vec![echo(); CAPACITY + 1] };
    b.submit_batch(&too_many, None).await.expect_err("it never fits");
    let key = Some(IdempotencyToken::new("everything").expect("a key"));
    let options = SubmitOptions { key, ..SubmitOptions::default() };
    for (client, replayed) in [(a, false), (b, true)] {
        let submitted = client.submit(&echo(), &options).await.expect("room");
        assert_eq!(submitted.replayed, replayed);
    }
}

/// 3 are accepted and cancelled, one of them twice; one is opened again and completed.
async fn cancel(a: &Client, b: &Client) {
    let later = SubmitRequest { delay_ms: Some(3_600_000), ..echo() };
    let waits = submit(a, &later).await;
    for client in [a, b] {
        client.cancel(waits).await.expect("cancelled, and said again");
    }

    let unique = SubmitRequest { unique_key: Some("one".to_owned()), ..later };
    let made = submit(a, &unique).await;
    assert_eq!(submit(b, &unique).await, made, "the second is the first");
    b.cancel(made).await.expect("it waits");
    a.retry(made).await.expect("room");
    ended(b, made, JobState::Completed).await;

    let sleeps = submit(b, &sleep()).await;
    until_processing(a, sleeps).await;
    a.cancel(sleeps).await.expect("it is asked to stop");
    ended(a, sleeps, JobState::Cancelled).await;
}

async fn expire(a: &Client) {
    let late = submit(a, &SubmitRequest { max_wait_ms: Some(1), ..work() }).await;
    ended(a, late, JobState::Expired).await;
}

/// One fails for good, is opened again, fails, and is completed; what ends it is told twice.
async fn die_and_be_retried(a: &Client, b: &Client) {
    let id = submit(a, &work()).await;
    let leased = lease(b, LONG_MS).await;
    for client in [a, b] {
        client.settle(leased.lease, &fail(false)).await.expect("taken, and taken again");
    }
    ended(a, id, JobState::Dead).await;
    b.retry(id).await.expect("room");
    a.settle(lease(a, LONG_MS).await.lease, &fail(true)).await.expect("taken");
    let leased = lease(b, LONG_MS).await;
    for client in [b, a] {
        let done = Settle::Complete(CompleteRequest { result: None });
        client.settle(leased.lease, &done).await.expect("taken, and taken again");
    }
    ended(a, id, JobState::Completed).await;
}

/// One is released, and then its lease lapses.
async fn be_interrupted(a: &Client, b: &Client) {
    let id = submit(b, &work()).await;
    let back = Settle::Release(ReleaseRequest::default());
    b.settle(lease(a, LONG_MS).await.lease, &back).await.expect("it goes back");
    lease(a, SHORT_MS).await;
    ended(b, id, JobState::Dead).await;
}

pub(crate) fn echo() -> SubmitRequest {
    of_kind("echo")
}

pub(crate) fn of_kind(kind: &str) -> SubmitRequest {
    SubmitRequest { kind: kind.to_owned(), ..SubmitRequest::default() }
}

/// Runs for longer than any test.
pub(crate) fn sleep() -> SubmitRequest {
    let payload = RawJson::encode(&json!({ "ms": 600_000 })).expect("a payload");
    SubmitRequest { payload: Some(payload), ..of_kind("sleep") }
}

/// For remote workers.
pub(crate) fn work() -> SubmitRequest {
    let retry = RetryRequest { initial_ms: Some(1), ..RetryRequest::default() };
    SubmitRequest { queue: Some("pulled".to_owned()), retry: Some(retry), ..of_kind("work") }
}

pub(crate) async fn submit(client: &Client, job: &SubmitRequest) -> JobId {
    let Submitted { job, .. } = client.submit(job, &SubmitOptions::default()).await.expect("room");
    job.id
}

/// Takes the one job that waits for a worker, for so long.
pub(crate) async fn lease(client: &Client, lease_ms: u64) -> LeaseDocument {
    let request =
        LeaseRequest { wait_ms: Some(20_000), lease_ms: Some(lease_ms), ..LeaseRequest::new("tester") };
    client.lease(&request).await.expect("an answer").leases.pop().expect("a job")
}

pub(crate) async fn ended(client: &Client, id: JobId, state: JobState) -> JobDocument {
    let job = client.job_when_ended(id, ENDED_WITHIN).await.expect("the job");
    assert_eq!(job.state, state, "{job:?}");
    job
}

pub(crate) async fn until_processing(client: &Client, id: JobId) {
    eventually("the job runs", async || {
        (client.job(id).await.ok()?.state == JobState::Processing).then_some(())
    })
    .await;
}

fn fail(retryable: bool) -> Settle {
    Settle::Fail(FailRequest { code: "boom".to_owned(), message: "it went wrong".to_owned(), retryable })
}
