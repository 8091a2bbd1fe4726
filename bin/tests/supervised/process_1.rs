//! The program as process 1 of a PID namespace of its own, as in a container without an init. Whoever runs this must be
//! allowed to make one (`unshare`), as root is.

use std::fs;

use rustix::process::{Pid, kill_process, kill_process_group};
use serde_json::json;
use steadfast_client::SubmitOptions;
use steadfast_testkit::gate::Gate;
use steadfast_testkit::harness::{Given, Server, Signal, given_server};
use steadfast_testkit::history::{History, Marked as _};
use steadfast_testkit::{PATIENCE, eventually};
use steadfast_wire::RetryRequest;
use tempfile::TempDir;

use crate::PROGRAM;

/// A session of its own, so that signals can be sent to all of it, and a namespace that ends with its maker.
const CONTAINER: [&str; 6] = ["setsid", "unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];

fn given_container() -> Given {
    given_server(PROGRAM).under(CONTAINER)
}

/// A process as `/proc` has it, whether or not it has ended.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    pid: Pid,
    parent: Option<Pid>,
    name: String,
    is_zombie: bool,
}

fn processes() -> Vec<Seen> {
    let entries = fs::read_dir("/proc").expect("the processes").filter_map(Result::ok);
    entries.filter_map(|entry| seen(&fs::read_to_string(entry.path().join("stat")).ok()?)).collect()
}

/// `NUMBER (NAME) STATE PARENT …`; see proc_pid_stat(5).
fn seen(stat: &str) -> Option<Seen> {
    let (number, rest) = stat.split_once(" (")?;
    let (name, rest) = rest.rsplit_once(") ")?;
    let mut rest = rest.split(' ');
    let is_zombie = rest.next()? == "Z";
    let parent = Pid::from_raw(rest.next()?.parse().ok()?);
    Some(Seen { pid: Pid::from_raw(number.parse().ok()?)?, parent, name: name.to_owned(), is_zombie })
}

fn children(of: Pid) -> Vec<Seen> {
    processes().into_iter().filter(|process| process.parent == Some(of)).collect()
}

fn only_child(of: Pid) -> Pid {
    let children = children(of);
    assert_eq!(children.len(), 1, "{children:?}");
    children[0].pid
}

/// The process that is number 1 in its namespace, by its number here.
fn process_1(server: &mut Server) -> Pid {
    let unshare = i32::try_from(server.process().id()).ok().and_then(Pid::from_raw);
    only_child(unshare.expect("a number of a process"))
}

#[tokio::test(flavor = "multi_thread")]
async fn process_1_hands_sigterm_on_and_ends_with_the_servers_exit_code() {
    let (gate, history) = (Gate::closed().await, History::new());
    let mut server = given_container().start().await;
    history.submit(&server.client(), "http", &gate.payload()).await.expect("room");
    gate.until_held(1).await;
    kill_process(process_1(&mut server), Signal::TERM).expect("it runs");
    until_draining(&server).await;
    gate.open();
    let exit = server.exit().await.expect_code(0);
    assert_eq!(exit.ledger()["jobs_finished"], 1, "{}", exit.ledger());
}

async fn until_draining(server: &Server) {
    let client = server.client();
    eventually("the server drains", async || (client.health().await.ok()?.phase == "draining").then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_ends_process_1_as_a_shell_would() {
    let mut server = given_container().start().await;
    let child = only_child(process_1(&mut server));
    kill_process(child, Signal::KILL).expect("it runs");
    server.exit().await.expect_code(128 + 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_start_ends_process_1_with_its_code() {
    let dir = TempDir::new().expect("a directory");
    let mut process = given_container().capacity(0).launch(dir.path());
    let exit = process.exit_within(PATIENCE).await.expect("it ends").expect_code(2);
    assert!(exit.stderr.text().contains("--capacity"), "{}", exit.output());
}

/// The server waits for its settings, before it listens to signals.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_before_the_server_listens_to_signals_ends_both() {
    let dir = TempDir::new().expect("a directory");
    let settings = dir.path().join("settings.toml");
    rustix::fs::mkfifoat(rustix::fs::CWD, &settings, rustix::fs::Mode::RWXU).expect("a pipe can be made");
    let mut process = given_container().flag("--config", &settings).launch(dir.path());
    let unshare = i32::try_from(process.id()).ok().and_then(Pid::from_raw).expect("a number");
    let process_1 = eventually("process 1 has started the server", async || {
        let process_1 = children(unshare).first()?.pid;
        (!children(process_1).is_empty()).then_some(process_1)
    })
    .await;
    kill_process(process_1, Signal::TERM).expect("it runs");
    process.exit_within(PATIENCE).await.expect("it ends").expect_code(128 + 15);
}

/// A second SIGINT would hand the job back.
#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_reaches_the_server_once() {
    let (gate, history) = (Gate::closed().await, History::new());
    let mut server = given_container().start().await;
    history.submit(&server.client(), "http", &gate.payload()).await.expect("room");
    gate.until_held(1).await;
    let session = i32::try_from(server.process().id()).ok().and_then(Pid::from_raw).expect("a number");
    kill_process_group(session, Signal::INT).expect("it runs");
    until_draining(&server).await;
    gate.open();
    let exit = server.exit().await.expect_code(0);
    assert_eq!(exit.ledger()["jobs_finished"], 1, "{}", exit.ledger());
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_for_process_1_are_for_the_server() {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let mut server = given_container().hand_over(socket).start().await;
    assert_eq!(server.until_logged("listening").await["inherited"], true);
    kill_process(process_1(&mut server), Signal::TERM).expect("it runs");
    server.exit().await.expect_code(0);
}

/// Starts a process that leaves its parents, and its program's session, and ends when the file `go` is there.
const ORPHAN: &str = r#"
    setsid sh -c 'sh -c "
        printf orphan > /proc/self/comm
        until [ -e $0/go ]; do sleep 0.01; done
    " &' "$0" < /dev/null > /dev/null 2>&1
    : > "$0/started"
    sleep 600
"#;

#[tokio::test(flavor = "multi_thread")]
async fn process_1_waits_for_orphans_while_the_server_drains() {
    let (gate, history, dir) = (Gate::closed().await, History::new(), TempDir::new().expect("a directory"));
    let script = dir.path().join("orphan.sh");
    fs::write(&script, ORPHAN.replace("$0", &dir.path().display().to_string())).expect("a script");
    let settings = format!("[exec.orphan]\ncommand = \"/bin/sh\"\narguments = [\"{}\"]\n", script.display());
    let mut server = given_container().settings(&settings).start().await;
    let process_1 = process_1(&mut server);
    let client = server.client();
    history.submit(&client, "http", &gate.payload()).await.expect("room");
    let mut job = history.begin(1).job("exec", &json!({ "program": "orphan" }));
    job.retry = Some(RetryRequest { max_attempts: Some(1), ..RetryRequest::default() });
    client.submit(&job, &SubmitOptions::default()).await.expect("room");
    eventually("the program has started", async || dir.path().join("started").exists().then_some(())).await;

    // What a guard leaves when it is killed goes to process 1.
    let guards = children(only_child(process_1));
    let guard = guards.iter().find(|process| process.name == "exec-guard").expect("a guard runs");
    kill_process(guard.pid, Signal::KILL).expect("it runs");
    let orphan = eventually("the orphan is a child of process 1", async || {
        children(process_1).into_iter().find(|child| child.name == "orphan")
    })
    .await;
    kill_process(process_1, Signal::TERM).expect("it runs");
    until_draining(&server).await;

    fs::write(dir.path().join("go"), "").expect("a file");
    eventually("the orphan has ended and was waited for", async || {
        processes().iter().all(|process| process.pid != orphan.pid).then_some(())
    })
    .await;
    let zombies: Vec<Seen> = children(process_1).into_iter().filter(|child| child.is_zombie).collect();
    assert_eq!(zombies, [], "nobody is left to be waited for");
    gate.open();
    server.exit().await.expect_code(0);
}
