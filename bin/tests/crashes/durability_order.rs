//! Under `strace`: no 202 is written before a sync of the log, begun after the job was in it, has returned 0.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use steadfast_client::{Client, SubmitOptions};
use steadfast_domain::{IdempotencyToken, RawJson};
use steadfast_testkit::harness::{Given, Server, given_server};
use steadfast_testkit::history::until_all_ended;
use steadfast_wire::{BatchRequest, JobDocument, SubmitRequest};
use tokio::task::JoinSet;

#[cfg(feature = "failpoints")]
use crate::acting;
use crate::durability::order::{MARK, Order, Violation};
use crate::durability::trace::{self, Call};

const PROGRAM: &str = env!("CARGO_BIN_EXE_steadfast");
/// Clients at the same time, so that transactions are shared.
const CLIENTS: usize = 16;
/// Rounds of each client: a job, a job under a key, a batch.
const ROUNDS: usize = 4;
const SUBMISSIONS: usize = CLIENTS * ROUNDS * 3;
const BATCH_JOBS: usize = 4;
const TRACE: &str = "trace";

/// Not a test: the server whose commits do not wait for their sync.
#[cfg(feature = "failpoints")]
#[test]
fn serve() {
    acting::serve_if_asked(|server| {
        // Points are set from the variable FAILPOINTS, until the process ends.
        std::mem::forget(fail::FailScenario::setup());
        server
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn every_202_follows_the_sync_of_its_job() {
    let traced = Traced::run(given_server(PROGRAM)).await;
    let violations = traced.order.check(&traced.jobs);
    let listed: Vec<String> = violations.iter().map(ToString::to_string).collect();
    assert!(violations.is_empty(), "{} answers too early:\n{}", listed.len(), listed.join("\n"));
    assert!(traced.order.marked_commits() < SUBMISSIONS, "clients shared transactions");
    let costly = |call: &Call| call.name == "fsync" && call.file().ends_with("-wal");
    assert!(!traced.calls.iter().any(costly), "commits call fdatasync: see .cargo/config.toml");
    for request in &traced.lone_requests {
        assert!(traced.is_synced(request), "{request} was answered before it was synced");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_names_of_the_files_last_before_the_server_is_ready() {
    let mut server = under_strace(given_server(PROGRAM)).start().await;
    server.stop().await.expect_code(0);
    let calls = calls_of(&server);
    let ready = calls.iter().position(|call| call.name == "write" && call.arguments.contains(r#"\"ready\""#));
    let before = &calls[..ready.expect("the log says that it is ready")];
    let directory = fs::canonicalize(server.dir()).expect("the data directory is there");
    for suffix in ["", "-wal"] {
        let file = format!("\"{}{suffix}\"", server.database().display());
        let made = before.iter().position(|call| {
            call.name == "openat" && call.arguments.contains(&file) && call.arguments.contains("O_CREAT")
        });
        let after = &before[made.expect("the file is made")..];
        let synced = |call: &&Call| call.name == "fsync" && call.file() == directory.to_string_lossy();
        let sync = after.iter().find(synced).expect("the directory is synced by the server itself");
        assert_eq!(sync.result, Some(0));
    }
}

/// Shows that the tests above would notice.
#[cfg(feature = "failpoints")]
#[tokio::test(flavor = "multi_thread")]
async fn commits_that_do_not_wait_for_their_sync_are_found() {
    let given = given_server(PROGRAM)
        .acted_by("durability_order::serve")
        .env("FAILPOINTS", "sqlite::commit::unsynced=return");
    let traced = Traced::run(given).await;
    let violations = traced.order.check(&traced.jobs);
    assert!(violations.len() > traced.jobs.len() / 2, "{} of {}", violations.len(), traced.jobs.len());
    let early = |violation: &_| matches!(violation, Violation::AnsweredBeforeTheSync { .. });
    assert!(violations.iter().all(early), "{violations:?}");
    assert!(!traced.lone_requests.iter().any(|request| traced.is_synced(request)));
}

/// What a server did while clients submitted as fast as they were answered.
struct Traced {
    calls: Vec<Call>,
    order: Order,
    /// Id and mark of every job that was answered 202.
    jobs: Vec<(String, String)>,
    /// Requests that change a job, sent when nothing else went on.
    lone_requests: [String; 2],
}

impl Traced {
    async fn run(given: Given) -> Self {
        let mut server = under_strace(given).start().await;
        let marks = Arc::new(AtomicUsize::new(0));
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            clients.spawn(submit_every_way(server.client(), Arc::clone(&marks)));
        }
        let jobs = clients.join_all().await.into_iter().flatten().collect();
        let client = server.client();
        until_all_ended(&client).await;
        let later = SubmitRequest { delay_ms: Some(3_600_000), ..job(&next_mark(&marks)) };
        let later = client.submit(&later, &SubmitOptions::default()).await.expect("there is room").job.id;
        client.cancel(later).await.expect("a job that waits can be cancelled");
        client.retry(later).await.expect("a cancelled job can be opened again");
        server.stop().await.expect_code(0);
        let lone_requests = ["cancel", "retry"].map(|what| format!("POST /v1/jobs/{later}/{what}"));
        let calls = calls_of(&server);
        let order = Order::of(&calls, &server.database());
        Self { calls, order, jobs, lone_requests }
    }

    /// Whether a transaction was committed and synced between a request and its answer.
    fn is_synced(&self, request: &str) -> bool {
        let asked = self.calls.iter().find(|call| call.arguments.contains(request));
        let asked = asked.and_then(|call| call.ended).expect("the request was received");
        let is_answer = |call: &&Call| {
            call.begun > asked && call.arguments.contains("\"HTTP/1.1 200") && call.name != "write"
        };
        let answer = self.calls.iter().find(is_answer).expect("the request was answered");
        self.order.committed_between(asked, answer.begun)
    }
}

/// Each way to submit, several times; ids and marks.
async fn submit_every_way(client: Client, marks: Arc<AtomicUsize>) -> Vec<(String, String)> {
    let mut jobs = Vec::new();
    let mut accepted = |submitted: &JobDocument, mark: String| jobs.push((submitted.id.to_string(), mark));
    for _ in 0..ROUNDS {
        for with_key in [false, true] {
            let mark = next_mark(&marks);
            let key =
                with_key.then(|| IdempotencyToken::new(&mark.replace(MARK, "key-")).expect("a valid key"));
            let options = SubmitOptions { key, ..SubmitOptions::default() };
            let submitted = client.submit(&job(&mark), &options).await.expect("there is room");
            accepted(&submitted.job, mark);
        }
        let batch_marks: Vec<String> = (0..BATCH_JOBS).map(|_| next_mark(&marks)).collect();
        let batch = BatchRequest { jobs: batch_marks.iter().map(|mark| job(mark)).collect() };
        let submitted = client.submit_batch(&batch, None).await.expect("there is room");
        submitted.jobs.iter().zip(batch_marks).for_each(|(job, mark)| accepted(job, mark));
    }
    jobs
}

fn next_mark(marks: &AtomicUsize) -> String {
    format!("{MARK}{:06}", marks.fetch_add(1, Ordering::Relaxed))
}

/// A job whose payload, and nothing else of it, has the mark: so its page in the log is found.
fn job(mark: &str) -> SubmitRequest {
    let payload = RawJson::encode(&json!({ "mark": mark })).expect("plain JSON");
    SubmitRequest { kind: "echo".into(), payload: Some(payload), ..SubmitRequest::default() }
}

/// With `-D` the server is the process that the harness starts and signals; `-y` names files, and strings
/// are whole.
fn under_strace(given: Given) -> Given {
    let calls = "trace=openat,pwrite64,fdatasync,fsync,write,writev,sendto,sendmsg,recvfrom";
    given.under(["strace", "-D", "-f", "-y", "-s", "100000", "-e", calls, "-o", TRACE])
}

/// What was traced of a server that has ended, and its `strace` with it.
fn calls_of(server: &Server) -> Vec<Call> {
    let trace = fs::read(server.dir().join(TRACE)).expect("strace wrote a trace");
    trace::parse(&String::from_utf8_lossy(&trace))
}
