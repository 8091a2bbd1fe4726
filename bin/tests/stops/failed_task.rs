//! A panic in one of the server's own tasks: it drains and says so, rather than look ready and do nothing.

use serde_json::json;
use steadfast_testkit::harness::given_server;
use steadfast_testkit::history::{Evidence, Expected, History, all_jobs, until_all_ended};

const PROGRAM: &str = env!("CARGO_BIN_EXE_steadfast");

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_pool_fails_drains_with_75_and_loses_nothing() {
    let history = History::new();
    // The drain waits for a settlement that nobody makes any more, as long as it may.
    let given = given_server(PROGRAM)
        .env("FAILPOINTS", "pool::settle::before=1*panic")
        .flag("--graceful-timeout", "100ms")
        .flag("--cancel-timeout", "100ms");
    let mut server = given.start().await;
    history.submit(&server.client(), "echo", &json!({})).await.expect("room");

    let exit = server.exit().await.expect_code(75);
    let faults = exit.ledger()["faults"].to_string();
    assert!(faults.contains("pool settlements"), "the ledger names the task: {faults}");

    server.start_again_with(|given| given.env("FAILPOINTS", "")).await;
    let client = server.client();
    until_all_ended(&client).await;
    let jobs = all_jobs(&client).await;
    history.assert_kept(Evidence { jobs: &jobs, deliveries: None, handed_back: &[] }, Expected::Ended);
    server.stop().await.expect_code(0);
}
