//! What `/metrics` says of a server that has accepted, refused and finished jobs.
#![allow(clippy::expect_used, reason = "a panic is how a test fails")]

use steadfast_testkit::eventually;
use steadfast_testkit::gate::Gate;
use steadfast_testkit::harness::{Server, given_server};
use steadfast_testkit::history::{History, until_all_ended};
use steadfast_testkit::raw::{RawAnswer, RawConnection};

const PROGRAM: &str = env!("CARGO_BIN_EXE_steadfast");

/// Names without labels, or whole series, that other people's dashboards rely on.
const PROMISED: &[&str] = &[
    "steadfast_jobs_submitted_total{kind=\"http\",queue=\"default\"} 2",
    "steadfast_jobs_refused_total{code=\"queue_full\",queue=\"default\"} 1",
    "steadfast_jobs_finished_total{kind=\"http\",queue=\"default\",state=\"completed\"} 2",
    "steadfast_jobs_retried_total 0",
    "steadfast_job_attempts_total{kind=\"http\",outcome=\"completed\",queue=\"default\"} 2",
    "steadfast_attempts_running 0",
    "steadfast_jobs{queue=\"default\",state=\"completed\"} 2",
    "steadfast_queue_capacity_jobs{queue=\"default\"} 2",
    "steadfast_queue_capacity_bytes{queue=\"default\"} ",
    "steadfast_queue_bytes{queue=\"default\"} 0",
    "steadfast_oldest_ready_age_seconds{queue=\"default\"} 0",
    "steadfast_job_wait_seconds_count 2",
    "steadfast_job_run_seconds_count 2",
    "steadfast_submit_seconds_count 3",
    "steadfast_store_commit_seconds_count ",
    "steadfast_store_batch_jobs_count ",
    "steadfast_http_requests_in_flight ",
    "steadfast_http_connections ",
    "steadfast_http_requests_total{method=\"POST\",route=\"/v1/jobs\",status=\"202\"} 2",
    "steadfast_phase{phase=\"ready\"} 1",
    "steadfast_draining 0",
    "steadfast_shutdown_duration_seconds 0",
    concat!("steadfast_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_agree_with_what_happened() {
    let (gate, history) = (Gate::closed().await, History::new());
    let server = given_server(PROGRAM).capacity(2).start().await;
    let client = server.client();
    for _ in 0..2 {
        history.submit(&client, "http", &gate.payload()).await.expect("room");
    }
    history.submit(&client, "http", &gate.payload()).await.expect_err("the queue is full");
    gate.until_held(2).await;
    until_shown(&server, &["steadfast_attempts_running 2"]).await;

    gate.open();
    until_all_ended(&client).await;
    // Counters follow their commits: they may be a moment behind the store.
    until_shown(&server, PROMISED).await;
    let answer = get_metrics(&server).await;
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4"));
}

/// Waits until every one of these is a line, or begins one where it ends in a space.
async fn until_shown(server: &Server, wanted: &[&str]) {
    for wanted in wanted {
        eventually(wanted, async || {
            let text = scrape(server).await;
            let shown = |line: &str| line == *wanted || (wanted.ends_with(' ') && line.starts_with(wanted));
            text.lines().any(shown).then_some(())
        })
        .await;
    }
}

async fn scrape(server: &Server) -> String {
    String::from_utf8(get_metrics(server).await.body).expect("text")
}

async fn get_metrics(server: &Server) -> RawAnswer {
    let mut connection = RawConnection::open(server.address()).await.expect("a connection");
    connection.get("/metrics").await.expect("sent");
    let answer = connection.answer().await.expect("an answer");
    assert_eq!(answer.status, 200);
    answer
}
