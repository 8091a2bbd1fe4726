use std::io::{Read, Write};
use std::net::{TcpListener as BlockingListener, TcpStream as BlockingStream};
use std::time::Duration;

use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use steadfast_api::{ConnectionReport, Listener};
use steadfast_lifecycle::Phase;
use steadfast_testkit::PATIENCE;
use steadfast_testkit::raw::RawConnection;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::faulty_store::Fault;
use crate::harness::{Outside, given_outside, request};

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn report(closed: usize, cut: usize) -> ConnectionReport {
    ConnectionReport { closed, cut }
}

/// Closes all connections in a task of its own.
fn closing(outside: Outside, deadline: Instant) -> (AbortOnDropHandle<ConnectionReport>, Kept) {
    let Outside { connections, store, phase, .. } = outside;
    let task = tokio::runtime::Handle::current().spawn(connections.close(deadline));
    (AbortOnDropHandle::new(task), Kept { store, _phase: phase })
}

struct Kept {
    store: std::sync::Arc<crate::faulty_store::FaultyStore>,
    _phase: steadfast_lifecycle::PhaseSender,
}

/// Everything the server sends until it closes in order.
fn all_of(mut client: BlockingStream) -> String {
    let mut received = String::new();
    client.read_to_string(&mut received).unwrap();
    received
}

fn submit() -> Vec<u8> {
    request("POST", "/v1/jobs", &[("Content-Type", "application/json")], br#"{"kind":"plain"}"#)
}

// On one thread nothing of the server runs between the client's blocking calls and the close: the
// connections are in the kernel's accept queue, or their requests in its buffers, and nobody has looked yet.

#[tokio::test]
async fn what_waits_in_the_accept_queue_is_answered_before_the_listener_closes() {
    let outside = given_outside().start().await;
    let address = outside.address;
    outside.phase.advance(Phase::Handback);
    let clients: Vec<_> = (0..20)
        .map(|_| {
            let mut client = BlockingStream::connect(address).unwrap();
            client.write_all(&submit()).unwrap();
            client
        })
        .collect();
    let (closed, _kept) = closing(outside, soon());
    let answers = tokio::task::spawn_blocking(|| clients.into_iter().map(all_of).collect::<Vec<_>>());
    for answer in answers.await.unwrap() {
        assert!(
            answer.starts_with("HTTP/1.1 503 ") && answer.contains("\"code\":\"shutting_down\""),
            "{answer}"
        );
    }
    assert_eq!(closed.await.unwrap(), report(20, 0));
    let refused = TcpStream::connect(address).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn what_waits_at_an_inherited_socket_is_left_to_the_next_process() {
    let socket = BlockingListener::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let inherited = || Listener::Inherited(TcpListener::from_std(socket.try_clone().unwrap()).unwrap());
    let outside = given_outside().listener(inherited()).start().await;
    let address = outside.address;
    outside.phase.advance(Phase::Handback);
    let connect = || {
        let mut client = BlockingStream::connect(address).unwrap();
        client.write_all(&submit()).unwrap();
        client
    };
    let mut clients = vec![connect(), connect()];
    let (closed, _kept) = closing(outside, soon());
    assert_eq!(closed.await.unwrap(), report(0, 0));
    clients.push(connect());

    let next = given_outside().listener(inherited()).start().await;
    assert_eq!(next.address, address);
    for client in clients {
        client.set_nonblocking(true).unwrap();
        let mut client = RawConnection::from(TcpStream::from_std(client).unwrap());
        assert_eq!(client.answer().await.unwrap().status, 202);
    }
}

#[tokio::test]
async fn a_request_that_came_whole_on_an_idle_connection_is_answered() {
    let outside = given_outside().start().await;
    let address = outside.address;
    let clients = tokio::task::spawn_blocking(move || {
        let connect = |_| {
            let mut client = BlockingStream::connect(address).unwrap();
            client.write_all(&request("GET", "/healthz", &[], b"")).unwrap();
            let mut head = [0; 16];
            client.read_exact(&mut head).unwrap();
            client
        };
        (0..20).map(connect).collect::<Vec<_>>()
    });
    let mut clients = clients.await.unwrap();
    outside.phase.advance(Phase::Draining);
    for client in &mut clients {
        client.write_all(&submit()).unwrap();
    }
    let (closed, _kept) = closing(outside, soon());
    let answers = tokio::task::spawn_blocking(|| clients.into_iter().map(all_of).collect::<Vec<_>>());
    for answer in answers.await.unwrap() {
        assert!(
            answer.contains("HTTP/1.1 503 ") && answer.contains("\"code\":\"shutting_down\""),
            "{answer}"
        );
    }
    assert_eq!(closed.await.unwrap(), report(20, 0));
}

#[tokio::test]
async fn idle_connections_close_with_end_of_file() {
    let outside = given_outside().start().await;
    let mut used = outside.connect().await;
    used.get("/healthz").await.unwrap();
    used.answer().await.unwrap();
    let mut unused = outside.connect().await;
    outside.metric_is("steadfast_http_connections", "3").await;
    let (closed, _kept) = closing(outside, soon());
    assert_eq!(used.until_eof().await.unwrap(), b"");
    assert_eq!(unused.until_eof().await.unwrap(), b"");
    drop((used, unused));
    assert_eq!(closed.await.unwrap().cut, 0);
}

#[tokio::test]
async fn a_request_in_work_is_answered_before_its_connection_closes() {
    let outside = given_outside().start().await;
    outside.store.set(Fault::Holds);
    let mut busy = outside.connect().await;
    busy.send(&submit()).await.unwrap();
    outside.store.one_is_held().await;
    outside.phase.advance(Phase::Draining);
    let (closed, kept) = closing(outside, soon());
    let early = tokio::time::timeout(Duration::from_millis(50), busy.answer()).await;
    assert!(early.is_err() && !closed.is_finished(), "{early:?}");
    kept.store.release();
    let answer = busy.answer().await.unwrap();
    assert!(answer.status == 202 && answer.closes());
    drop(busy);
    assert_eq!(closed.await.unwrap(), report(1, 0));
}

#[tokio::test]
async fn what_is_stuck_is_cut_at_the_deadline() {
    let large = 16 * 1024 * 1024;
    let outside = given_outside().config(|config| config.payload_bytes_max = large).start().await;
    let body = format!(r#"{{"kind":"plain","payload":"{}"}}"#, "x".repeat(large - 2));
    let id = crate::harness::id_of(&outside.post("/v1/jobs", &body).await);

    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 * 1024).unwrap();
    let never_reads = socket.connect(outside.address).await.unwrap();
    let get = request("GET", &format!("/v1/jobs/{id}"), &[], b"");
    assert_eq!(never_reads.try_write(&get).unwrap(), get.len());
    let mut half_sent = outside.connect().await;
    half_sent.send(b"GET /healthz HTTP/1.1\r\nHos").await.unwrap();
    let mut stalled = outside.connect().await;
    stalled
        .send(b"POST /v1/jobs HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{")
        .await
        .unwrap();
    outside.metric_is("steadfast_http_connections", "4").await;

    let began = Instant::now();
    let (closed, _kept) = closing(outside, began + Duration::from_millis(400));
    let report = closed.await.unwrap();
    assert!(report.cut >= 2, "{report:?}");
    // Less than any of their own timeouts.
    assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
}

/// An HTTP/2 client, and its connection's end.
struct Http2 {
    sender: SendRequest<Body>,
    connection: AbortOnDropHandle<hyper::Result<()>>,
}

impl Http2 {
    async fn connect(outside: &Outside) -> Self {
        let io = TokioIo::new(TcpStream::connect(outside.address).await.unwrap());
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        let task = tokio::runtime::Handle::current().spawn(connection);
        Self { sender, connection: AbortOnDropHandle::new(task) }
    }

    async fn get(&mut self, path: &str) -> hyper::Result<Response<Incoming>> {
        let request = Request::get(format!("http://test{path}")).body(Body::empty()).unwrap();
        self.sender.send_request(request).await
    }

    /// Waits until the server has ended the connection in order.
    async fn ended(&mut self) {
        tokio::time::timeout(PATIENCE, &mut self.connection).await.unwrap().unwrap().unwrap();
    }
}

#[tokio::test]
async fn http2_clients_are_told_to_go_and_lose_no_answer() {
    let outside = given_outside().start().await;
    let mut early = Http2::connect(&outside).await;
    assert_eq!(early.get("/v1/jobs").await.unwrap().status(), 200);
    outside.phase.advance(Phase::LameDuck);
    early.ended().await;
    assert!(early.get("/v1/jobs").await.is_err());

    // One that comes later is served once before it is sent away.
    let mut late = Http2::connect(&outside).await;
    let answer = late.get("/healthz").await.unwrap();
    assert!(answer.status() == 200 && answer.headers().get("connection").is_none());
    late.ended().await;
}
