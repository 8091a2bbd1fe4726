//! A drain by command, and two servers on one file. Every other command is in `cli`.

use std::process::Command;
use std::time::Duration;

use serde_json::json;
use steadfast_testkit::gate::Gate;
use steadfast_testkit::harness::{Exit, Process, given_server};
use steadfast_testkit::history::{History, until_all_ended};

const PROGRAM: &str = env!("CARGO_BIN_EXE_steadfast");
const ENDS_WITHIN: Duration = Duration::from_secs(30);

/// The program with these arguments and nothing in its environment.
fn start(arguments: &[&str]) -> Process {
    let mut command = Command::new(PROGRAM);
    command.env_clear().args(arguments);
    Process::start(command)
}

async fn run(arguments: &[&str]) -> Exit {
    start(arguments).exit_within(ENDS_WITHIN).await.expect("the command ends")
}

#[tokio::test(flavor = "multi_thread")]
async fn drain_asks_and_waits_until_the_server_is_gone() {
    let (gate, history) = (Gate::closed().await, History::new());
    let mut server = given_server(PROGRAM).start().await;
    history.submit(&server.client(), "http", &gate.payload()).await.expect("room");
    gate.until_held(1).await;

    let address = format!("http://{}", server.address());
    run(&["drain", "--server", &address]).await.expect_code(0);
    let mut waiting = start(&["drain", "--wait", "--server", &address]);
    server.until_logged("nothing to do: under way already").await;
    assert!(waiting.is_running() && server.process().is_running(), "both wait for the job");
    gate.open();
    waiting.exit_within(ENDS_WITHIN).await.expect("it ends with the server").expect_code(0);
    let exit = server.exit().await.expect_code(0);
    assert_eq!(exit.ledger()["jobs_finished"], json!(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn drain_says_that_nobody_is_there() {
    let mut server = given_server(PROGRAM).start().await;
    let address = format!("http://{}", server.address());
    server.stop().await.expect_code(0);
    let exit = run(&["drain", "--server", &address]).await.expect_code(69);
    assert!(exit.stderr.text().contains(&address), "{}", exit.output());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_on_the_file_says_so_and_leaves_the_first_alone() {
    let mut server = given_server(PROGRAM).start().await;
    let mut second = server.given().launch(server.dir());
    let exit = second.exit_within(ENDS_WITHIN).await.expect("it does not wait").expect_code(1);
    let error = exit.stderr.text();
    let path = server.database().display().to_string();
    assert!(error.contains(&path) && error.contains("another process"), "{error}");

    let history = History::new();
    history.submit(&server.client(), "echo", &json!(1)).await.expect("the first goes on");
    until_all_ended(&server.client()).await;
    server.stop().await.expect_code(0);
}
