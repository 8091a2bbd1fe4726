//! Handlers that keep their threads for ever, without an await: the server answers, stops on time, and the
//! jobs run again.
#![allow(clippy::expect_used, reason = "a panic is how a test fails")]

mod acting;

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write;
use std::thread::available_parallelism;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use steadfast_domain::{InvalidField, JobId, JobState, KindName, RawJson};
use steadfast_queue::{Failure, Finish, JobContext, JobHandler};
use steadfast_testkit::eventually;
use steadfast_testkit::harness::{Server, Signal, given_server};
use steadfast_testkit::history::{Evidence, Expected, History, all_jobs, until_all_ended};
use steadfast_testkit::raw::RawConnection;
use tokio::time::Instant;

/// The budget of the test's server: long enough to be asked while it drains.
const GRACEFUL: Duration = Duration::from_secs(1);
const CANCEL: Duration = Duration::from_millis(100);
const CLOSE: Duration = Duration::from_secs(2);
/// What may come on top of the budget: starting and ending a process takes time.
const BEYOND: Duration = Duration::from_secs(1);
/// Set for a server whose `spin` jobs end at once.
const WELL: &str = "STEADFAST_TEST_WELL";
/// Where handlers write down each start, in the server's data directory.
const STARTS: &str = "starts";

/// Not a test: the server of the tests here, when this program is started as one.
#[test]
fn serve() {
    acting::serve_if_asked(|server| {
        let well = std::env::var_os(WELL).is_some();
        let kind = KindName::new("spin").expect("a valid kind");
        server.handlers(move |built_in| built_in.with(kind, Spin { well }))
    });
}

/// Takes its thread and never gives it back.
struct Spin {
    well: bool,
}

#[async_trait]
impl JobHandler for Spin {
    fn check(&self, _payload: &RawJson) -> Result<(), Vec<InvalidField>> {
        Ok(())
    }

    async fn run(&self, context: JobContext) -> Result<Finish, Failure> {
        if self.well {
            return Ok(Finish::Completed(None));
        }
        write_down_start(context.job().id);
        loop {
            std::hint::spin_loop();
        }
    }
}

fn write_down_start(id: JobId) {
    let mut file =
        OpenOptions::new().create(true).append(true).open(STARTS).expect("the data directory is writable");
    file.write_all(format!("{id}\n").as_bytes()).expect("the file is writable");
}

/// The threads that handlers have: one for each core, at least two.
fn handler_threads() -> usize {
    available_parallelism().map_or(2, |cores| cores.get().max(2))
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_spinning_handlers_as_threads_stop_nothing() {
    assert_held_by_nothing(handler_threads()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_spinning_handlers_than_threads_stop_nothing() {
    assert_held_by_nothing(2 * handler_threads() + 1).await;
}

async fn assert_held_by_nothing(spinners: usize) {
    let mut server = given(spinners).start().await;
    let (client, history) = (server.client(), History::new());
    let mut spinning = BTreeSet::new();
    for _ in 0..spinners {
        spinning.insert(history.submit(&client, "spin", &json!({})).await.expect("room").id);
    }
    // No thread is left for another handler.
    eventually("every thread spins", async || (started(&server).len() == handler_threads()).then_some(()))
        .await;
    let beside = history.submit(&client, "echo", &json!({})).await.expect("a submit is answered").id;
    assert_eq!(status(&server, "/livez").await, Some(200));
    assert_eq!(status(&server, "/readyz").await, Some(200));

    let asked = Instant::now();
    server.signal(Signal::TERM);
    assert_pending(&server).await;
    let exit = server.exit().await.expect_code(0);
    let took = asked.elapsed();
    assert!(took < GRACEFUL + CANCEL + CLOSE + BEYOND, "within the budget and a second: {took:?}");
    assert_given_back(&exit.ledger(), &spinning, &started(&server));

    server.start_again_with(|given| given.env(WELL, "1")).await;
    assert_run_again(&server, &history, beside).await;
    server.stop().await.expect_code(0);
}

fn given(spinners: usize) -> steadfast_testkit::harness::Given {
    let seconds = |time: Duration| format!("{}ms", time.as_millis());
    given_server(env!("CARGO_BIN_EXE_steadfast"))
        .acted_by("serve")
        // As many as spin: the one job beside them waits in its queue.
        .concurrency(spinners)
        .flag("--graceful-timeout", seconds(GRACEFUL))
        .flag("--cancel-timeout", seconds(CANCEL))
        .flag("--close-timeout", seconds(CLOSE))
}

fn started(server: &Server) -> BTreeSet<JobId> {
    let starts = std::fs::read_to_string(server.dir().join(STARTS)).unwrap_or_default();
    starts.lines().filter_map(|line| line.parse().ok()).collect()
}

/// The status of an answer, if there is one.
async fn status(server: &Server, path: &str) -> Option<u16> {
    let mut connection = RawConnection::open(server.address()).await.ok()?;
    connection.get(path).await.ok()?;
    connection.answer().await.ok().map(|answer| answer.status)
}

/// The drain has begun and waits for the jobs; probes are answered all the while.
async fn assert_pending(server: &Server) {
    eventually("not ready any more", async || (status(server, "/readyz").await == Some(503)).then_some(()))
        .await;
    assert_eq!(status(server, "/livez").await, Some(200), "draining is alive");
    assert!(server.log().events("drain ledger").is_empty(), "the drain is not over\n{}", server.output());
}

/// Each job is named; whoever had a thread may run until the process has ended.
fn assert_given_back(ledger: &Value, spinning: &BTreeSet<JobId>, started: &BTreeSet<JobId>) {
    let named = |what: &str| -> BTreeSet<JobId> {
        let names = ledger[what].as_array().expect("a list of names").iter();
        names.map(|name| name.as_str().expect("a name").parse().expect("a job's id")).collect()
    };
    let (abandoned, handed_back) = (named("jobs_abandoned"), named("jobs_handed_back"));
    assert!(started.is_subset(&abandoned), "{ledger}");
    assert_eq!(&abandoned | &handed_back, *spinning, "{ledger}");
}

/// Every job ends, and a run that was handed back counts neither as an attempt nor as an interruption.
async fn assert_run_again(server: &Server, history: &History, beside: JobId) {
    let client = server.client();
    until_all_ended(&client).await;
    let jobs = all_jobs(&client).await;
    history.assert_kept(Evidence { jobs: &jobs, ..Evidence::default() }, Expected::Ended);
    assert!(jobs.iter().any(|job| job.id == beside));
    for job in &jobs {
        assert_eq!((job.state, job.attempt, job.interruptions), (JobState::Completed, 1, 0), "{job:?}");
    }
}
