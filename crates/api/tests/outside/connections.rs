use std::io::Write;
use std::time::Duration;

use axum::body::Body;
use futures_util::future::join_all;
use http::Request;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use steadfast_testkit::eventually;
use steadfast_testkit::raw::RawConnection;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UnixStream};

use crate::harness::{Outside, Standstill, given_outside, problem, request};

/// For who does nothing in it.
const SHORT: Duration = Duration::from_millis(300);
/// Short enough for a test, long enough for a request or an answer to get through on a busy machine.
const ENOUGH: Duration = Duration::from_secs(3);

/// A client that takes in a few kilobytes and then reads no more.
async fn never_reads(outside: &Outside, request: &[u8]) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 * 1024).unwrap();
    let mut stream = socket.connect(outside.address).await.unwrap();
    stream.write_all(request).await.unwrap();
    stream
}

/// A server that has a job of 16 MiB, more than socket buffers hold, and the path to it.
async fn with_a_large_job(stall_timeout: Duration) -> (Outside, String) {
    let large = 16 * 1024 * 1024;
    let given = given_outside().config(|config| {
        config.payload_bytes_max = large;
        config.stall_timeout = stall_timeout;
    });
    let outside = given.start().await;
    let body = format!(r#"{{"kind":"plain","payload":"{}"}}"#, "x".repeat(large - 2));
    let id = crate::harness::id_of(&outside.post("/v1/jobs", &body).await);
    (outside, format!("/v1/jobs/{id}"))
}

#[tokio::test]
async fn silent_and_half_sent_heads_are_closed_in_time() {
    let outside = given_outside().config(|config| config.header_timeout = ENOUGH).start().await;
    let heads = ["", "G", "PRI * HT", "PRI * HTTP/2.0\r\n\r\nSM\r", "GET /healthz HTTP/1.1\r\nHost: t\r\nX-"];
    let silent = heads.map(async |sent| {
        let mut connection = outside.connect().await;
        connection.send(sent.as_bytes()).await.unwrap();
        assert_eq!(connection.until_eof().await.unwrap(), b"", "{sent}");
    });
    // An idle connection after its answer, too.
    let idle = async {
        let mut idle = outside.connect().await;
        idle.get("/healthz").await.unwrap();
        assert_eq!(idle.answer().await.unwrap().status, 200);
        assert_eq!(idle.until_eof().await.unwrap(), b"");
    };
    tokio::join!(join_all(silent), idle);
    outside.metric_is("steadfast_http_connections", "1").await;
}

/// The server is late, not the client: its request came in time, and other events keep the runtime from hearing of it
/// until the time is over.
#[test]
fn a_request_that_came_in_time_is_answered_however_late_the_server_hears_of_it() {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().max_io_events_per_tick(1).build().unwrap();
    runtime.block_on(async {
        let outside = given_outside().config(|config| config.header_timeout = SHORT).start().await;
        // Nothing here waits, so nothing but `advance` moves the clock.
        tokio::time::pause();
        let mut client = std::net::TcpStream::connect(outside.address).unwrap();
        while outside.connections.open_count() == 0 {
            tokio::task::yield_now().await;
        }
        let pairs: Vec<_> = (0..20).map(|_| UnixStream::pair().unwrap()).collect();
        // All are heard of as they are now.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        for (ours, _) in &pairs {
            ours.try_write(b"an event").unwrap();
        }
        client.write_all(&request("GET", "/livez", &[], b"")).unwrap();
        tokio::time::advance(2 * SHORT).await;
        tokio::time::resume();
        client.set_nonblocking(true).unwrap();
        let mut client = RawConnection::from(TcpStream::from_std(client).unwrap());
        assert_eq!(client.answer().await.unwrap().status, 200);
    });
}

#[tokio::test]
async fn a_stalled_body_is_answered_408_and_closed() {
    let outside = given_outside().config(|config| config.body_timeout = SHORT).start().await;
    let mut slow = outside.connect().await;
    slow.send(
        b"POST /v1/jobs HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{",
    )
    .await
    .unwrap();
    let answer = slow.answer().await.unwrap();
    assert_eq!(problem(&answer, "request_timeout")["outcome"], "none");
    assert!(answer.closes());
    assert_eq!(slow.until_eof().await.unwrap(), b"");
}

#[tokio::test]
async fn an_early_refusal_of_a_large_body_can_be_read_whole() {
    let outside = given_outside().start().await;
    let bytes = 20 * 1024 * 1024;
    let stream = TcpStream::connect(outside.address).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let head = format!(
        "POST /v1/jobs HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nContent-Length: {bytes}\r\n\r\n"
    );
    // The client sends on until it is cut off, as many do, and only listens beside.
    let sending = async {
        let _ = writer.write_all(head.as_bytes()).await;
        let _ = writer.write_all(&vec![b'x'; bytes]).await;
    };
    let reading = async {
        let mut received = Vec::new();
        while let Ok(1..) = reader.read_buf(&mut received).await {}
        String::from_utf8(received).unwrap()
    };
    let ((), received) = tokio::join!(sending, reading);
    let (head, body) = received.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 413 "), "{head}");
    assert!(head.to_ascii_lowercase().contains("connection: close"), "{head}");
    let problem: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(problem["code"], "payload_too_large");
}

#[tokio::test]
async fn a_client_that_still_sends_after_its_answer_is_not_reset() {
    let outside = given_outside().start().await;
    let mut client = outside.connect().await;
    let head =
        "POST /v1/jobs HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nContent-Length: 20000000\r\n";
    client.send(format!("{head}\r\n").as_bytes()).await.unwrap();
    problem(&client.answer().await.unwrap(), "payload_too_large");
    // Only for who is silent for long it goes.
    let _standstill = Standstill::begin();
    // The server has said that nothing more comes, and goes on listening for a while.
    assert_eq!(client.until_eof().await.unwrap(), b"");
    for _ in 0..10 {
        client.send(&[b'x'; 1024]).await.unwrap();
    }
}

#[tokio::test]
async fn a_client_that_waits_for_100_continue_is_refused_before_it_sends() {
    let outside = given_outside().start().await;
    let answer = outside
        .send(b"POST /v1/jobs HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n\
            Content-Length: 20000000\r\n\r\n")
        .await;
    problem(&answer, "payload_too_large");
}

#[tokio::test]
async fn a_client_that_never_reads_is_cut_while_the_server_is_ready() {
    let (outside, path) = with_a_large_job(SHORT).await;
    let mut stuck = never_reads(&outside, &request("GET", &path, &[], b"")).await;
    // The asking connection and the stuck one, then only the asking one.
    outside.metric_is("steadfast_http_connections", "1").await;
    let mut received = Vec::new();
    let error = loop {
        match stuck.read_buf(&mut received).await {
            Ok(0) => panic!("the end came in order"),
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn an_http2_client_that_opens_no_window_is_cut_while_the_server_is_ready() {
    let outside = given_outside().config(|config| config.stall_timeout = ENOUGH).start().await;
    let without_windows = [0, 1].map(async |window| {
        let io = TokioIo::new(TcpStream::connect(outside.address).await.unwrap());
        let mut client = http2::Builder::new(TokioExecutor::new());
        client.initial_stream_window_size(window);
        let (mut sender, connection) = client.handshake(io).await.unwrap();
        let connection = tokio::runtime::Handle::current().spawn(connection);
        let list = Request::get("http://test/v1/jobs").body(Body::empty()).unwrap();
        let never_read = sender.send_request(list).await.unwrap();
        assert!(never_read.headers().contains_key("content-length"));
        connection.await.unwrap().expect_err("the end came in order");
        drop(never_read);
    });
    join_all(without_windows).await;
}

#[tokio::test]
async fn beyond_the_cap_only_the_reserve_serves_and_only_what_matters() {
    let outside = given_outside().config(|config| config.connections_max = 1).start().await;
    let mut first = outside.connect().await;
    first.get("/v1/jobs").await.unwrap();
    assert_eq!(first.answer().await.unwrap().status, 200);

    let answer = outside.post("/v1/jobs", r#"{"kind":"plain"}"#).await;
    assert_eq!(problem(&answer, "overloaded")["outcome"], "none");
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(outside.get(path).await.status, 200, "{path}");
    }
    assert_eq!(outside.post("/v1/drain", "").await.status, 202);
    // A silent one in the reserve makes room soon.
    assert_eq!(outside.connect().await.until_eof().await.unwrap(), b"");

    first.get("/v1/jobs").await.unwrap();
    assert_eq!(first.answer().await.unwrap().status, 200);
    drop(first);
    eventually("there is room again", || async {
        (outside.get("/v1/jobs").await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_is_not_http_gets_a_bare_answer_and_a_close() {
    let outside = given_outside().start().await;
    let long_head = format!("GET / HTTP/1.1\r\nHost: t\r\nX: {}\r\n\r\n", "x".repeat(100 * 1024));
    for (bytes, status) in [("SSH-2.0-OpenSSH\r\n\r\n", "400"), (long_head.as_str(), "431")] {
        let mut connection = outside.connect().await;
        connection.send(bytes.as_bytes()).await.unwrap();
        let answer = String::from_utf8(connection.until_eof().await.unwrap()).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
    outside.submitted().await;
}
