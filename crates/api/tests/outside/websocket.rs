use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use steadfast_api::{Access, Tokens};
use steadfast_lifecycle::Phase;
use steadfast_testkit::PATIENCE;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::all_events::submit_to;
use crate::harness::{Outside, given_outside, problem, request};
use crate::tokens::tokens;

/// An open WebSocket.
struct Socket(WebSocketStream<TcpStream>);

impl Socket {
    async fn open(outside: &Outside) -> Self {
        Self::open_with(outside, None).await.unwrap()
    }

    async fn open_with(outside: &Outside, header: Option<(&'static str, &str)>) -> Result<Self, Error> {
        let mut request = format!("ws://{}/v1/ws", outside.address).into_client_request()?;
        if let Some((name, value)) = header {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        let stream = TcpStream::connect(outside.address).await.unwrap();
        Ok(Self(client_async(request, stream).await?.0))
    }

    async fn say(&mut self, message: Value) {
        self.0.send(Message::Text(message.to_string().into())).await.unwrap();
    }

    async fn subscribe(&mut self, topic: Value) {
        self.say(json!({ "subscribe": topic })).await;
        assert_eq!(self.next().await, json!({ "type": "subscribed", "topic": topic }));
    }

    /// The next message that is no ping.
    async fn receive(&mut self) -> Option<Message> {
        loop {
            match timeout(PATIENCE, self.0.next()).await.unwrap() {
                Some(Ok(Message::Ping(_))) => {}
                Some(message) => return Some(message.unwrap()),
                None => return None,
            }
        }
    }

    async fn next(&mut self) -> Value {
        match self.receive().await.unwrap() {
            Message::Text(text) => serde_json::from_str(&text).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// The code of the server's close, after which nothing comes.
    async fn closed(&mut self) -> CloseCode {
        let Some(Message::Close(Some(frame))) = self.receive().await else { panic!("no close") };
        assert!(self.receive().await.is_none());
        frame.code
    }

    async fn refused(&mut self, message: Value, code: &str) -> Value {
        self.say(message).await;
        let error = self.next().await;
        assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!(code)), "{error}");
        assert!(error["detail"].as_str().unwrap().len() > 10);
        error
    }
}

fn change(message: &Value) -> (u64, &str) {
    assert_eq!(message["type"], "state", "{message}");
    (message["version"].as_u64().unwrap(), message["state"].as_str().unwrap())
}

#[tokio::test]
async fn a_subscribed_job_is_told_of_to_its_end() {
    let outside = given_outside().start().await;
    let id = outside.submitted().await;
    let mut socket = Socket::open(&outside).await;
    socket.subscribe(json!({ "job": id })).await;
    let first = socket.next().await;
    assert_eq!(change(&first), (1, "queued"));
    assert_eq!((&first["id"], &first["queue"]), (&json!(id), &json!("default")));
    outside.complete_next().await;
    assert_eq!(change(&socket.next().await), (2, "completed"));
    let end = socket.next().await;
    assert_eq!(
        (&end["type"], &end["version"], &end["job"]["state"]),
        (&json!("end"), &json!(2), &json!("completed"))
    );
    assert!(end["job"].get("payload").is_none(), "{end}");

    // Subscribed again from a version on.
    socket.say(json!({ "subscribe": { "job": id }, "after": 1 })).await;
    assert_eq!(socket.next().await["type"], "subscribed");
    assert_eq!(change(&socket.next().await), (2, "completed"));
    assert_eq!(socket.next().await["type"], "end");
}

#[tokio::test]
async fn queues_and_all_are_told_of_until_unsubscribed() {
    let outside = given_outside().start().await;
    submit_to(&outside, "reports", 1).await;
    let mut socket = Socket::open(&outside).await;
    socket.subscribe(json!({ "queue": "reports" })).await;
    outside.submitted().await;
    let reports = submit_to(&outside, "reports", 1).await;
    assert_eq!(socket.next().await["id"], reports[0].as_str());

    socket.subscribe(json!("all")).await;
    let id = outside.submitted().await;
    assert_eq!(socket.next().await["id"], json!(id));
    socket.say(json!({ "unsubscribe": "all" })).await;
    assert_eq!(socket.next().await, json!({ "type": "unsubscribed", "topic": "all" }));
    outside.submitted().await;
    let reports = submit_to(&outside, "reports", 1).await;
    assert_eq!(socket.next().await["id"], reports[0].as_str());

    for _ in 0..5 {
        submit_to(&outside, "reports", 1_000).await;
    }
    while socket.next().await != json!({ "type": "resync" }) {}
}

#[tokio::test]
async fn what_is_not_understood_or_not_done_is_said_and_the_connection_goes_on() {
    let outside = given_outside().start().await;
    let mut socket = Socket::open(&outside).await;
    socket.0.send(Message::Text("{\"subscribe\":".into())).await.unwrap();
    assert_eq!(socket.next().await["code"], "malformed_json");
    let unknown = json!({ "job": "00000000-0000-7000-8000-000000000000" });
    let error = socket.refused(json!({ "subscribe": unknown }), "job_not_found").await;
    assert_eq!(error["topic"], unknown);
    socket.refused(json!({ "subscribe": { "queue": "none" } }), "queue_not_found").await;
    for malformed in [
        json!({ "subscribe": { "job": "7" } }),
        json!({ "subscribe": { "kind": "plain" } }),
        json!({ "subscribe": "all", "after": 1 }),
        json!({ "subscribe": "all", "unsubscribe": "all" }),
        json!({ "publish": "all" }),
        json!({}),
        json!([]),
    ] {
        socket.refused(malformed, "invalid_parameter").await;
    }
    let id = outside.submitted().await;
    socket.subscribe(json!({ "job": id })).await;
}

#[tokio::test]
async fn subscriptions_are_bounded_for_a_connection_and_for_all() {
    let outside = given_outside().config(|config| config.held_max = 103).start().await;
    let mut socket = Socket::open(&outside).await;
    for _ in 0..100 {
        let id = outside.submitted().await;
        socket.subscribe(json!({ "job": id })).await;
        assert_eq!(change(&socket.next().await).0, 1);
    }
    let id = outside.submitted().await;
    socket.refused(json!({ "subscribe": { "job": id } }), "overloaded").await;
    // 101 of 103 are held: by the other connection and one job of it.
    let mut other = Socket::open(&outside).await;
    other.subscribe(json!({ "job": id })).await;
    assert_eq!(change(&other.next().await).0, 1);
    let id = outside.submitted().await;
    other.refused(json!({ "subscribe": { "job": id } }), "overloaded").await;
    problem(&outside.get("/v1/events").await, "overloaded");
    drop((socket, other));
    steadfast_testkit::eventually("all slots are free again", || async {
        let status = outside.get(&format!("/v1/jobs/{id}?wait_ms=1")).await.status;
        (status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_is_no_text_or_too_long_closes_the_connection() {
    let outside = given_outside().start().await;
    let too_long = Message::Text("x".repeat(5_000).into());
    for (message, code) in
        [(Message::Binary("x".into()), CloseCode::Unsupported), (too_long, CloseCode::Size)]
    {
        let mut socket = Socket::open(&outside).await;
        socket.0.send(message).await.unwrap();
        assert_eq!(socket.closed().await, code);
    }
    let mut socket = Socket::open(&outside).await;
    socket.0.send(Message::Close(None)).await.unwrap();
    assert!(matches!(socket.receive().await, Some(Message::Close(None))));
    assert!(socket.receive().await.is_none());
    outside.metric_is("steadfast_http_connections", "1").await;
}

#[tokio::test]
async fn a_page_of_another_origin_cannot_open_one() {
    let outside = given_outside().start().await;
    let own = format!("http://{}", outside.address);
    let mut socket = Socket::open_with(&outside, Some(("origin", &own))).await.unwrap();
    socket.subscribe(json!("all")).await;
    let Err(Error::Http(answer)) = Socket::open_with(&outside, Some(("origin", "http://evil.example"))).await
    else {
        panic!("a foreign page opened a WebSocket");
    };
    assert_eq!(answer.status(), 403);
}

#[tokio::test]
async fn what_is_no_handshake_is_a_bad_request() {
    let outside = given_outside().start().await;
    problem(&outside.get("/v1/ws").await, "invalid_parameter");
    let good = [
        ("Connection", "keep-alive, Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    for wrong in 0..good.len() {
        let mut headers = good;
        headers[wrong].1 = "8";
        let answer = outside.request("GET", "/v1/ws", &headers, "").await;
        assert_eq!(problem(&answer, "invalid_parameter")["parameter"], good[wrong].0.to_ascii_lowercase());
    }
    let answer = outside.send(&request("GET", "/v1/ws", &good, b"")).await;
    // The key and its answer are those of RFC 6455, section 1.3.
    assert_eq!(
        (answer.status, answer.header("sec-websocket-accept")),
        (101, Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="))
    );
}

#[tokio::test]
async fn at_a_drain_clients_are_told_and_closed_with_1012() {
    let outside = given_outside().start().await;
    let mut polite = Socket::open(&outside).await;
    polite.subscribe(json!("all")).await;
    outside.phase.advance(Phase::LameDuck);
    let mut late = Socket::open(&outside).await;
    outside.phase.advance(Phase::Draining);
    let mut new = Socket::open(&outside).await;
    for socket in [&mut polite, &mut late, &mut new] {
        let last = socket.next().await;
        assert_eq!(last["type"], "server_shutdown");
        assert!((1_000..5_000).contains(&last["reconnect_after_ms"].as_u64().unwrap()));
        assert_eq!(socket.closed().await, CloseCode::Restart);
    }
}

#[tokio::test]
async fn a_client_that_does_not_close_is_waited_for_but_not_for_long() {
    let outside = given_outside().start().await;
    let mut silent = Socket::open(&outside).await;
    silent.subscribe(json!("all")).await;
    outside.phase.advance(Phase::Draining);
    let began = Instant::now();
    let report = outside.connections.close(began + PATIENCE).await;
    assert!(began.elapsed() < PATIENCE / 2, "{:?}", began.elapsed());
    assert_eq!((report.closed, report.cut), (1, 0));
    assert_eq!(silent.next().await["type"], "server_shutdown");
}

#[tokio::test]
async fn an_open_websocket_is_cut_when_time_is_up() {
    let outside = given_outside().start().await;
    let mut socket = Socket::open(&outside).await;
    socket.subscribe(json!("all")).await;
    // Nobody told the phase: as when it were stuck.
    let report = outside.connections.close(Instant::now() + Duration::from_millis(300)).await;
    assert_eq!((report.closed, report.cut), (0, 1));
    assert!(matches!(timeout(PATIENCE, socket.0.next()).await.unwrap(), None | Some(Err(_))));
}

#[tokio::test]
async fn a_session_ends_with_its_token() {
    let access = Access::by(tokens());
    let outside = given_outside().access(&access).start().await;
    let bearer = Some(("authorization", "Bearer read"));
    let mut socket = Socket::open_with(&outside, bearer).await.unwrap();
    socket.subscribe(json!("all")).await;
    access.replace(Tokens::default());
    assert_eq!(socket.closed().await, CloseCode::Policy);
    for header in [None, bearer] {
        let Err(Error::Http(refused)) = Socket::open_with(&outside, header).await else { panic!("a socket") };
        assert_eq!(refused.status(), 401);
    }
}
