//! Whole deliveries over real connections to an endpoint on 127.0.0.1.

mod endpoint;

use std::future::{pending, ready};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use serde_json::{Value, json};
use steadfast_domain::{Job, JobId, KindName, NewJob, RawJson, Timestamp, TraceParent};
use steadfast_queue::spans::Span;
use steadfast_queue::{Failure, Finish, StopReason};
use tokio::io::AsyncWriteExt;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::address::AddressPolicy;
use super::client::Clients;
use super::deliver::{self, Identity};
use super::request::Delivery;
use super::resolver::SystemResolver;
use endpoint::Endpoint;

const LOOPBACK: AddressPolicy = AddressPolicy { private: false, loopback: true };
const NOTHING: AddressPolicy = AddressPolicy { private: false, loopback: false };
/// Far longer than it takes, shorter than the time-out that would do it otherwise.
const AT_ONCE: Duration = Duration::from_secs(5);

fn job() -> Job {
    let new = NewJob::new(KindName::new("http").unwrap(), RawJson::empty_object());
    let mut job = Job::accept(new, JobId::from_u128(7), Timestamp::from_unix_ms(1_000), None);
    job.attempt = 3;
    job
}

fn clients() -> Clients {
    Clients::new(LOOPBACK, SystemResolver).unwrap()
}

fn request(payload: Value) -> reqwest::Request {
    let delivery = Delivery::read(&RawJson::encode(&payload).unwrap()).unwrap();
    delivery.into_request(&Identity::of(&job(), &Span::default()))
}

async fn deliver(
    clients: &Clients,
    request: reqwest::Request,
    stopped: impl Future<Output = StopReason>,
) -> Result<Finish, Failure> {
    deliver::deliver(clients, request, &mut Span::default(), stopped).await
}

async fn send(payload: Value) -> Result<Finish, Failure> {
    deliver(&clients(), request(payload), pending()).await
}

async fn answered_with(answer: impl Into<Vec<u8>>) -> Result<Finish, Failure> {
    let endpoint = Endpoint::answering(answer, false).await;
    send(json!({"url": format!("http://127.0.0.1:{}/", endpoint.port)})).await
}

fn result_of(end: Result<Finish, Failure>) -> Value {
    match end {
        Ok(Finish::Completed(Some(result))) => serde_json::from_str(result.as_str()).unwrap(),
        other => panic!("a result was expected: {other:?}"),
    }
}

fn answer(head: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    [format!("HTTP/1.1 {head}\r\ncontent-length: {length}\r\n\r\n").as_bytes(), body].concat()
}

#[tokio::test]
async fn a_delivered_job_has_status_headers_and_body_as_its_result() {
    let head = "201 Created\r\ncontent-type: text/plain\r\nlocation: /things/7\r\nset-cookie: secret";
    let result = result_of(answered_with(answer(head, "made é".as_bytes())).await);
    let expected = json!({
        "status": 201,
        "headers": {"content-type": "text/plain", "location": "/things/7"},
        "body": "made é",
        "body_encoding": "utf-8",
        "body_truncated": false,
    });
    assert_eq!(result, expected);
}

#[tokio::test]
async fn other_answers_fail_the_attempt_and_say_which_it_was() {
    for (status, retryable) in
        [(500, true), (503, true), (408, true), (425, true), (404, false), (410, false)]
    {
        let endpoint = Endpoint::answering(answer(&format!("{status} Whatever"), b"inner"), false).await;
        let port = endpoint.port;
        let failure = send(json!({"url": format!("http://127.0.0.1:{port}/secret")})).await.unwrap_err();
        assert_eq!((failure.code.as_str(), failure.retryable), ("http_status", retryable), "{status}");
        let (expected, text) = (format!("127.0.0.1:{port} answered {status}"), &failure.message);
        assert!(text.starts_with(&expected) && !text.contains("secret") && !text.contains("inner"), "{text}");
        assert_eq!(failure.retry_after, None);
    }
}

#[tokio::test]
async fn a_wait_asked_for_is_kept() {
    let failure = answered_with(answer("429 Slow Down\r\nretry-after: 120", b"")).await.unwrap_err();
    assert!(failure.retryable);
    assert_eq!(failure.retry_after, Some(Duration::from_secs(120)));

    let date = httpdate::fmt_http_date(std::time::SystemTime::now() + Duration::from_secs(3_600));
    let failure = answered_with(answer(&format!("503 Later\r\nretry-after: {date}"), b"")).await.unwrap_err();
    let wait = failure.retry_after.unwrap();
    assert!((3_500..=3_600).contains(&wait.as_secs()), "{wait:?}");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let mut endpoint = Endpoint::answering(answer("302 Found\r\nlocation: /elsewhere", b""), true).await;
    let failure = send(json!({"url": format!("http://127.0.0.1:{}/", endpoint.port)})).await.unwrap_err();
    assert_eq!((failure.code.as_str(), failure.retryable), ("http_status", false));
    assert!(endpoint.request().await.starts_with("POST / "));
    endpoint.connection_ended().await;
}

#[tokio::test]
async fn an_endpoint_learns_which_delivery_it_is() {
    let mut endpoint = Endpoint::answering(answer("204 No Content", b""), false).await;
    let url = format!("http://127.0.0.1:{}/hook?a=b#part", endpoint.port);
    let payload = json!({"url": url, "method": "PUT", "headers": {"X-Own": "yes"}, "body": {"n": 1}});
    result_of(send(payload).await);

    let text = endpoint.request().await;
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("PUT /hook?a=b HTTP/1.1\r\n"), "{head}");
    assert_eq!(body, r#"{"n":1}"#);
    let id = job().id;
    for line in [
        format!("host: 127.0.0.1:{}", endpoint.port),
        format!("steadfast-job-id: {id}"),
        "steadfast-attempt: 3".to_owned(),
        format!("idempotency-key: {id}"),
        format!("user-agent: steadfast/{}", env!("CARGO_PKG_VERSION")),
        "content-type: application/json".to_owned(),
        "content-length: 7".to_owned(),
        "x-own: yes".to_owned(),
    ] {
        assert_eq!(head.lines().filter(|found| **found == line).count(), 1, "{line} in {head}");
    }
    let trace = head.lines().find_map(|line| line.strip_prefix("traceparent: ")).unwrap();
    assert!(TraceParent::new(trace).is_ok(), "{trace}");
}

#[test]
fn a_delivery_is_a_new_span_of_its_jobs_trace() {
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    let job = Job { trace: Some(TraceParent::new(parent).unwrap()), ..job() };
    let header = || {
        let delivery = Delivery::read(&RawJson::parse(r#"{"url":"http://a/"}"#).unwrap()).unwrap();
        let request = delivery.into_request(&Identity::of(&job, &Span::default()));
        request.headers()["traceparent"].to_str().unwrap().to_owned()
    };
    let (first, second) = (header(), header());
    for sent in [&first, &second] {
        assert!(sent.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-") && sent.ends_with("-00"), "{sent}");
    }
    assert!(first != second && first != parent);
}

#[tokio::test]
async fn a_long_body_is_cut_and_never_read_whole() {
    // Only a reader that stops by itself ends here: the announced rest never comes.
    let endless =
        [b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n".as_slice(), &[b'x'; 20_000]].concat();
    let mut endpoint = Endpoint::answering(endless, true).await;
    let delivery = send(json!({"url": format!("http://127.0.0.1:{}/", endpoint.port)}));
    let result = result_of(timeout(AT_ONCE, delivery).await.unwrap());
    assert_eq!(result["body"].as_str().map(str::len), Some(16 * 1024));
    assert_eq!(result["body_truncated"], true);
    endpoint.request().await;
    endpoint.connection_ended().await;
}

#[tokio::test]
async fn a_body_of_exactly_the_bound_is_whole() {
    let result = result_of(answered_with(answer("200 OK", &[b'x'; 16 * 1024])).await);
    assert_eq!(result["body_truncated"], false);
}

#[tokio::test]
async fn a_body_that_breaks_off_leaves_the_job_delivered() {
    let result = result_of(answered_with("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await);
    assert_eq!((&result["body"], &result["body_truncated"]), (&json!("half"), &json!(true)));
}

#[tokio::test]
async fn an_unanswered_delivery_is_dropped_when_told_to_stop() {
    for reason in [StopReason::Shutdown, StopReason::Cancelled, StopReason::Timeout, StopReason::LeaseLost] {
        let mut endpoint = Endpoint::answering("", true).await;
        let url = format!("http://127.0.0.1:{}/", endpoint.port);
        let (stop, stopped) = oneshot::channel();
        let delivery = async {
            deliver(&clients(), request(json!({"url": url})), async { stopped.await.unwrap() }).await
        };
        let watch = async {
            endpoint.request().await;
            stop.send(reason).unwrap();
            endpoint.connection_ended().await;
        };
        let (end, ()) = tokio::join!(delivery, watch);
        assert_eq!(end, Ok(Finish::Yield { checkpoint: None }), "{reason:?}");
    }
}

#[tokio::test]
async fn an_answered_delivery_told_to_stop_is_delivered() {
    // The head is there, the body never comes.
    let mut endpoint = Endpoint::answering("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n", true).await;
    let url = format!("http://127.0.0.1:{}/", endpoint.port);
    let response = clients()
        .for_url(&url.parse().unwrap())
        .unwrap()
        .execute(request(json!({"url": url})))
        .await
        .unwrap();
    let seen = super::failure::Endpoint::of(response.url());
    let end = timeout(AT_ONCE, super::answer::judge(&seen, response, ready(StopReason::Shutdown))).await;
    let result = result_of(end.unwrap());
    assert_eq!((&result["status"], &result["body_truncated"]), (&json!(200), &json!(true)));
    endpoint.request().await;
    endpoint.connection_ended().await;
}

#[tokio::test]
async fn what_breaks_on_the_way_is_retried() {
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    let failure = send(json!({"url": format!("http://127.0.0.1:{port}/")})).await.unwrap_err();
    let message = format!("no connection to 127.0.0.1:{port}: connection refused");
    assert_eq!(failure, Failure::retryable("connect", message));

    let failure = answered_with("").await.unwrap_err();
    assert_eq!((failure.code.as_str(), failure.retryable), ("no_answer", true));
    let failure = answered_with("220 mail.example.com ESMTP\r\n").await.unwrap_err();
    assert_eq!((failure.code.as_str(), failure.retryable), ("no_answer", true));
}

#[tokio::test]
async fn a_peer_that_does_not_speak_tls_is_retried() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let speak_plainly = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(&answer("400 Bad Request", b"")).await.unwrap();
        stream
    };
    let (end, _stream) = tokio::join!(send(json!({"url": url})), speak_plainly);
    let failure = end.unwrap_err();
    assert_eq!((failure.code.as_str(), failure.retryable), ("tls", true));
}

/// Gives one answer after the other, each name alike.
struct Answers(Mutex<Vec<Vec<IpAddr>>>);

impl Answers {
    fn clients<const N: usize>(policy: AddressPolicy, answers: [&[&str]; N]) -> Clients {
        let parse = |ips: &[&str]| ips.iter().map(|ip| ip.parse().unwrap()).collect();
        Clients::new(policy, Self(Mutex::new(answers.into_iter().rev().map(parse).collect()))).unwrap()
    }
}

impl Resolve for Answers {
    fn resolve(&self, _: Name) -> Resolving {
        let found = self.0.lock().pop().ok_or("no such host");
        Box::pin(async {
            let found = found?.into_iter().map(|ip| SocketAddr::new(ip, 0));
            Ok(Box::new(found) as Addrs)
        })
    }
}

#[tokio::test]
async fn a_name_is_judged_by_what_it_resolves_to_on_every_attempt() {
    let mut endpoint = Endpoint::answering(answer("200 OK", b""), false).await;
    let clients = Answers::clients(LOOPBACK, [&["127.0.0.1"], &["10.0.0.1"], &["::ffff:169.254.169.254"]]);
    let url = json!({"url": format!("http://rebinding.example:{}/", endpoint.port)});
    result_of(deliver(&clients, request(url.clone()), pending()).await);
    endpoint.request().await;

    for range in ["private", "link-local"] {
        let failure = deliver(&clients, request(url.clone()), pending()).await.unwrap_err();
        assert_eq!((failure.code.as_str(), failure.retryable), ("address_denied", false));
        assert!(failure.message.contains(range), "{}", failure.message);
        assert!(!failure.message.contains("10.0.0.1") && !failure.message.contains("169.254"));
    }

    let failure = deliver(&clients, request(url), pending()).await.unwrap_err();
    assert_eq!((failure.code.as_str(), failure.retryable), ("dns", true));
    assert!(endpoint.is_quiet());
}

#[tokio::test]
async fn idle_connections_are_kept_for_some_origins_only() {
    let mut endpoint = Endpoint::answering(answer("200 OK", b""), true).await;
    let clients = clients();
    let url = json!({"url": format!("http://127.0.0.1:{}/", endpoint.port)});
    for _ in 0..2 {
        result_of(deliver(&clients, request(url.clone()), pending()).await);
        endpoint.request().await;
    }
    for n in 0..200 {
        clients.for_url(&format!("http://host-{n}.example/").parse().unwrap()).unwrap();
    }
    timeout(AT_ONCE, endpoint.connection_ended()).await.unwrap();
}

#[tokio::test]
async fn of_several_addresses_only_allowed_ones_are_used() {
    let mut endpoint = Endpoint::answering(answer("200 OK", b""), false).await;
    let clients = Answers::clients(LOOPBACK, [&["10.0.0.1", "127.0.0.1", "0.0.0.0"]]);
    let url = json!({"url": format!("http://several.example:{}/", endpoint.port)});
    result_of(deliver(&clients, request(url), pending()).await);
    endpoint.request().await;
}

#[tokio::test]
async fn a_loopback_endpoint_is_out_of_reach_without_permission() {
    let mut endpoint = Endpoint::answering(answer("200 OK", b""), false).await;
    let clients = Clients::new(NOTHING, SystemResolver).unwrap();
    let url = json!({"url": format!("http://localhost:{}/", endpoint.port)});
    let failure = deliver(&clients, request(url), pending()).await.unwrap_err();
    assert_eq!((failure.code.as_str(), failure.retryable), ("address_denied", false));
    assert!(endpoint.is_quiet());
}

#[test]
fn every_way_of_writing_an_address_is_the_address() {
    let judge = |host: &str| {
        let payload = RawJson::encode(&json!({"url": format!("http://{host}/")})).unwrap();
        NOTHING.check_host(&Delivery::read(&payload).unwrap().url)
    };
    for host in [
        "127.0.0.1",
        "127.0.0.1.",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "017700000001",
        "%31%32%37.0.0.1",
        "①②⑦.0.0.1",
        "127。0。0。1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "169.254.169.254",
        "[::ffff:a9fe:a9fe]",
        "0xa9fea9fe",
        "10.1",
        "0",
        "[::]",
    ] {
        assert!(judge(host).is_err(), "{host}");
    }
    assert_eq!(judge(&Ipv4Addr::new(8, 8, 8, 8).to_string()), Ok(()));
    assert_eq!(judge("a-name-is-judged-by-the-resolver"), Ok(()));
}
