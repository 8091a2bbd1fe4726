use std::time::Duration;

use axum::body::Body;
use futures_util::StreamExt;
use http::Request;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use steadfast_lifecycle::Phase;
use steadfast_testkit::{PATIENCE, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_util::task::AbortOnDropHandle;

use crate::faulty_store::Fault;
use crate::harness::{Outside, Standstill, given_outside, id_of, problem, request};
use crate::tls::Secured;

// rustls tells an end that the server has announced (`close_notify`) from one that somebody between could have made:
// reading to the latter is an error.

async fn connect(outside: &Outside) -> TlsStream<TcpStream> {
    over(outside, TcpStream::connect(outside.address).await.unwrap()).await
}

async fn over(outside: &Outside, stream: TcpStream) -> TlsStream<TcpStream> {
    outside.secured().client.connect(outside.address.ip().into(), stream).await.unwrap()
}

fn on_this_thread<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> AbortOnDropHandle<T> {
    AbortOnDropHandle::new(tokio::runtime::Handle::current().spawn(task))
}

fn soon() -> Instant {
    Instant::now() + PATIENCE
}

#[tokio::test]
async fn answers_in_a_drain_end_the_connection_in_the_words_of_tls() {
    let outside = given_outside().secured(Secured::new()).start().await;
    let mut idle = outside.connect().await;
    idle.get("/healthz").await.unwrap();
    assert!(!idle.answer().await.unwrap().closes());
    outside.phase.advance(Phase::Draining);
    idle.get("/healthz").await.unwrap();
    let answer = idle.answer().await.unwrap();
    assert!(answer.status == 200 && answer.closes(), "{answer:?}");
    assert_eq!(idle.until_eof().await.unwrap(), b"");
}

#[tokio::test]
async fn idle_connections_and_those_in_work_end_in_order_when_all_close() {
    let outside = given_outside().secured(Secured::new()).start().await;
    let mut idle = outside.connect().await;
    idle.get("/healthz").await.unwrap();
    idle.answer().await.unwrap();
    outside.store.set(Fault::Holds);
    let mut busy = outside.connect().await;
    busy.post("/v1/jobs", r#"{"kind":"plain"}"#).await.unwrap();
    outside.store.one_is_held().await;
    outside.phase.advance(Phase::Draining);
    let Outside { connections, store, phase: _phase, .. } = outside;
    let closed = on_this_thread(connections.close(soon()));
    assert_eq!(idle.until_eof().await.unwrap(), b"");
    store.release();
    let answer = busy.answer().await.unwrap();
    assert!(answer.status == 202 && answer.closes(), "{answer:?}");
    assert_eq!(busy.until_eof().await.unwrap(), b"");
    drop((idle, busy));
    assert_eq!(closed.await.unwrap().cut, 0);
}

#[tokio::test]
async fn a_handshake_that_has_begun_when_all_close_still_gets_its_answer() {
    let outside = given_outside().secured(Secured::new()).start().await;
    outside.phase.advance(Phase::Handback);
    let client = outside.secured().client.clone();
    // On one thread nobody has accepted them yet.
    let streams: Vec<_> = (0..20).map(|_| std::net::TcpStream::connect(outside.address).unwrap()).collect();
    let (address, deadline) = (outside.address, soon());
    let Outside { connections, phase: _phase, .. } = outside;
    // They have half a second for the handshake, and then a tenth for their request.
    let standstill = Standstill::begin();
    let closed = on_this_thread(connections.close(deadline));
    for stream in streams {
        stream.set_nonblocking(true).unwrap();
        let stream = TcpStream::from_std(stream).unwrap();
        let mut stream = client.connect(address.ip().into(), stream).await.unwrap();
        let submit = [("Content-Type", "application/json")];
        stream.write_all(&request("POST", "/v1/jobs", &submit, br#"{"kind":"plain"}"#)).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("shutting_down"), "{answer}");
    }
    drop(standstill);
    assert_eq!(closed.await.unwrap().cut, 0);
}

#[tokio::test]
async fn a_stalled_handshake_does_not_hold_up_the_close() {
    let given = given_outside().secured(Secured::new());
    let outside = given.config(|config| config.header_timeout = PATIENCE).start().await;
    let mut stalled = TcpStream::connect(outside.address).await.unwrap();
    stalled.write_all(&[22, 3, 1]).await.unwrap();
    eventually("it is there", || async { (outside.connections.open_count() == 1).then_some(()) }).await;
    let began = Instant::now();
    let report = outside.connections.close(began + PATIENCE).await;
    assert_eq!(report.cut, 0);
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
}

#[tokio::test]
async fn http2_clients_under_tls_are_told_to_go_and_lose_no_answer() {
    let outside = given_outside().secured(Secured::new()).start().await;
    let client = outside.secured().authority.client(None, &[b"h2"]);
    let stream = TcpStream::connect(outside.address).await.unwrap();
    let stream = client.connect(outside.address.ip().into(), stream).await.unwrap();
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let connection = on_this_thread(connection);
    outside.store.set(Fault::Holds);
    let submit = Request::post("http://test/v1/jobs").header("content-type", "application/json");
    let answer = on_this_thread(sender.send_request(submit.body(Body::from(r#"{"kind":"plain"}"#)).unwrap()));
    outside.store.one_is_held().await;
    outside.phase.advance(Phase::LameDuck);
    outside.store.release();
    assert_eq!(answer.await.unwrap().unwrap().status(), 202);
    // GOAWAY, the answer, and the end in order: anything else is an error.
    timeout(PATIENCE, connection).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_websocket_under_tls_ends_in_its_words_and_in_those_of_tls() {
    let outside = given_outside().secured(Secured::new()).start().await;
    let request = format!("ws://{}/v1/ws", outside.address).into_client_request().unwrap();
    let (mut socket, _) = client_async(request, connect(&outside).await).await.unwrap();
    outside.phase.advance(Phase::Draining);
    let mut closed = false;
    while let Some(message) = timeout(PATIENCE, socket.next()).await.unwrap() {
        closed |= matches!(message.unwrap(), Message::Close(Some(_)));
    }
    assert!(closed, "a close with its reason");
    let mut rest = Vec::new();
    socket.get_mut().read_to_end(&mut rest).await.expect("the end was announced");
}

#[tokio::test]
async fn an_early_refusal_of_a_large_body_can_be_read_whole_under_tls() {
    let outside = given_outside().secured(Secured::new()).start().await;
    let bytes = 20 * 1024 * 1024;
    let (mut reader, mut writer) = tokio::io::split(connect(&outside).await);
    let head = request("POST", "/v1/jobs", &[("Content-Type", "application/json")], b"");
    let head =
        String::from_utf8(head).unwrap().replace("Content-Length: 0", &format!("Content-Length: {bytes}"));
    let sending = async {
        let _ = writer.write_all(head.as_bytes()).await;
        let _ = writer.write_all(&vec![b'x'; bytes]).await;
    };
    let reading = async {
        let mut received = String::new();
        reader.read_to_string(&mut received).await.unwrap();
        received
    };
    let ((), received) = tokio::join!(sending, reading);
    assert!(received.starts_with("HTTP/1.1 413 "), "{received}");
    assert!(received.contains("\"code\":\"payload_too_large\""), "{received}");
}

#[tokio::test]
async fn a_stalled_body_is_answered_408_and_closed_under_tls() {
    let given = given_outside().secured(Secured::new());
    let outside = given.config(|config| config.body_timeout = Duration::from_millis(300)).start().await;
    let mut slow = outside.connect().await;
    let head =
        "POST /v1/jobs HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{";
    slow.send(head.as_bytes()).await.unwrap();
    problem(&slow.answer().await.unwrap(), "request_timeout");
    assert_eq!(slow.until_eof().await.unwrap(), b"");
}

#[tokio::test]
async fn a_client_that_never_reads_is_cut_under_tls() {
    let large = 6 * 1024 * 1024;
    let given = given_outside().secured(Secured::new()).config(|config| {
        config.payload_bytes_max = large;
        config.stall_timeout = Duration::from_millis(300);
    });
    let outside = given.start().await;
    let body = format!(r#"{{"kind":"plain","payload":"{}"}}"#, "x".repeat(large - 2));
    let id = id_of(&outside.post("/v1/jobs", &body).await);
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 * 1024).unwrap();
    let mut stuck = over(&outside, socket.connect(outside.address).await.unwrap()).await;
    stuck.write_all(&request("GET", &format!("/v1/jobs/{id}"), &[], b"")).await.unwrap();
    eventually("it is cut", || async { (outside.connections.open_count() == 0).then_some(()) }).await;
    let error = stuck.read_to_end(&mut Vec::new()).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}
