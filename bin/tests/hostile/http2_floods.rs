//! Floods that HTTP/2 itself makes cheap to send: each is bounded or ends its connection, and nobody else notices.

use std::future::pending;
use std::iter;
use std::net::SocketAddr;
use std::time::Duration;

use steadfast_testkit::PATIENCE;
use steadfast_testkit::harness::{Memory, given_server};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::http2::{frame, get, hello};

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM_AND_HEADERS: u8 = 5;
/// What a server says to a peer that behaves as if to harm it (section 7).
const ENHANCE_YOUR_CALM: u32 = 11;
const WINDOW: u32 = 64 * 1024;
/// The largest frame that is allowed at first (RFC 9113, section 4.2).
const FRAME_BYTES_MAX: usize = 16 * 1024;
/// Bytes of each flood, at least: far more than one connection may make the server keep.
const FLOOD_BYTES: usize = 32 * 1024 * 1024;
const FRAMES_AT_ONCE: usize = 100;
/// What the server's memory may grow by in all of them.
const GROWTH_BYTES_MAX: usize = 16 * 1024 * 1024;
/// For how long a client tries to go on that nothing is expected of.
const FLOOD_TIME: Duration = Duration::from_millis(700);

#[tokio::test(flavor = "multi_thread")]
async fn what_http2_makes_cheap_to_send_costs_the_server_little() {
    let mut server = given_server(env!("CARGO_BIN_EXE_steadfast")).start().await;
    server.assert_serves().await;
    let before = server.memory_bytes(Memory::Own);
    let address = server.address();

    let goodbye = goodbye_to(address, reset_streams()).await;
    assert_eq!(goodbye, Some(ENHANCE_YOUR_CALM), "streams opened and reset");
    let goodbye = goodbye_to(address, endless_head()).await;
    assert_eq!(goodbye, Some(ENHANCE_YOUR_CALM), "a head that never ends");
    // Neither is an error. What the server answers is not read, so it reads no more in the end.
    send_unread(address, &frame(SETTINGS, 0, 0, &[]).repeat(1_000)).await;
    send_unread(address, &frame(PING, 0, 0, &[7; 8]).repeat(1_000)).await;
    expanding_heads(address).await;

    let after = server.memory_bytes(Memory::Own);
    assert!(after.saturating_sub(before) < GROWTH_BYTES_MAX, "{before} bytes became {after}");
    server.assert_serves().await;
    let exit = server.stop().await.expect_code(0);
    assert!(!exit.stderr.text().contains("panicked"), "{}", exit.output());
}

/// Requests that are withdrawn at once: each leaves its work to the server and its place to the next (CVE-2023-44487).
fn reset_streams() -> impl Iterator<Item = Vec<u8>> {
    const CANCEL: [u8; 4] = [0, 0, 0, 8];
    let request = |stream| [get(stream, "/v1/jobs"), frame(RST_STREAM, 0, stream, &CANCEL)].concat();
    (1..).step_by(2).map(request)
}

/// A head in ever more frames, none of them the last (CVE-2024-27316).
fn endless_head() -> impl Iterator<Item = Vec<u8>> {
    let field = [&[0, 1, b'x', 126][..], &[b'y'; 126]].concat();
    let more = frame(CONTINUATION, 0, 1, &field);
    iter::once(frame(HEADERS, 0, 1, &[0x82, 0x86])).chain(iter::repeat(more))
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

/// Sends these frames until the server says goodbye, or all the bytes of a flood; why it does, by its error code.
async fn goodbye_to(address: SocketAddr, mut frames: impl Iterator<Item = Vec<u8>>) -> Option<u32> {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.write_all(&hello(WINDOW)).await.expect("the preface is sent");
    let (mut reader, mut writer) = stream.split();
    let flood = async {
        let mut sent = 0;
        while sent < FLOOD_BYTES {
            let bytes: Vec<u8> = frames.by_ref().take(FRAMES_AT_ONCE).flatten().collect();
            // A server that has said goodbye may have closed, too.
            let Ok(()) = writer.write_all(&bytes).await else { break };
            sent += bytes.len();
        }
        pending::<Option<u32>>().await
    };
    let answered = async { goodbye_in(&mut reader).await };
    let goodbye = async {
        tokio::select! {
            code = answered => code,
            never = flood => never,
        }
    };
    timeout(PATIENCE, goodbye).await.expect("the connection ends")
}

/// The error code of the frame GOAWAY (RFC 9113, section 6.8); `None` when the connection ends without.
async fn goodbye_in(reader: &mut (impl AsyncRead + Unpin)) -> Option<u32> {
    loop {
        let mut head = [0; 9];
        reader.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        reader.read_exact(&mut payload).await.ok()?;
        if head[3] == GOAWAY {
            // Behind the number of the last stream.
            return Some(u32::from_be_bytes(payload[4..8].try_into().expect("four bytes")));
        }
    }
}

/// Sends this again and again, and reads nothing meanwhile.
async fn send_unread(address: SocketAddr, frames: &[u8]) {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.write_all(&hello(WINDOW)).await.expect("the preface is sent");
    let flood = async {
        for _ in 0..FLOOD_BYTES.div_ceil(frames.len()) {
            stream.write_all(frames).await?;
        }
        std::io::Result::Ok(())
    };
    // Whether it is all taken, cut off, or left in the buffers.
    let _ = timeout(FLOOD_TIME, flood).await;
}
