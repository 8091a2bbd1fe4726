use std::net::SocketAddr;

use steadfast_testkit::PATIENCE;
use steadfast_testkit::harness::given_server;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::PROGRAM;

const CLIENTS: usize = 200;
/// The close code "service restart" (IANA, WebSocket Close Code Number Registry).
const SERVICE_RESTART: u16 = 1012;
/// First bytes of unfragmented frames (RFC 6455, section 5.2).
const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;

pub(crate) const HANDSHAKE: &str = "GET /v1/ws HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn at_a_stop_each_websocket_gets_its_message_and_its_close() {
    let mut server = given_server(PROGRAM).start().await;
    let opening: JoinSet<TcpStream> = (0..CLIENTS).map(|_| open(server.address())).collect();
    let clients = opening.join_all().await;
    let hearing: JoinSet<()> = clients.into_iter().map(hears_the_end).collect();
    server.stop().await.expect_code(0);
    hearing.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_that_never_closes_delays_no_stop() {
    let mut server = given_server(PROGRAM).start().await;
    let opening: JoinSet<TcpStream> = (0..CLIENTS).map(|_| open(server.address())).collect();
    let clients = opening.join_all().await;
    let exit = server.stop().await.expect_code(0);
    let ledger = exit.ledger();
    let ended = ledger["connections_closed"].as_u64().zip(ledger["connections_cut"].as_u64());
    assert!(ended.is_some_and(|(closed, cut)| closed + cut >= CLIENTS as u64), "{ledger}");
    drop(clients);
}

/// A text as a client sends it: its mask changes nothing.
pub(crate) fn masked(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).expect("a short text");
    assert!(length < 126, "a short text");
    [&[TEXT, 0x80 | length, 0, 0, 0, 0], text.as_bytes()].concat()
}

/// Opens a WebSocket that is told of everything.
async fn open(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.write_all(HANDSHAKE.as_bytes()).await.expect("the handshake is sent");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(PATIENCE, stream.read_u8()).await.expect("an answer").expect("an answer"));
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    stream.write_all(&masked(r#"{"subscribe":"all"}"#)).await.expect("the message is sent");
    let (kind, text) = frame(&mut stream).await;
    assert_eq!((kind, text.as_slice()), (TEXT, &br#"{"type":"subscribed","topic":"all"}"#[..]));
    stream
}

async fn hears_the_end(mut stream: TcpStream) {
    let (kind, text) = frame(&mut stream).await;
    let text = String::from_utf8_lossy(&text);
    assert!(
        kind == TEXT && text.starts_with(r#"{"type":"server_shutdown","reconnect_after_ms":"#),
        "{kind} {text}"
    );
    let (kind, reason) = frame(&mut stream).await;
    assert_eq!((kind, &reason[..2]), (CLOSE, &SERVICE_RESTART.to_be_bytes()[..]));
    // An empty close answers it.
    stream.write_all(&[CLOSE, 0x80, 0, 0, 0, 0]).await.expect("the close is sent");
    let rest = timeout(PATIENCE, stream.read(&mut [0])).await.expect("an end");
    assert_eq!(rest.expect("in order"), 0);
}

/// The next frame: its first byte and what it carries, less than 126 bytes.
async fn frame(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    timeout(PATIENCE, stream.read_exact(&mut head)).await.expect("a frame").expect("a frame");
    assert!(head[1] < 126, "a short frame");
    let mut carried = vec![0; usize::from(head[1])];
    timeout(PATIENCE, stream.read_exact(&mut carried)).await.expect("a whole frame").expect("a whole frame");
    (head[0], carried)
}
