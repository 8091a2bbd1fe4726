use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use steadfast_testkit::harness::{Memory, Server, given_server, may_open};
use steadfast_testkit::history::{History, Marked as _};
use steadfast_wire::{BatchRequest, SubmitRequest};
use tokio::task::JoinSet;

use super::PROGRAM;
use super::listening::Listener;

const STREAMS: usize = 5_000;
/// Opened at once.
const AT_ONCE: usize = 250;
/// The aim is half of it, in a release build.
const STREAM_BYTES_MAX: usize = 40 * 1024;
/// The defaults' sum: graceful, cancel and close.
const BUDGET: Duration = Duration::from_secs(30 + 5 + 5);

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_streams_take_little_and_all_hear_that_the_server_goes() {
    may_open(3 * STREAMS as u64);
    for of_jobs in [true, false] {
        let mut server = given_server(PROGRAM).start().await;
        let paths = match of_jobs {
            true => jobs_paths(&server).await,
            false => vec!["/v1/events".to_owned(); STREAMS],
        };
        // What the first streams make the server take is no cost of a stream.
        drop(open(server.address(), &paths[..AT_ONCE]).await);
        let before = server.memory_bytes(Memory::Resident);
        let streams = open(server.address(), &paths).await;
        let taken = server.memory_bytes(Memory::Resident).saturating_sub(before) / STREAMS;
        println!("{}: {:.1} KiB a stream", if of_jobs { "of jobs" } else { "of all" }, taken as f64 / 1024.0);
        assert!(taken < STREAM_BYTES_MAX, "{taken}");

        let endings: JoinSet<String> = streams.into_iter().map(Listener::rest).collect();
        let exit = server.stop().await.expect_code(0);
        assert!(exit.took < BUDGET, "{:?}", exit.took);
        for ending in endings.join_all().await {
            assert_eq!(ending.matches("event: server_shutdown\nretry: ").count(), 1, "{ending}");
        }
    }
}

/// Opens these streams.
async fn open(address: SocketAddr, paths: &[String]) -> Vec<Listener> {
    let mut streams = Vec::new();
    for paths in paths.chunks(AT_ONCE) {
        let opening: JoinSet<Listener> =
            paths.iter().cloned().map(|path| async move { Listener::open(address, &path).await }).collect();
        streams.extend(opening.join_all().await);
    }
    streams
}

/// The streams of as many jobs, none of which is due soon.
async fn jobs_paths(server: &Server) -> Vec<String> {
    let history = History::new();
    let mut paths = Vec::new();
    for _ in 0..STREAMS / 1_000 {
        let job = || SubmitRequest { delay_ms: Some(3_600_000), ..history.begin(1).job("echo", &json!(1)) };
        let jobs = (0..1_000).map(|_| job()).collect();
        let accepted = server.client().submit_batch(&BatchRequest { jobs }, None).await.expect("room");
        paths.extend(accepted.jobs.iter().map(|job| format!("/v1/jobs/{}/events", job.id)));
    }
    paths
}
