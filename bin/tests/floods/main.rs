//! Connections, requests, bodies and open files far past every limit: what matters is still answered, memory
//! stays flat, and nothing spins.
#![allow(clippy::expect_used, reason = "a panic is how a test fails")]

mod answers;
mod bodies;
mod connections;
#[path = "../hostile/http2.rs"]
#[expect(dead_code, reason = "the other clients use the rest")]
mod http2;
mod open_files;
mod requests;

use std::net::SocketAddr;

use steadfast_testkit::raw::{NoAnswer, RawAnswer, RawConnection};

const PROGRAM: &str = env!("CARGO_BIN_EXE_steadfast");

/// Asks once, on a connection of its own.
async fn ask(address: SocketAddr, method: &str, path: &str) -> Result<RawAnswer, NoAnswer> {
    let mut connection = RawConnection::open(address).await?;
    let request = format!("{method} {path} HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n");
    connection.send(request.as_bytes()).await?;
    connection.answer().await
}

/// Asks for everything that must be answered at any load, as an operator would: on new connections.
async fn what_matters_is_answered(address: SocketAddr, job: &str) {
    for path in ["/livez", "/healthz", "/readyz", "/metrics"] {
        let answer = ask(address, "GET", path).await.unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!(answer.status, 200, "{path}");
    }
    let cancel = format!("/v1/jobs/{job}/cancel");
    for path in [cancel.as_str(), "/v1/queues/default/pause", "/v1/queues/default/resume"] {
        let answer = ask(address, "POST", path).await.unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(matches!(answer.status, 200 | 202), "{path}: {:?}", answer.json());
    }
}
