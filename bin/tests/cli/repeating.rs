use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::given::{assert_refused, command, end_of, run};
use crate::lossy_proxy::message;

/// A server that gives each request the next of these answers, and remembers what it was asked and when.
struct Scripted {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<(SystemTime, String)>>>,
    _serving: JoinSet<()>,
}

impl Scripted {
    async fn new(answers: impl IntoIterator<Item = String>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let mut serving = JoinSet::new();
        let (seen, answers) = (Arc::clone(&requests), answers.into_iter().collect::<Vec<_>>());
        serving.spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.expect("a client");
                let request = message(&mut stream).await;
                seen.lock().push((SystemTime::now(), String::from_utf8_lossy(&request).into_owned()));
                stream.write_all(answer.as_bytes()).await.expect("a reader");
            }
        });
        Self { address, requests, _serving: serving }
    }

    fn requests(&self) -> Vec<(SystemTime, String)> {
        self.requests.lock().clone()
    }
}

/// An answer and the end of its connection.
fn answer(head: &str, body: &str) -> String {
    format!("HTTP/1.1 {head}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// The header rounds up, the member is exact.
fn full() -> String {
    let body = r#"{"type":"/problems/queue_full","title":"Full","status":429,"detail":"d","code":"queue_full",
        "retryable":true,"retry_after_ms":300,"outcome":"none","trace_id":"a"}"#;
    answer("429 Too Many Requests\r\nContent-Type: application/problem+json\r\nRetry-After: 1", body)
}

/// From a proxy that has no server.
fn no_server() -> String {
    answer("503 Service Unavailable\r\nRetry-After: 1", "")
}

/// An acceptance that breaks off.
fn lost() -> String {
    "HTTP/1.1 202 Accepted\r\nConnection: close\r\nContent-Length: 900\r\n\r\n{".to_owned()
}

/// From something that is no such server.
fn wrong() -> String {
    answer("404 Not Found", "")
}

/// The idempotency key and the body of a request.
fn named(request: &str) -> (String, String) {
    let (head, body) = request.split_once("\r\n\r\n").expect("a request");
    let key = head.lines().find_map(|line| line.strip_prefix("idempotency-key: "));
    (key.expect("a submit has a key").to_owned(), body.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submit_comes_back_when_it_was_told_with_the_same_key_and_body() {
    let server = Scripted::new([full(), no_server(), lost(), wrong()]).await;
    let refused = run(server.address, "submit echo 7 --retry-for 60s").await;
    assert_refused(
        refused,
        1,
        &["an unexpected answer with status 404", "it is not known whether the job exists"],
    );
    let requests = server.requests();
    assert_eq!(requests.len(), 4);
    let waits: Vec<Duration> =
        requests.windows(2).map(|pair| pair[1].0.duration_since(pair[0].0).expect("a clock")).collect();
    assert!(waits[0] >= Duration::from_millis(300) && waits[1] >= Duration::from_secs(1), "{waits:?}");
    let first = named(&requests[0].1);
    assert!(requests.iter().all(|(_, request)| named(request) == first), "{requests:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_comes_back_when_it_was_told() {
    let server = Scripted::new([no_server(), full(), no_server(), wrong()]).await;
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("jobs.ndjson");
    std::fs::write(&file, "{\"kind\":\"echo\"}\n".repeat(10)).expect("a file");
    let refused = run(server.address, &format!("submit --file {}", file.display())).await;
    assert_refused(refused, 1, &["404", "lines 1 to 10", "0 of 10 jobs are accepted"]);
    let requests = server.requests();
    let waits: Vec<Duration> =
        requests.windows(2).map(|pair| pair[1].0.duration_since(pair[0].0).expect("a clock")).collect();
    assert!(waits[0] >= Duration::from_secs(1) && waits[1] >= Duration::from_millis(300), "{waits:?}");
    // The stranger's answer proves nothing: until it is known what became of it, the batch stays the same.
    let first = named(&requests[0].1);
    assert!(requests.iter().all(|(_, request)| named(request) == first), "{requests:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_goes_with_every_request() {
    let server = Scripted::new([answer("200 OK\r\nContent-Type: application/json", "{\"queues\":[]}")]).await;
    let mut command = command(server.address, ["queues"]);
    command.env("STEADFAST_TOKEN", "s3cret");
    let exit = end_of(command).await.expect_code(0);
    assert!(!exit.output().contains("s3cret"), "{}", exit.output());
    let (_, request) = server.requests().remove(0);
    assert!(request.contains("authorization: Bearer s3cret\r\n"), "{request}");
}
