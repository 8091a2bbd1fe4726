//! A disk that runs full, under the server's own jobs and under another program's file: nothing accepted is
//! lost, new jobs are refused, what was accepted ends as far as there is room, and room is enough to go on.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use steadfast_client::Error;
use steadfast_domain::JobState;
use steadfast_testkit::eventually;
use steadfast_testkit::gate::Gate;
use steadfast_testkit::harness::{Server, given_server};
use steadfast_testkit::history::{Evidence, Expected, History, all_jobs, until_all_ended};
use steadfast_wire::{ErrorCode, JobDocument, Outcome};

use crate::mounts::Disk;

const PROGRAM: &str = env!("CARGO_BIN_EXE_steadfast");
/// The reserve, and about 20 MiB for jobs.
const SMALL: &str = "56m";
const LARGE: &str = "size=256m";
/// Jobs at once, all of them held at the gate until it opens.
const CONCURRENCY: usize = 4;
/// Jobs that go to the gate.
const DELIVERIES: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_ends_on_a_disk_that_is_full() {
    let Some(disk) = Disk::of_its_own("full_disk::what_was_accepted_ends_on_a_disk_that_is_full", SMALL)
    else {
        return;
    };
    let mut full = Full::begin(&disk).await;
    let client = full.server.client();
    client.ready().await.expect("a full disk does not fail readiness");
    let first = full.history.accepted()[0];
    assert_eq!(client.job(first).await.expect("reads go on").state, JobState::Processing);

    full.gate.open();
    until_all_ended(&client).await;
    full.assert_kept().await;
    assert!(!full.reserve().exists(), "the results took the reserve");
    assert_store_full(&full.submit().await.expect_err("the disk is full"));
    client.ready().await.expect("still ready");

    disk.remount(LARGE);
    full.until_accepted().await;
    assert!(full.reserve().exists(), "the room is taken back");
    until_all_ended(&client).await;
    full.assert_kept().await;
    full.server.stop().await.expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_starts_on_a_full_disk() {
    let Some(disk) = Disk::of_its_own("full_disk::a_killed_server_starts_on_a_full_disk", SMALL) else {
        return;
    };
    let mut full = Full::begin(&disk).await;
    full.server.kill().await;
    full.gate.until_held(0).await;
    full.server.start_again().await;
    assert_store_full(&full.submit().await.expect_err("the disk is full"));

    full.gate.open();
    until_all_ended(&full.server.client()).await;
    full.assert_kept().await;
    disk.remount(LARGE);
    full.until_accepted().await;
    until_all_ended(&full.server.client()).await;
    full.assert_kept().await;
    full.server.stop().await.expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_on_a_disk_without_any_room_is_on_time_and_true() {
    let name = "full_disk::a_stop_on_a_disk_without_any_room_is_on_time_and_true";
    let Some(disk) = Disk::of_its_own(name, SMALL) else { return };
    let mut full = Full::begin(&disk).await;
    // Somebody takes even the reserve. The server may be giving it to its log just now: what comes free later is
    // taken too.
    let _ = std::fs::remove_file(full.reserve());
    let filling = disk.keep_full();
    full.gate.open();
    full.server.until_logged("attempts cannot be settled; it is tried again until they can").await;

    let exit = full.server.stop().await;
    assert!(exit.took < Duration::from_secs(40), "ten times its budget: {:?}", exit.took);
    let ledger = exit.ledger();
    let unsettled = ledger["jobs_unsettled"].as_array().map_or(0, Vec::len);
    assert!(unsettled == 0 || exit.code == Some(75), "{ledger}\n{}", exit.output());
    assert!(matches!(exit.code, Some(0 | 75)), "{}", exit.output());

    // The log's index is made anew, so that a start needs room that is not there.
    let _ = std::fs::remove_file(full.beside("-shm"));
    let (database, log) = (full.server.database(), full.beside("-wal"));
    let before = (std::fs::read(&database).expect("the database"), std::fs::read(&log).unwrap_or_default());
    full.server.launch_again_with(|given| given);
    let refused = full.server.exit().await.expect_code(1);
    let expected = format!("the disk of {} is full: make room, then start again", database.display());
    assert!(refused.stderr.text().contains(&expected), "{}", refused.output());
    assert!(
        before == (std::fs::read(&database).expect("the database"), std::fs::read(&log).unwrap_or_default())
    );

    drop(filling);
    disk.remount(LARGE);
    full.server.start_again().await;
    until_all_ended(&full.server.client()).await;
    let interrupted =
        all_jobs(&full.server.client()).await.iter().filter(|job| job.interruptions > 0).count();
    assert_eq!(interrupted, unsettled, "what the ledger names as not settled, and nothing else: {ledger}");
    full.until_accepted().await;
    until_all_ended(&full.server.client()).await;
    full.server.stop().await.expect_code(0);
}

/// A server on a disk that is full, with jobs held at the gate and others behind them.
struct Full {
    gate: Gate,
    server: Server,
    history: History,
}

impl Full {
    async fn begin(disk: &Disk) -> Self {
        let given = given_server(PROGRAM)
            .concurrency(CONCURRENCY)
            .flag("--graceful-timeout", "1s")
            .flag("--cancel-timeout", "1s")
            .flag("--close-timeout", "2s");
        let (gate, server, history) = (Gate::closed().await, given.start().await, History::new());
        assert!(server.dir().starts_with(disk.path()), "the server lies on the small disk");
        for _ in 0..DELIVERIES {
            let accepted = history.submit(&server.client(), "http", &gate.payload()).await;
            accepted.expect("there is room");
        }
        gate.until_held(CONCURRENCY).await;
        let full = Self { gate, server, history };
        let refused = loop {
            if let Err(error) = full.submit().await {
                break error;
            }
        };
        assert_store_full(&refused);
        full
    }

    /// Submits a job whose result needs as much room as its payload.
    async fn submit(&self) -> Result<JobDocument, Error> {
        self.history.submit(&self.server.client(), "echo", &Value::from("x".repeat(60_000))).await
    }

    async fn until_accepted(&self) {
        eventually("a submit is accepted", async || self.submit().await.ok()).await;
    }

    async fn assert_kept(&self) {
        let (jobs, deliveries) = (all_jobs(&self.server.client()).await, self.gate.deliveries());
        let evidence = Evidence { jobs: &jobs, deliveries: Some(&deliveries), handed_back: &[] };
        self.history.assert_kept(evidence, Expected::Ended);
    }

    fn reserve(&self) -> PathBuf {
        self.beside(".reserve")
    }

    /// The file beside the database whose name ends so.
    fn beside(&self, end: &str) -> PathBuf {
        let mut name = self.server.database().into_os_string();
        name.push(end);
        name.into()
    }
}

fn assert_store_full(error: &Error) {
    assert_eq!((error.code(), error.outcome()), (Some(ErrorCode::StoreFull), Outcome::None), "{error}");
    let problem = error.problem().expect("a problem document");
    assert_eq!((problem.status, problem.retryable), (503, true), "{error}");
    assert!(error.retry_after().is_some(), "a time to come back: {error}");
}
