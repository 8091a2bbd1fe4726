use std::net::SocketAddr;

use serde_json::json;
use steadfast_client::SubmitOptions;
use steadfast_testkit::eventually;
use steadfast_testkit::harness::{Memory, given_server};
use steadfast_testkit::history::{History, Marked as _};
use steadfast_wire::SubmitRequest;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::{PROGRAM, ask, http2};

const PAYLOAD_BYTES: usize = 4 << 20;
const STREAMS: u32 = 20;
const CLIENTS: usize = 24;
const ANSWER_MEMORY_BYTES: usize = 256 << 20;
/// What the server may have in all: answers, what it makes them from, and what its allocator keeps of that.
const MEMORY_BYTES_MAX: usize = 3 * ANSWER_MEMORY_BYTES;

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_nobody_reads_take_their_share_and_make_room() {
    assert!(CLIENTS * STREAMS as usize * PAYLOAD_BYTES > 2 * MEMORY_BYTES_MAX, "far more than fit");
    let mut server = given_server(PROGRAM).flag("--payload-max", "8MiB").start().await;
    let (client, address) = (server.client(), server.address());
    let payload = json!({ "url": "http://127.0.0.1:1/", "body": "x".repeat(PAYLOAD_BYTES) });
    let later = SubmitRequest { delay_ms: Some(3_600_000), ..History::new().begin(1).job("http", &payload) };
    let job = client.submit(&later, &SubmitOptions::default()).await.expect("a job").job;
    let path = format!("/v1/jobs/{}", job.id);

    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(asks_and_never_reads(address, &path).await);
    }
    eventually("their memory is full", || async {
        (ask(address, "GET", &path).await.ok()?.status == 503).then_some(())
    })
    .await;
    let memory = server.memory_bytes(Memory::Resident);
    assert!(memory < MEMORY_BYTES_MAX, "{memory}");
    // What is short is told all the same, and what was done.
    assert_eq!(ask(address, "GET", "/v1/queues").await.expect("a whole answer").status, 200);
    History::new().submit(&client, "echo", &json!(1)).await.expect("a submit");
    eventually("there is room again", || async { client.job(job.id).await.ok() }).await;
    server.stop().await.expect_code(0);
}

/// An HTTP/2 client that opens no window for its answers.
async fn asks_and_never_reads(address: SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let requests = (0..STREAMS).map(|number| http2::get(2 * number + 1, path));
    let bytes = [vec![http2::hello(0)], requests.collect()].concat().concat();
    stream.write_all(&bytes).await.expect("the requests are sent");
    stream
}
