//! Floods that HTTP/2 itself makes cheap to send: each is bounded or ends its connection, and nobody else notices.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use steadfast_domain::limits::WAIT_MAX;
use steadfast_testkit::harness::{Server, given_server};
use steadfast_testkit::history::History;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::http2::{frame, get, hello};

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const END_STREAM_AND_HEADERS: u8 = 5;
const WINDOW: u32 = 64 * 1024;
/// The largest frame that is allowed at first (RFC 9113, section 4.2).
const FRAME_BYTES_MAX: usize = 16 * 1024;
/// Bytes of each flood, at least: far more than one connection may make the server keep.
const FLOOD_BYTES: usize = 32 * 1024 * 1024;
/// What the server's memory may grow by in all of them.
const GROWTH_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// For how long a client tries to go on.
const FLOOD_TIME: Duration = Duration::from_millis(700);

#[tokio::test(flavor = "multi_thread")]
async fn what_http2_makes_cheap_to_send_costs_the_server_little() {
    let mut server = given_server(env!("CARGO_BIN_EXE_steadfast")).start().await;
    assert_serves(&server).await;
    let before = own_memory(&mut server);
    let address = server.address();

    assert!(is_cut_off(address, &reset_streams()).await, "streams opened and reset");
    assert!(is_cut_off(address, &endless_head()).await, "a head that never ends");
    // Neither is an error. What the server answers is not read, so it reads no more in the end.
    is_cut_off(address, &frame(SETTINGS, 0, 0, &[]).repeat(1_000)).await;
    is_cut_off(address, &frame(PING, 0, 0, &[7; 8]).repeat(1_000)).await;
    expanding_heads(address).await;

    let after = own_memory(&mut server);
    assert!(after.saturating_sub(before) < GROWTH_BYTES_MAX, "{before} bytes became {after}");
    assert_serves(&server).await;
    let exit = server.stop().await.expect_code(0);
    assert!(!exit.stderr.text().contains("panicked"), "{}", exit.output());
}

/// Requests that are withdrawn at once: each leaves its work to the server and its place to the next (CVE-2023-44487).
fn reset_streams() -> Vec<u8> {
    const CANCEL: [u8; 4] = [0, 0, 0, 8];
    let request = |stream| [get(stream, "/v1/jobs"), frame(RST_STREAM, 0, stream, &CANCEL)].concat();
    (1..100_001).step_by(2).flat_map(request).collect()
}

/// A head in ever more frames, none of them the last (CVE-2024-27316).
fn endless_head() -> Vec<u8> {
    let field = [&[0, 1, b'x', 126][..], &[b'y'; 126]].concat();
    let more = frame(CONTINUATION, 0, 1, &field);
    [frame(HEADERS, 0, 1, &[0x82, 0x86]), more.repeat(10_000)].concat()
}

/// Heads of 16 KiB that each name one remembered field of 4,000 bytes 12,000 times (RFC 7541, section 7.3).
async fn expanding_heads(address: SocketAddr) {
    // A literal with a name of its own, to be remembered (section 6.2.1): it is number 62 from then on.
    let remembered = [&[0x40, 1, b'x', 0x7f, 0xa1, 0x1e][..], &[b'v'; 4_000]].concat();
    let bomb = [&[0x82, 0x86, 0x84][..], &remembered, &[0xbe; 12_000]].concat();
    assert!(bomb.len() <= FRAME_BYTES_MAX);
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.write_all(&hello(WINDOW)).await.expect("the preface is sent");
    for number in (1..200).step_by(2) {
        if stream.write_all(&frame(HEADERS, END_STREAM_AND_HEADERS, number, &bomb)).await.is_err() {
            break;
        }
    }
    // Whatever it says to that.
    let _ = timeout(FLOOD_TIME, stream.read_to_end(&mut Vec::new())).await;
}

/// Sends this, again if it is short, and reads nothing meanwhile; whether the server has ended the connection then.
async fn is_cut_off(address: SocketAddr, frames: &[u8]) -> bool {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.write_all(&hello(WINDOW)).await.expect("the preface is sent");
    let flood = async {
        for _ in 0..FLOOD_BYTES.div_ceil(frames.len()) {
            stream.write_all(frames).await?;
        }
        std::io::Result::Ok(())
    };
    // A server that has ended the connection reads on for a while, and throws away what comes.
    let _ = timeout(FLOOD_TIME, flood).await;
    timeout(FLOOD_TIME, stream.read_to_end(&mut Vec::new())).await.is_ok()
}

async fn assert_serves(server: &Server) {
    let (client, history) = (server.client(), History::new());
    client.ready().await.expect("it is ready");
    let job = history.submit(&client, "echo", &json!("good")).await.expect("a submit is accepted");
    client.job_when_ended(job.id, WAIT_MAX).await.expect("its job runs");
}

/// Bytes that the server has allocated and touched.
fn own_memory(server: &mut Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.process().id())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("the kernel tells it");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib * 1024
}
