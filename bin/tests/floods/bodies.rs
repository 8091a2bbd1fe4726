use std::net::SocketAddr;

use serde_json::json;
use steadfast_testkit::PATIENCE;
use steadfast_testkit::harness::{Memory, given_server};
use steadfast_testkit::history::History;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::PROGRAM;

/// The largest body there is, and what those of submits may take together.
const BODY_BYTES: usize = 8 << 20;
const BODY_MEMORY_BYTES: usize = 192 << 20;
/// Three times as many as fit.
const CLIENTS: usize = 3 * BODY_MEMORY_BYTES / BODY_BYTES;
/// As many as may stay as long as they like: their bodies, growing, take half of the memory.
const STAYING: usize = BODY_MEMORY_BYTES / (2 * BODY_BYTES) / 2;
/// What the server may have in all: bodies, what its allocator keeps of them, and everything else.
const MEMORY_BYTES_MAX: usize = 2 * BODY_MEMORY_BYTES;

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_fill_the_memory_and_never_end_make_room() {
    let mut server = given_server(PROGRAM).flag("--body-timeout", "1h").start().await;
    let mut flood = JoinSet::new();
    for _ in 0..CLIENTS {
        flood.spawn(all_but_a_byte(server.address()));
    }
    for _ in 0..CLIENTS - STAYING {
        let answered = timeout(PATIENCE, flood.join_next()).await.expect("an answer in time");
        let status = answered.expect("a client").expect("it does not panic");
        // Too slow, or too much for the memory.
        assert!(matches!(status, 408 | 503), "{status}");
        let memory = server.memory_bytes(Memory::Resident);
        assert!(memory < MEMORY_BYTES_MAX, "{memory}");
    }
    History::new().submit(&server.client(), "echo", &json!(1)).await.expect("there is room");
    server.stop().await.expect_code(0);
}

/// Sends a batch but for its last byte, and waits for the answer.
async fn all_but_a_byte(address: SocketAddr) -> u16 {
    let stream = TcpStream::connect(address).await.expect("a connection");
    let (mut reader, mut writer) = stream.into_split();
    let head = format!(
        "POST /v1/jobs/batch HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n\
         Content-Length: {BODY_BYTES}\r\n\r\n"
    );
    let sending = async {
        // It may be refused in the middle.
        let _ = writer.write_all(head.as_bytes()).await;
        let _ = writer.write_all(&vec![b' '; BODY_BYTES - 1]).await;
    };
    let mut begin = [0; "HTTP/1.1 503".len()];
    let ((), read) = tokio::join!(sending, reader.read_exact(&mut begin));
    read.expect("an answer");
    let status = std::str::from_utf8(&begin).expect("a status line").rsplit(' ').next();
    status.and_then(|status| status.parse().ok()).expect("a status")
}
