//! A disk whose syncs fail: no 202 rests on one, doubt is said aloud, and the server accepts again only when
//! everything was written and synced afresh.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rustix::process::PTracer;
use serde_json::json;
use steadfast_client::{Client, Error, SubmitOptions};
use steadfast_domain::IdempotencyToken;
use steadfast_testkit::eventually;
use steadfast_testkit::harness::{Given, Process, Server, Signal, given_server};
use steadfast_testkit::history::{
    Evidence, Expected, History, Mark, Marked as _, Told, all_jobs, until_all_ended,
};
use steadfast_wire::{ErrorCode, Outcome};
use tokio::task::JoinSet;

#[cfg(feature = "failpoints")]
use crate::acting;

const PROGRAM: &str = env!("CARGO_BIN_EXE_steadfast");
/// Clients at the same time, so that a failed sync is the answer to several.
const CLIENTS: usize = 8;
const ACCEPTED_BEFORE: usize = 5;
/// `strace` is to let go of the server at once.
const DETACH_WITHIN: Duration = Duration::from_secs(30);

/// Not a test: the server of the tests here, when this program is started as one.
#[test]
fn serve() {
    acting::serve_if_asked(|server| {
        // Where the system lets a user's process be traced by none but its ancestors (Yama), it agrees to be.
        // Elsewhere that is no valid request, and not needed.
        let _ = rustix::process::set_ptracer(PTracer::Any);
        server
    });
}

fn given() -> Given {
    given_server(PROGRAM).acted_by("failed_sync::serve")
}

#[tokio::test(flavor = "multi_thread")]
async fn while_syncs_fail_nothing_is_accepted_and_then_it_goes_on() {
    let mut doubt = Doubt::with_syncs_that_fail("1+").await;
    let client = doubt.server.client();
    until_ready_is(false, &client).await;
    let refused = doubt.history.submit(&client, "echo", &json!({})).await.expect_err("nothing is accepted");
    assert_eq!((refused.code(), refused.outcome()), (Some(ErrorCode::StoreUnavailable), Outcome::None));
    let process = doubt.server.process().id();
    doubt.failing.end().await;
    until_ready_is(true, &client).await;
    assert_eq!(doubt.server.process().id(), process, "the same process");
    doubt.server.until_logged("the store is open again").await;
    assert_doubt_resolved(doubt.server, &doubt.history, &doubt.marks).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_failed_sync_is_overcome_at_once() {
    let doubt = Doubt::with_syncs_that_fail("1").await;
    doubt.server.until_logged("the store is open again").await;
    until_ready_is(true, &doubt.server.client()).await;
    assert_written_afresh(&doubt.failing.end().await);
    assert_doubt_resolved(doubt.server, &doubt.history, &doubt.marks).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_in_doubt_leaves_each_job_whole_or_not_at_all() {
    let mut doubt = Doubt::with_syncs_that_fail("1+").await;
    doubt.server.kill().await;
    doubt.server.start_again().await;
    assert_doubt_resolved(doubt.server, &doubt.history, &doubt.marks).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_fails_as_the_log_is_copied_is_not_ignored() {
    let mut server = given().start().await;
    let (client, history) = (server.client(), History::new());
    let files = [server.database()];
    let failing = Failing::attach(&mut server, &files, "1+").await;
    // Each job fills the log by its size, and once more by its result.
    let payload = json!("x".repeat(60_000));
    eventually("the log cannot be copied", async || {
        // The log's own syncs work: an acceptance is true, and a refusal certain.
        if let Err(error) = history.submit(&client, "echo", &payload).await {
            let told = (error.code(), error.outcome());
            assert_eq!(told, (Some(ErrorCode::StoreUnavailable), Outcome::None), "{error}");
        }
        server.log().events("cannot open the store again").pop()
    })
    .await;
    assert!(!history.accepted().is_empty());
    failing.end().await;
    until_ready_is(true, &client).await;
    server.until_logged("the store is open again").await;
    assert_kept_across_a_kill(server, &history).await;
}

/// A server with jobs that were accepted before its log's syncs failed, and others that were in doubt then.
struct Doubt {
    server: Server,
    failing: Failing,
    history: History,
    /// Submits that were not accepted.
    marks: Vec<Mark>,
}

impl Doubt {
    async fn with_syncs_that_fail(when: &str) -> Self {
        let mut server = given().start().await;
        let (client, history) = (server.client(), History::new());
        for _ in 0..ACCEPTED_BEFORE {
            history.submit(&client, "echo", &json!({})).await.expect("the disk works");
        }
        until_all_ended(&client).await;
        // With a reader in the file SQLite does not copy the log by itself when the writer lets go of it.
        all_jobs(&client).await;
        // A commit syncs the log first.
        let files = [log_of(&server), server.database()];
        let failing = Failing::attach(&mut server, &files, when).await;
        let marks: Vec<Mark> = (0..CLIENTS).map(|_| history.begin(1)).collect();
        let mut submits = JoinSet::new();
        for mark in marks.clone() {
            let client = client.clone();
            submits.spawn(async move { (mark, submit_with_key(&client, mark).await) });
        }
        let mut unknown = 0;
        for (mark, told) in submits.join_all().await {
            // After one failed sync, those who come later may find the server well again.
            assert!(when == "1" || told.is_err(), "a 202 without a sync");
            if let Err(error) = &told {
                assert_eq!(error.code(), Some(ErrorCode::StoreUnavailable), "{error}");
                unknown += usize::from(error.outcome() == Outcome::Unknown);
            }
            remember(&history, mark, told);
        }
        assert!(unknown > 0, "whoever waited for the sync was told of doubt");
        Self { server, failing, history, marks }
    }
}

async fn submit_with_key(client: &Client, mark: Mark) -> Result<Told, Error> {
    let key = IdempotencyToken::new(&format!("key-{mark}")).expect("a valid key");
    let options = SubmitOptions { key: Some(key), ..SubmitOptions::default() };
    let submitted = client.submit(&mark.job("echo", &json!({})), &options).await?;
    Ok(Told::Accepted(vec![submitted.job.id]))
}

fn remember(history: &History, mark: Mark, told: Result<Told, Error>) {
    history.told(mark, told.unwrap_or_else(|error| Told::by_error(&error)));
}

/// What was in doubt exists whole or not at all, and the keys find out: in the end each made one job.
async fn assert_doubt_resolved(server: Server, history: &History, marks: &[Mark]) {
    let client = server.client();
    until_all_ended(&client).await;
    let jobs = all_jobs(&client).await;
    history.assert_kept(Evidence { jobs: &jobs, ..Evidence::default() }, Expected::Ended);
    for mark in marks {
        remember(history, *mark, Ok(submit_with_key(&client, *mark).await.expect("the disk works again")));
    }
    assert!(history.accepted().len() >= ACCEPTED_BEFORE + CLIENTS);
    assert_kept_across_a_kill(server, history).await;
}

async fn assert_kept_across_a_kill(mut server: Server, history: &History) {
    server.kill().await;
    server.start_again().await;
    let client = server.client();
    until_all_ended(&client).await;
    let jobs = all_jobs(&client).await;
    history.assert_kept(Evidence { jobs: &jobs, ..Evidence::default() }, Expected::Ended);
    server.stop().await.expect_code(0);
}

async fn until_ready_is(ready: bool, client: &Client) {
    eventually("readiness follows the disk", async || (client.ready().await.is_ok() == ready).then_some(()))
        .await;
}

/// The failed sync, if it were repeated, would prove nothing: so before the log takes anything new all of it
/// is written into the database and synced there.
fn assert_written_afresh(trace: &str) {
    let (_, after) = trace.split_once("(INJECTED)").expect("a sync failed");
    let new_in_the_log = |line: &&str| line.contains("pwrite64(") && line.contains("-wal>");
    let mut before_that = after.lines().take_while(|line| !new_in_the_log(line));
    let synced = |line: &str| line.contains("fdatasync(") && line.contains(".db>") && line.ends_with("= 0");
    assert!(before_that.any(synced), "{trace}");
}

/// The write-ahead log.
fn log_of(server: &Server) -> PathBuf {
    let mut path = server.database().into_os_string();
    path.push("-wal");
    path.into()
}

/// `strace` on a running server: it makes the syncs of some files fail, instead of doing them.
struct Failing {
    strace: Process,
    trace: PathBuf,
}

impl Failing {
    /// From now on; `when` says which of them, as `strace --inject` has it.
    async fn attach(server: &mut Server, files: &[PathBuf], when: &str) -> Self {
        let trace = server.dir().join("trace");
        let mut command = Command::new("strace");
        command.args(["-f", "-y", "-s", "0", "-e", "trace=fdatasync,pwrite64", "-o"]).arg(&trace);
        files.iter().for_each(|file| _ = command.arg("-P").arg(file));
        command.arg("-e").arg(format!("inject=fdatasync:error=EIO:when={when}"));
        command.args(["-p", &server.process().id().to_string()]);
        let mut strace = Process::start(command);
        eventually("strace holds every thread of the server", || {
            let attached = strace.stderr().text().contains(" attached with ");
            assert!(attached || strace.is_running(), "{}", strace.stderr().text());
            std::future::ready(attached.then_some(()))
        })
        .await;
        Self { strace, trace }
    }

    /// The disk works again; returns what was traced.
    async fn end(mut self) -> String {
        self.strace.signal(Signal::INT);
        let exit = self.strace.exit_within(DETACH_WITHIN).await;
        assert!(exit.is_some(), "strace does not let go");
        let trace = fs::read_to_string(&self.trace).expect("strace wrote a trace");
        assert!(trace.contains("EIO (Input/output error) (INJECTED)"), "{trace}");
        trace
    }
}
