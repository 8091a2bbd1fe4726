//! The proxy of the tests: what it passes, holds back and cuts.
#![allow(clippy::expect_used, reason = "a panic is how a test fails")]

use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::time::Duration;

use steadfast_testkit::proxy::{Cut, Proxy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

/// How long something is watched that must not happen.
const A_WHILE: Duration = Duration::from_millis(100);

/// A client and a server with the proxy between them, connected.
struct Pair {
    proxy: Proxy,
    client: TcpStream,
    server: TcpStream,
    listener: TcpListener,
}

impl Pair {
    async fn connected() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let proxy = Proxy::to(listener.local_addr().expect("it is bound")).await;
        let client = TcpStream::connect(proxy.address()).await.expect("the proxy accepts");
        let (server, _) = listener.accept().await.expect("the proxy connects");
        let mut pair = Self { proxy, client, server, listener };
        pair.client.write_all(b"hello").await.expect("sent");
        pair.server_gets(b"hello").await;
        pair
    }

    async fn server_gets(&mut self, expected: &[u8]) {
        let mut got = vec![0; expected.len()];
        self.server.read_exact(&mut got).await.expect("received");
        assert_eq!(got, expected);
    }

    async fn client_gets(&mut self, expected: &[u8]) {
        let mut got = vec![0; expected.len()];
        self.client.read_exact(&mut got).await.expect("received");
        assert_eq!(got, expected);
    }
}

#[tokio::test]
async fn it_passes_both_directions_and_their_ends() {
    let mut pair = Pair::connected().await;
    pair.client.shutdown().await.expect("half closed");
    assert_eq!(pair.server.read(&mut [0]).await.expect("an end in order"), 0);
    pair.server.write_all(b"still here").await.expect("sent");
    pair.client_gets(b"still here").await;
}

#[tokio::test]
async fn a_stall_moves_nothing_and_closes_nothing() {
    let mut pair = Pair::connected().await;
    pair.proxy.stall();
    pair.client.write_all(b"one").await.expect("the kernel takes it");
    pair.server.write_all(b"two").await.expect("the kernel takes it");
    let mut late = TcpStream::connect(pair.proxy.address()).await.expect("it still accepts");
    late.write_all(b"three").await.expect("the kernel takes it");
    assert!(timeout(A_WHILE, pair.server.read(&mut [0])).await.is_err(), "nothing gets there");
    assert!(timeout(A_WHILE, pair.client.read(&mut [0])).await.is_err(), "nor back");
    assert!(timeout(A_WHILE, pair.listener.accept()).await.is_err(), "nor a new connection");

    pair.proxy.pass();
    pair.server_gets(b"one").await;
    pair.client_gets(b"two").await;
    let (mut second, _) = pair.listener.accept().await.expect("the new connection goes on");
    let mut got = [0; 5];
    second.read_exact(&mut got).await.expect("received");
    assert_eq!(&got, b"three");
}

#[tokio::test]
async fn a_delay_holds_each_piece_back() {
    let mut pair = Pair::connected().await;
    pair.proxy.delay(A_WHILE);
    let sent = Instant::now();
    pair.client.write_all(b"slow").await.expect("sent");
    pair.server_gets(b"slow").await;
    assert!(sent.elapsed() >= A_WHILE, "after {:?}", sent.elapsed());
}

#[tokio::test]
async fn a_cut_ends_what_is_open_and_nothing_else() {
    let mut reset = Pair::connected().await;
    reset.proxy.cut(Cut::Reset);
    for stream in [&mut reset.client, &mut reset.server] {
        let error = stream.read(&mut [0]).await.expect_err("a reset");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    TcpStream::connect(reset.proxy.address()).await.expect("new ones go on");
    reset.listener.accept().await.expect("to the server");

    let mut ended = Pair::connected().await;
    ended.proxy.cut(Cut::End);
    for stream in [&mut ended.client, &mut ended.server] {
        assert_eq!(stream.read(&mut [0]).await.expect("an end in order"), 0);
    }
}

#[tokio::test]
async fn cut_off_are_old_and_new_connections_and_nothing_held_back_passes() {
    let mut pair = Pair::connected().await;
    pair.proxy.stall();
    pair.client.write_all(b"held back").await.expect("sent");
    pair.proxy.cut_off(Cut::Reset);
    for stream in [&mut pair.client, &mut pair.server] {
        assert_eq!(stream.read(&mut [0]).await.expect_err("a reset").kind(), ErrorKind::ConnectionReset);
    }
    let ended = match TcpStream::connect(pair.proxy.address()).await {
        Ok(mut late) => late.read(&mut [0]).await,
        Err(error) => Err(error),
    };
    assert_eq!(ended.expect_err("a reset").kind(), ErrorKind::ConnectionReset);
}
