//! The built-in kinds run as a server runs them: by a worker pool, from a store.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::time::Duration;

use serde_json::{Value, json};
use steadfast_domain::{JobState, RawJson};
use steadfast_handlers::{HttpConfig, builtin};
use steadfast_testkit::handlers::{Crew, given_handlers};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::Instant;

const LOOPBACK: HttpConfig = HttpConfig { allow_private: false, allow_loopback: true };

async fn given(config: HttpConfig) -> Crew {
    given_handlers(builtin(config).unwrap()).await
}

fn value(json: Option<&RawJson>) -> Value {
    json.unwrap().decode().unwrap()
}

#[tokio::test]
async fn echo_returns_its_payload() {
    let job = given(HttpConfig::default()).await.run("echo", &json!({"a": [1, "é"]})).await;
    assert_eq!((job.state, value(job.result.as_ref())), (JobState::Completed, json!({"a": [1, "é"]})));
}

#[tokio::test(start_paused = true)]
async fn a_sleep_that_outlives_its_server_sleeps_only_the_rest() {
    let mut crew = given(HttpConfig::default()).await;
    let begun = Instant::now();
    let id = crew.submit("sleep", &json!({"ms": 40_000})).await.unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(crew.job(id).await.state, JobState::Processing);
    crew.stop().await;

    let waiting = crew.job(id).await;
    let left = value(waiting.checkpoint.as_ref())["remaining_ms"].as_u64().unwrap();
    assert!((9_000..=10_000).contains(&left), "{left} ms are left");
    crew.start_again();
    let job = crew.ended(id).await;
    assert_eq!((job.state, job.attempt), (JobState::Completed, 1));
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(40) && took < Duration::from_secs(42), "{took:?}");
}

#[tokio::test]
async fn a_delivery_completes_with_the_endpoints_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let endpoint = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = String::new();
        while !request.ends_with("{\"n\":1}") {
            let mut chunk = [0; 1_024];
            let read = stream.read(&mut chunk).await.unwrap();
            request.push_str(std::str::from_utf8(&chunk[..read]).unwrap());
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone").await.unwrap();
        request
    };
    let crew = given(LOOPBACK).await;
    let id = crew.submit("http", &json!({"url": url, "body": {"n": 1}})).await.unwrap();
    let (request, job) = tokio::join!(endpoint, crew.ended(id));
    assert_eq!(job.state, JobState::Completed);
    assert_eq!(value(job.result.as_ref())["body"], "done");
    assert!(request.contains(&format!("\r\nidempotency-key: {id}\r\n")), "{request}");
    assert!(request.contains("\r\nsteadfast-attempt: 1\r\n"), "{request}");
}

#[tokio::test]
async fn a_delivery_to_a_refused_address_is_dead_at_once() {
    let crew = given(HttpConfig::default()).await;
    for url in ["http://127.0.0.1:9/", "http://localhost:9/", "http://169.254.169.254/latest/meta-data"] {
        let job = crew.run("http", &json!({"url": url})).await;
        assert_eq!((job.state, job.attempt), (JobState::Dead, 1), "{url}");
        assert_eq!(job.errors[0].code, "address_denied", "{url}");
    }
}
