use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use steadfast_testkit::harness::{Memory, given_server};
use steadfast_testkit::history::{History, Marked as _};
use steadfast_testkit::raw::RawConnection;
use steadfast_testkit::within;
use steadfast_wire::{BatchRequest, SubmitRequest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::PROGRAM;
use super::listening::Listener;
use super::websockets::{HANDSHAKE, masked};

/// Of each kind.
const SILENT: usize = 50;
/// A socket that takes in next to nothing.
const RECEIVE_BYTES: u32 = 4 * 1024;
const WAVES: usize = 20;
const JOBS: usize = 1_000;
/// Waves after which the server has what it takes for its work, and what memory may grow by from then on: far less than
/// one wave's events for each silent reader.
const SETTLED: usize = 10;
const GROWTH_BYTES_MAX: usize = 24 << 20;
/// An unread answer's time is 30 s; a busy machine may take some more.
const CUT_WITHIN: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn readers_that_stop_are_cut_and_harm_nobody() {
    let mut server = given_server(PROGRAM).concurrency(8).start().await;
    let (client, address) = (server.client(), server.address());
    let mut silent = Vec::new();
    for _ in 0..SILENT {
        silent.push(stops_reading(address, "GET /v1/events HTTP/1.1\r\nHost: t\r\n\r\n").await);
        let mut socket = stops_reading(address, HANDSHAKE).await;
        socket.write_all(&masked(r#"{"subscribe":"all"}"#)).await.expect("the message is sent");
        silent.push(socket);
    }
    let mut reader = Listener::open(address, "/v1/events").await;

    let history = History::new();
    let mut memory = Vec::new();
    for _ in 0..WAVES {
        let jobs: Vec<SubmitRequest> = (0..JOBS).map(|_| history.begin(1).job("echo", &json!(1))).collect();
        let accepted = client.submit_batch(&BatchRequest { jobs }, None).await.expect("room");
        let mut awaited: BTreeSet<String> = accepted.jobs.iter().map(|job| job.id.to_string()).collect();
        // The one that reads hears of each end, in time.
        while !awaited.is_empty() {
            let event = reader.until("\n\n").await;
            assert!(!event.contains("event: resync"), "the reader is not behind");
            if event.contains(r#""state":"completed""#) {
                awaited.retain(|id| !event.contains(id.as_str()));
            }
        }
        memory.push(server.memory_bytes(Memory::Resident));
    }
    let growth = memory[WAVES - 1].saturating_sub(memory[SETTLED - 1]);
    println!("memory after each wave: {memory:?}");
    assert!(growth < GROWTH_BYTES_MAX, "{memory:?}");

    // The asking one and the reader are left.
    within(CUT_WITHIN, || async { (open_connections(address).await? == 2).then_some(()) })
        .await
        .expect("those that do not read are cut");
    drop(silent);
    server.stop().await.expect_code(0);
    assert!(reader.rest().await.contains("event: server_shutdown"));
}

/// Asks, reads the beginning of the answer, and nothing more.
async fn stops_reading(address: SocketAddr, request: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(RECEIVE_BYTES).expect("a small buffer");
    let mut stream = socket.connect(address).await.expect("a connection");
    stream.write_all(request.as_bytes()).await.expect("the request is sent");
    stream.read_u8().await.expect("an answer begins");
    stream
}

async fn open_connections(address: SocketAddr) -> Option<usize> {
    let mut connection = RawConnection::open(address).await.ok()?;
    connection.get("/metrics").await.ok()?;
    let text = String::from_utf8(connection.answer().await.ok()?.body).ok()?;
    text.lines().find_map(|line| line.strip_prefix("steadfast_http_connections "))?.parse().ok()
}
