//! What a call tells its caller when there is no good answer, against a socket that misbehaves.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::time::Duration;

use steadfast_client::{Client, Error, SubmitOptions};
use steadfast_wire::{ErrorCode, Outcome, SubmitRequest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Submits a job to a server that reads the request's head, writes `answer` and closes.
async fn submit_answered_with(answer: &str) -> Error {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let client = Client::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"{\"kind\":\"echo\"}") {
            stream.read_buf(&mut request).await.unwrap();
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
    };
    let job = SubmitRequest { kind: "echo".into(), ..SubmitRequest::default() };
    let options = SubmitOptions::default();
    let (submitted, ()) = tokio::join!(client.submit(&job, &options), server);
    let again = listener.into_std().unwrap().accept().map_err(|error| error.kind());
    assert_eq!(again.unwrap_err(), ErrorKind::WouldBlock, "the request was sent a second time");
    submitted.unwrap_err()
}

#[tokio::test]
async fn a_refusal_is_typed() {
    let body = r#"{"type":"/problems/queue_full","title":"The queue is full","status":429,"detail":"7 of 7",
        "code":"queue_full","retryable":true,"retry_after_ms":1200,"outcome":"none","trace_id":"ab","new":1}"#;
    let answer = format!(
        "HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/problem+json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let error = submit_answered_with(&answer).await;
    assert_eq!(error.code(), Some(ErrorCode::QueueFull));
    assert_eq!(error.retry_after(), Some(Duration::from_millis(1_200)));
    assert_eq!(error.outcome(), Outcome::None);
    assert_eq!(error.to_string(), "The queue is full: 7 of 7 (queue_full)");
}

#[tokio::test]
async fn an_answer_lost_leaves_the_outcome_unknown() {
    for lost in ["", "HTTP/1.1 202 Accepted\r\nContent-Length: 900\r\n\r\n{\"id\":"] {
        let error = submit_answered_with(lost).await;
        assert!(matches!(error, Error::Interrupted { .. }), "{error:?}");
        assert_eq!(error.outcome(), Outcome::Unknown);
    }
}

#[tokio::test]
async fn a_strangers_answer_is_unexpected_and_proves_nothing() {
    let answer = "HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: 3\r\n\r\noh!";
    let error = submit_answered_with(answer).await;
    assert!(matches!(error, Error::Unexpected { status: 502, .. }), "{error:?}");
    assert_eq!(error.outcome(), Outcome::Unknown);
    assert_eq!(error.retry_after(), None);
}

#[tokio::test]
async fn retry_after_counts_whoever_sends_it() {
    let strangers = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(submit_answered_with(strangers).await.retry_after(), Some(Duration::from_secs(7)));
    let dated = strangers.replace("Retry-After: 7", "Retry-After: Fri, 31 Dec 9999 23:59:59 GMT");
    let after = submit_answered_with(&dated).await.retry_after();
    assert!(after.is_some_and(|after| after > Duration::from_secs(1 << 30)), "{after:?}");
    let past = strangers.replace("Retry-After: 7", "Retry-After: Sat, 01 Jan 2000 00:00:00 GMT");
    assert_eq!(submit_answered_with(&past).await.retry_after(), Some(Duration::ZERO));
    let neither = strangers.replace("Retry-After: 7", "Retry-After: soon");
    assert_eq!(submit_answered_with(&neither).await.retry_after(), None);
}

#[tokio::test]
async fn a_token_is_sent_and_shown_nowhere() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    let client = Client::with_token(&server, "s3cret").unwrap();
    assert!(!format!("{client:?}").contains("s3cret"), "{client:?}");
    let request = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            stream.read_buf(&mut request).await.unwrap();
        }
        String::from_utf8(request).unwrap()
    };
    let (failed, request) = tokio::join!(client.health(), request);
    assert!(request.contains("authorization: Bearer s3cret\r\n"), "{request}");
    assert!(!format!("{failed:?}").contains("s3cret"), "{failed:?}");
    for bad in ["", "two words", "line\nfeed", "é"] {
        let error = Client::with_token(&server, bad).unwrap_err();
        assert!(bad.is_empty() || !error.to_string().contains(bad), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_got_nothing() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = Client::new(&format!("http://{address}")).unwrap().drain().await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    assert_eq!(error.outcome(), Outcome::None);
}

#[test]
fn only_the_address_of_an_http_server_is_taken() {
    assert!(Client::new("http://127.0.0.1:8080/behind/a/path").is_ok());
    for bad in ["", "localhost:8080", "ftp://host", "127.0.0.1:8080", "mailto:a@b"] {
        assert!(Client::new(bad).is_err(), "{bad}");
    }
}
