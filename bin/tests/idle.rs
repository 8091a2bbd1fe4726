//! A server with nothing to do: it stops without using up any time, and needs little while it waits.
#![allow(clippy::expect_used, clippy::print_stdout, reason = "a panic is how a test fails")]
#![cfg(target_os = "linux")]

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use steadfast_domain::JobId;
use steadfast_testkit::harness::{Given, Keep, Memory, Server, given_server};
use steadfast_testkit::history::{History, Marked as _};
use steadfast_wire::BatchRequest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Ten times what an idle server takes to end.
const EXIT_WITHIN: Duration = Duration::from_secs(1);
/// Bytes that an idle server has allocated and touched, at most: twice what it has. The pages of the program itself, of
/// which a debug build has many times those of the one that ships, are counted by the benchmark.
const ALLOCATED_MAX: usize = 16 * 1024 * 1024;
/// How often its threads wake up in a second, all together: ten times the most that the benchmark, which
/// looks longer and at a server that has come to rest, allows.
const WAKES_PER_SECOND_MAX: f64 = 100.0;
/// How long they are counted: several times the longest pause of anything that runs at times.
const COUNTED_FOR: Duration = Duration::from_secs(4);
/// Jobs that wait for a time far ahead.
const SCHEDULED: usize = 1_000;

fn given() -> Given {
    given_server(env!("CARGO_BIN_EXE_steadfast"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_server_stops_without_using_up_any_time() {
    for keep in [Keep::Sqlite, Keep::Memory] {
        let mut server = given().store(keep.clone()).start().await;
        let exit = server.stop().await.expect_code(0);
        assert!(exit.took < EXIT_WITHIN, "{keep:?}: {:?}", exit.took);
        assert_no_time_used_up(&exit.ledger());
    }
}

/// Every step has ended by itself, whatever its share was.
fn assert_no_time_used_up(ledger: &Value) {
    let steps = ledger["steps"].as_array().expect("a list of steps");
    let took = |step: &Value| Duration::from_millis(step["took_ms"].as_u64().expect("a number"));
    assert_eq!(steps.len(), 5, "every step was taken: {ledger}");
    assert!(steps.iter().map(took).sum::<Duration>() < EXIT_WITHIN, "{ledger}");
    assert_eq!(ledger["background_tasks_overdue"], json!([]), "{ledger}");
    assert_eq!(ledger["connections_cut"], 0, "{ledger}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_server_rests() {
    let mut server = given().start().await;
    assert_rests(&mut server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_waits_for_far_off_jobs_rests_and_stops_at_once() {
    let mut server = given().start().await;
    let (client, history) = (server.client(), History::new());
    let mark = history.begin(SCHEDULED);
    let mut job = mark.job("echo", &json!({}));
    job.delay_ms = Some(Duration::from_secs(24 * 60 * 60).as_millis() as u64);
    let batch = BatchRequest { jobs: vec![job; SCHEDULED] };
    let first = client.submit_batch(&batch, None).await.expect("room").jobs[0].id;
    let stream = open_stream(&server, first).await;
    assert_rests(&mut server).await;

    let exit = server.stop().await.expect_code(0);
    assert!(exit.took < EXIT_WITHIN, "{:?}", exit.took);
    assert_no_time_used_up(&exit.ledger());
    stream.join_all().await;
}

/// Follows a job's events, and closes when the server does; returns when the first one has come.
async fn open_stream(server: &Server, job: JobId) -> JoinSet<()> {
    let mut stream = TcpStream::connect(server.address()).await.expect("a connection");
    let request = format!("GET /v1/jobs/{job}/events HTTP/1.1\r\nHost: test\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("a request is sent");
    let mut received = Vec::new();
    while !String::from_utf8_lossy(&received).contains("scheduled") {
        assert!(stream.read_buf(&mut received).await.expect("it goes on") > 0, "it has ended");
    }
    let mut reading = JoinSet::new();
    reading.spawn(async move { while stream.read_buf(&mut received).await.is_ok_and(|bytes| bytes > 0) {} });
    reading
}

async fn assert_rests(server: &mut Server) {
    let process = server.process().id();
    let before = voluntary_switches(process);
    tokio::time::sleep(COUNTED_FOR).await;
    let wakes = (voluntary_switches(process) - before) as f64 / COUNTED_FOR.as_secs_f64();
    let allocated = server.memory_bytes(Memory::Own);
    println!("{wakes:.1} wakes a second, {} KiB allocated", allocated / 1024);
    assert!(wakes < WAKES_PER_SECOND_MAX, "{wakes} wakes a second");
    assert!(allocated < ALLOCATED_MAX, "{allocated} bytes allocated");
}

/// How often its threads went to sleep by themselves, all together.
fn voluntary_switches(process: u32) -> u64 {
    let threads = fs::read_dir(format!("/proc/{process}/task")).expect("the process runs");
    // A thread may end between the list and the look.
    let statuses = threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("status")).ok());
    statuses.map(|status| number(&status, "voluntary_ctxt_switches:")).sum()
}

/// The number after a name at the start of a line.
fn number(status: &str, name: &str) -> u64 {
    let value = status.lines().find_map(|line| line.strip_prefix(name)).expect("the kernel tells it");
    value.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
}
