//! The guards themselves.

use serde_json::json;
use steadfast_domain::JobState;
use steadfast_testkit::eventually;
use steadfast_testkit::harness::{Given, Signal, given_server};
use tempfile::TempDir;

use crate::processes::Marked;
use crate::{PATIENCE, Programs, acting, job, run, submit};

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

/// A guard that is killed just after its program has begun must have told whom to kill by then.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_begins_after_its_guard_has_told_its_group() {
    let programs = Programs::new().script("traced", "", "echo 1");
    let trace = programs.dir.path().join("trace");
    let traced = ["strace", "-D", "-qq", "-f", "-e", "trace=execve,write,sendto", "-s", "256", "-o"];
    let under = traced.map(Into::into).into_iter().chain([trace.clone().into_os_string()]);
    let mut server = programs.given().under(under).start().await;
    assert_eq!(run(&server, &job("traced", json!({}))).await.state, JobState::Completed);
    server.stop().await.expect_code(0);

    let seen = eventually("both calls are written down", async || {
        let calls = std::fs::read_to_string(&trace).ok()?;
        let line_of = |call: &str| calls.lines().position(|line| line.contains(call));
        Some((line_of("\"starts ")?, line_of("execve(\"/bin/sh\"")?, calls))
    });
    let (told, begun, calls) = seen.await;
    assert!(told < begun, "{calls}");
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
