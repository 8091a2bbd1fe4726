use std::ffi::OsStr;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use steadfast_testkit::harness::{Exit, Given, Process, given_server};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_steadfast");
pub(crate) const ENDS_WITHIN: Duration = Duration::from_secs(60);

/// A server to be.
pub(crate) fn server() -> Given {
    given_server(PROGRAM)
}

/// The program with these arguments, and nothing in its environment but where its server is.
pub(crate) fn command(server: SocketAddr, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = Command::new(PROGRAM);
    command.env_clear().env("STEADFAST_SERVER", format!("http://{server}")).args(arguments);
    command
}

/// A line of a shell, with `steadfast` as a command.
pub(crate) fn shell(server: SocketAddr, line: &str) -> Command {
    let mut command = Command::new("bash");
    let script = format!("steadfast() {{ {PROGRAM} \"$@\"; }}\nset -o pipefail\n{line}");
    command.env("STEADFAST_SERVER", format!("http://{server}")).args(["-c", &script]);
    command
}

/// Runs it to its end.
pub(crate) async fn end_of(command: Command) -> Exit {
    Process::start(command).exit_within(ENDS_WITHIN).await.expect("the command ends")
}

/// Runs a command line, words apart by single spaces, to its end.
pub(crate) async fn run(server: SocketAddr, line: &str) -> Exit {
    end_of(command(server, line.split(' '))).await
}

/// The same, which must end with 0 and print documents, one a line.
pub(crate) async fn documents(server: SocketAddr, line: &str) -> Vec<Value> {
    json(&run(server, line).await.expect_code(0))
}

/// The same with one document.
pub(crate) async fn document(server: SocketAddr, line: &str) -> Value {
    let mut documents = documents(server, line).await;
    assert_eq!(documents.len(), 1, "{line}: {documents:?}");
    documents.remove(0)
}

/// The same as text.
pub(crate) async fn text(server: SocketAddr, line: &str) -> String {
    let exit = run(server, &format!("{line} --output text")).await.expect_code(0);
    assert_eq!(exit.stderr.text(), "", "{line}");
    exit.stdout.text()
}

/// What it printed: documents, one a line.
pub(crate) fn json(exit: &Exit) -> Vec<Value> {
    let read = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    exit.stdout.text().lines().map(read).collect()
}

/// The id in a job's document.
pub(crate) fn id(job: &Value) -> String {
    job["id"].as_str().expect("a job has an id").to_owned()
}

/// Checks that it ended with `code` and printed nothing but an error that has these parts.
#[track_caller]
pub(crate) fn assert_refused(exit: Exit, code: i32, parts: &[&str]) {
    let exit = exit.expect_code(code);
    let error = exit.stderr.text();
    assert_eq!(exit.stdout.text(), "", "nothing is printed but the error\n{error}");
    assert!(error.starts_with("steadfast: "), "{error}");
    parts.iter().for_each(|part| assert!(error.contains(part), "{part:?} is missing in:\n{error}"));
}
