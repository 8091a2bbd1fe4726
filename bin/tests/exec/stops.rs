//! Cancels, drains and kills: each ends all that came of a program.

use std::time::Duration;

use serde_json::json;
use steadfast_client::Client;
use steadfast_domain::{JobId, JobState};
use steadfast_testkit::eventually;
use steadfast_testkit::harness::{Keep, Server};
use steadfast_wire::RetryRequest;
use tokio::time::Instant;

use crate::{Programs, assert_no_children, children, ended, job, run, submit, value};

/// Ten minutes of work in five processes: in the program's group, in sessions of their own, and two whose parents have
/// ended, one of them without the program's environment and files.
const FAMILY: &str = r#"
    sleep $MARK &
    setsid sleep $MARK &
    (setsid sh -c 'sleep $MARK & exit' &)
    env -i setsid sh -c "sleep $MARK < /dev/null > /dev/null 2>&1 & exit" &
    wait $!
    told started
    sleep $MARK
"#;
const FAMILY_SIZE: usize = 6;

/// Starts a job of `program` and waits until all of its processes run.
async fn begin(server: &Server, programs: &Programs, program: &str, processes: usize) -> (Client, JobId) {
    let client = server.client();
    let id = submit(&client, &job(program, json!({}))).await;
    eventually("every process runs", async || (programs.mark.programs() == processes).then_some(())).await;
    (client, id)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_program_is_gone_with_all_that_came_of_it_when_the_job_is_cancelled() {
    let programs = Programs::new().script("family", "", FAMILY);
    let mut server = programs.given().start().await;
    let (client, id) = begin(&server, &programs, "family", FAMILY_SIZE).await;
    assert_eq!(children(server.process().id()).len(), 1, "one guard");
    client.cancel(id).await.expect("it is there");
    assert_eq!(ended(&client, id).await.state, JobState::Cancelled);
    programs.assert_gone();
    assert_no_children(&mut server);
    server.stop().await.expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_hears_nothing_is_killed_at_the_end_of_the_grace() {
    let deaf = "trap '' TERM\nsetsid sleep $MARK &\nsleep $MARK";
    let programs = Programs::new().script("deaf", "", deaf);
    let mut server = programs.given().start().await;
    let parent = server.process().id();
    let (client, id) = begin(&server, &programs, "deaf", 3).await;
    let asked = Instant::now();
    client.cancel(id).await.expect("it is there");
    assert_eq!(ended(&client, id).await.state, JobState::Cancelled);
    assert!(asked.elapsed() >= Duration::from_secs(5), "{:?}", asked.elapsed());
    // A handler that is cut off has a moment to end before its job does. On a busy machine killing and waiting may take
    // longer, and the job does not wait for it.
    eventually("nothing is left of it", async || {
        (programs.mark.processes().is_empty() && children(parent).is_empty()).then_some(())
    })
    .await;
    server.stop().await.expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_has_stopped_itself_still_hears_that_it_is_to_end() {
    let stopped = "trap 'echo heard; exit 0' TERM\ntold stops\nkill -STOP $$\nsleep $MARK";
    let programs = Programs::new().script("stopped", "", stopped);
    let mut server = programs.given().start().await;
    let client = server.client();
    let id = submit(&client, &job("stopped", json!({}))).await;
    programs.until_told("stops").await;
    client.cancel(id).await.expect("it is there");
    let job = ended(&client, id).await;
    assert_eq!(job.state, JobState::Completed, "it says that it was done: {job:?}");
    assert_eq!(value(job.result.as_ref())["output"], "heard\n");
    programs.assert_gone();
    server.stop().await.expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_away_from_its_group_again_and_again_is_caught() {
    // Each one makes a session of its own, and ends as soon as there is the next: for ever, if it is not caught.
    let hopper = "[ -e \"$0.end\" ] && exit\necho >> \"$0.hops\"\nsetsid sh \"$0\" &\nexit";
    let programs = Programs::new().script("hopper", "", hopper).script("after", "", "exit");
    let file = |name: &str| programs.dir.path().join(format!("hopper.sh.{name}"));
    let mut server = programs.given().start().await;
    assert_eq!(run(&server, &job("hopper", json!({}))).await.state, JobState::Completed);
    assert_no_children(&mut server);
    let hops = || std::fs::metadata(file("hops")).expect("it hopped").len();
    let then = hops();
    for _ in 0..5 {
        assert_eq!(run(&server, &job("after", json!({}))).await.state, JobState::Completed);
    }
    let now = hops();
    std::fs::write(file("end"), "").expect("a file");
    assert_eq!(now, then, "it goes on");
    server.stop().await.expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_late_leaves_nothing_and_has_timed_out() {
    let programs = Programs::new().script("family", "", FAMILY);
    let mut server = programs.given().start().await;
    let mut late = job("family", json!({}));
    late.timeout_ms = Some(1_000);
    late.retry = Some(RetryRequest { max_attempts: Some(1), ..RetryRequest::default() });
    let dead = run(&server, &late).await;
    assert_eq!((dead.state, dead.errors[0].code.as_str()), (JobState::Dead, "timeout"), "{dead:?}");
    programs.assert_gone();
    server.stop().await.expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_asks_for_a_checkpoint_and_the_next_server_goes_on_from_it() {
    let halves = r#"
        case $(cat) in
        *'"checkpoint":{"at":7}'*) echo '"went on"'; exit ;;
        esac
        trap 'echo "{\"checkpoint\":{\"at\":7}}" >&$STEADFAST_REPORT_FD; exit 1' TERM
        told started
        sleep $MARK &
        wait
    "#;
    let programs = Programs::new().script("halves", "", halves);
    let mut server = programs.given().store(Keep::Sqlite).flag("--graceful-timeout", "100ms").start().await;
    let id = submit(&server.client(), &job("halves", json!({}))).await;
    programs.until_told("started").await;
    let exit = server.stop().await.expect_code(0);
    programs.assert_gone();
    assert_eq!(exit.jobs_named("jobs_checkpointed"), [id], "{}", exit.ledger());

    server.start_again().await;
    let done = ended(&server.client(), id).await;
    assert_eq!((done.state, done.attempt, done.interruptions), (JobState::Completed, 1, 0), "{done:?}");
    assert_eq!(value(done.result.as_ref()), "went on");
    server.stop().await.expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_hands_back_what_hears_nothing_once_it_is_killed() {
    let programs = Programs::new().script("deaf", "", &format!("trap '' TERM\n{FAMILY}"));
    let given = programs.given().flag("--graceful-timeout", "100ms").flag("--cancel-timeout", "100ms");
    let mut server = given.start().await;
    let (_, id) = begin(&server, &programs, "deaf", FAMILY_SIZE).await;
    let exit = server.stop().await.expect_code(0);
    eventually("every process is gone", async || programs.mark.processes().is_empty().then_some(())).await;
    // Handed back if the server has seen its end, for which it waits only a moment; else abandoned, which on a busy machine
    // may be. Which of them it is when, the pool's own tests show, on paused time.
    let given_back = [exit.jobs_named("jobs_handed_back"), exit.jobs_named("jobs_abandoned")].concat();
    assert_eq!(given_back, [id], "{}", exit.ledger());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_leaves_no_program_behind() {
    let programs = Programs::new().script("family", "", FAMILY);
    let mut server = programs.given().start().await;
    begin(&server, &programs, "family", FAMILY_SIZE).await;
    server.kill().await;
    eventually("every process is gone", async || programs.mark.processes().is_empty().then_some(())).await;
}
