//! The guards themselves.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Command;

use serde_json::json;
use steadfast_domain::JobState;
use steadfast_testkit::eventually;
use steadfast_testkit::harness::{Given, Signal, given_server};
use tempfile::TempDir;

use crate::processes::Marked;
use crate::{PATIENCE, Programs, acting, ended, job, run, submit};

/// Not a test: a server whose `main` does not begin as it should, when this program is started as one.
#[test]
fn serve() {
    acting::serve_if_asked(|server| server);
}

fn guard(programs: &Programs) -> Marked {
    programs.mark.processes().into_iter().find(Marked::is_guard).expect("a guard runs")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_to_every_process_does_not_end_a_guard_before_its_program() {
    let waits = "told started\nuntil [ -e \"$0.go\" ]; do sleep 0.01; done\nexit";
    let programs = Programs::new().script("waits", "", waits);
    let mut server = programs.given().start().await;
    let client = server.client();
    let id = submit(&client, &job("waits", json!({}))).await;
    programs.until_told("started").await;
    for signal in [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2] {
        guard(&programs).signal(signal);
    }
    std::fs::write(programs.dir.path().join("waits.sh.go"), "").expect("a file");
    let done = client.job_when_ended(id, PATIENCE).await.expect("it is there");
    assert_eq!((done.state, done.attempt), (JobState::Completed, 1), "{done:?}");
    server.stop().await.expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_that_is_killed_takes_the_programs_group_with_it() {
    let programs = Programs::new().script("group", "", "sleep $MARK &\ntold started\nsleep $MARK");
    let mut server = programs.given().start().await;
    let client = server.client();
    let id = submit(&client, &job("group", json!({}))).await;
    programs.until_told("started").await;
    guard(&programs).signal(Signal::KILL);
    let failed = eventually("the attempt failed", async || {
        client.job(id).await.ok().filter(|job| !job.errors.is_empty())
    })
    .await;
    assert_eq!(failed.errors[0].code, "guard_lost", "{failed:?}");
    client.cancel(id).await.expect("it is there");
    eventually("the group is gone", async || programs.mark.processes().is_empty().then_some(())).await;
    server.stop().await.expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_ends_with_its_guard_even_when_the_server_can_do_nothing() {
    let programs = Programs::new().script("alone", "", "told started\nexec sleep $MARK");
    let mut server = programs.given().start().await;
    let client = server.client();
    submit(&client, &job("alone", json!({}))).await;
    programs.until_told("started").await;
    server.signal(Signal::STOP);
    guard(&programs).signal(Signal::KILL);
    eventually("the program is gone", async || (programs.mark.programs() == 0).then_some(())).await;
    server.signal(Signal::CONT);
    server.stop().await.expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_that_is_killed_after_its_attempt_was_cut_off_takes_the_group_with_it_too() {
    let programs = Programs::new().script("group", "", "sleep $MARK &\ntold started\nsleep $MARK");
    let mut server = programs.given().flag("--cancel-timeout", "1s").start().await;
    let client = server.client();
    let id = submit(&client, &job("group", json!({}))).await;
    programs.until_told("started").await;
    // It does nothing that it is told.
    guard(&programs).signal(Signal::STOP);
    client.cancel(id).await.expect("it is there");
    assert_eq!(ended(&client, id).await.state, JobState::Cancelled, "nobody waits for the guard any more");
    guard(&programs).signal(Signal::KILL);
    eventually("the group is gone", async || programs.mark.processes().is_empty().then_some(())).await;
    server.stop().await.expect_code(0);
}

/// Whatever is killed just after a program has begun: somebody knows what to kill, and the program ends with its guard.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_begins_when_its_group_is_known_and_its_end_is_sure() {
    let programs = Programs::new().script("traced", "", "echo 1");
    let trace = programs.dir.path().join("trace");
    let calls = "trace=execve,prctl,sendmsg,sendto,write";
    let traced = ["strace", "-D", "-qq", "-f", "-e", calls, "-s", "256", "-o"];
    let under = traced.map(Into::into).into_iter().chain([trace.clone().into_os_string()]);
    let mut server = programs.given().under(under).start().await;
    assert_eq!(run(&server, &job("traced", json!({}))).await.state, JobState::Completed);
    server.stop().await.expect_code(0);

    let begun = "execve(\"/bin/sh\"";
    let calls = eventually("it is written down", async || {
        std::fs::read_to_string(&trace).ok().filter(|calls| calls.contains(begun))
    })
    .await;
    let (before, _) = calls.split_once(begun).expect("it has begun");
    let before: Vec<&str> = before.lines().collect();
    let last = |call: &str| before.iter().rposition(|line| line.contains(call)).expect(call);
    // What the program cannot begin without is handed over by the last message.
    let handed_over = last("sendmsg(");
    assert!(last("\"starts ") < handed_over, "{calls}");
    assert!(last("prctl(PR_SET_PDEATHSIG, SIGKILL)") < handed_over, "{calls}");
}

#[test]
fn a_launcher_that_gets_no_descriptors_says_so() {
    let (mut guard, theirs) = UnixStream::pair().expect("a pair");
    let mut command = Command::new(env!("CARGO_BIN_EXE_steadfast"));
    let launcher = command.args(["exec-launcher", "/bin/true"]).stdin(OwnedFd::from(theirs)).spawn();
    // It holds their end, too.
    drop(command);
    guard.write_all(b".").expect("it listens");
    guard.set_read_timeout(Some(PATIENCE)).expect("it can be set");
    let mut said = String::new();
    guard.read_to_string(&mut said).expect("text");
    assert_eq!(said, ".no descriptors were sent");
    launcher.expect("it starts").wait().expect("it ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_be_its_own_guard_does_not_start() {
    let given = given_server(env!("CARGO_BIN_EXE_steadfast")).acted_by("guards::serve");
    assert_does_not_start(&given.settings("[exec.true]\ncommand = \"/bin/true\"\n")).await;
}

async fn assert_does_not_start(given: &Given) {
    let dir = TempDir::new().expect("a directory");
    let mut process = given.launch(dir.path());
    let exit = process.exit_within(PATIENCE).await.expect("it ends");
    let said = exit.output();
    assert!(said.contains("the server starts: Programs(NotAsked)"), "{said}");
    assert!(exit.stderr.events("listening").is_empty(), "nothing was bound\n{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_to_be_a_guard_never_serves_and_starts_no_guard_in_its_turn() {
    let as_guard = ["sh", "-c", r#"exec "$0" exec-guard "$@""#];
    let given = given_server(env!("CARGO_BIN_EXE_steadfast")).acted_by("guards::serve").under(as_guard);
    for settings in ["", "[exec.true]\ncommand = \"/bin/true\"\n"] {
        assert_does_not_start(&given.clone().settings(settings)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_file_was_replaced_still_starts_guards_of_its_own() {
    let programs = Programs::new().script("done", "", "echo 1");
    let copy = programs.dir.path().join("steadfast");
    std::fs::copy(env!("CARGO_BIN_EXE_steadfast"), &copy).expect("a copy of the program");
    let mut server = given_server(&copy).settings(&programs.settings).start().await;
    std::fs::remove_file(&copy).expect("it is there");
    std::fs::copy("/bin/false", &copy).expect("another program in its place");
    assert_eq!(run(&server, &job("done", json!({}))).await.state, JobState::Completed);
    server.stop().await.expect_code(0);
}
