//! A stop before the server was ever ready: a recovery that takes long is neither death nor a reason to hang.

use std::net::SocketAddr;
use std::time::Duration;

use steadfast_testkit::gate::Gate;
use steadfast_testkit::harness::{Server, Signal, given_server};
use steadfast_testkit::history::{
    Evidence, Expected, History, Marked as _, Told, all_jobs, told_by, until_all_ended,
};
use steadfast_testkit::raw::{RawAnswer, RawConnection};
use tokio::time::Instant;

const PROGRAM: &str = env!("CARGO_BIN_EXE_steadfast");
/// What is left of the server's budget when nothing runs yet.
const CLOSE: Duration = Duration::from_secs(10);
/// What may come on top of it: ending a process takes time, and this machine may be busy. A stop that waited for the
/// recovery would take longer than any test waits.
const BEYOND: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_during_a_recovery_without_end_is_on_time_and_loses_nothing() {
    let gate = Gate::closed().await;
    let (mut server, history) = killed_with_a_job_running(&gate).await;

    server.launch_again_with(|given| given.env("FAILPOINTS", "sqlite::open::before_recovery=pause"));
    let address = address(&server).await;
    assert_eq!(answer_to_get(address, "/livez").await.status, 200, "a long recovery is no death");
    assert_eq!(answer_to_get(address, "/readyz").await.status, 503);
    assert_submit_is_refused(address, &history).await;

    let asked = Instant::now();
    server.signal(Signal::TERM);
    let exit = server.exit().await.expect_code(0);
    let took = asked.elapsed();
    assert!(took < CLOSE + BEYOND, "nothing but closing takes its time: {took:?}");
    assert_eq!(exit.ledger()["stores_still_opening"], 1, "{}", exit.ledger());

    gate.open();
    server.start_again_with(|given| given.env("FAILPOINTS", "")).await;
    let client = server.client();
    until_all_ended(&client).await;
    let (jobs, deliveries) = (all_jobs(&client).await, gate.deliveries());
    let evidence = Evidence { jobs: &jobs, deliveries: Some(&deliveries), handed_back: &[] };
    history.assert_kept(evidence, Expected::Ended);
    assert_eq!(jobs[0].interruptions, 1, "the kill, and nothing else: {:?}", jobs[0]);
    server.stop().await.expect_code(0);
}

/// A server that has something to recover at its next start.
async fn killed_with_a_job_running(gate: &Gate) -> (Server, History) {
    let given = given_server(PROGRAM).flag("--close-timeout", format!("{}s", CLOSE.as_secs()));
    let (mut server, history) = (given.start().await, History::new());
    history.submit(&server.client(), "http", &gate.payload()).await.expect("room");
    gate.until_held(1).await;
    server.kill().await;
    (server, history)
}

/// Where a server listens that is not ready.
async fn address(server: &Server) -> SocketAddr {
    let event = server.until_logged("listening").await;
    event["address"].as_str().expect("a text").parse().expect("an address")
}

async fn answer_to_get(address: SocketAddr, path: &str) -> RawAnswer {
    let mut connection = RawConnection::open(address).await.expect("a connection");
    connection.get(path).await.expect("a request is sent");
    connection.answer().await.expect("an answer")
}

async fn assert_submit_is_refused(address: SocketAddr, history: &History) {
    let mark = history.begin(1);
    let mut connection = RawConnection::open(address).await.expect("a connection");
    let body = mark.body("echo", &serde_json::json!({}));
    connection.post("/v1/jobs", &body).await.expect("a request is sent");
    let answer = connection.answer().await.expect("an answer");
    assert_eq!((answer.status, &answer.json()["code"]), (503, &"starting".into()));
    history.told(mark, told_by(&answer));
    assert_eq!(history.count(|told| *told == Told::Refused), 1, "{}", answer.json());
}
