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

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use steadfast_testkit::PATIENCE;
use steadfast_testkit::raw::{NoAnswer, RawAnswer, RawConnection};
use tokio::time::Instant;

const PROGRAM: &str = env!("CARGO_BIN_EXE_steadfast");
/// So long a server that is flooded waits for a request, from when it has accepted the connection.
const HURRY: Duration = Duration::from_millis(20);

/// Asks on a connection of its own. Who was too slow to be heard asks again, as an operator would; who was not is
/// always answered.
async fn ask(address: SocketAddr, method: &str, path: &str) -> Result<RawAnswer, NoAnswer> {
    let request = format!("{method} {path} HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n");
    let first = Instant::now();
    loop {
        // The server cannot have accepted it before.
        let began = Instant::now();
        let sent = sent(address, request.as_bytes()).await;
        let was_slow = began.elapsed() >= HURRY;
        let answer = match sent {
            Ok(mut connection) => connection.answer().await,
            Err(error) => Err(error.into()),
        };
        match answer {
            Err(NoAnswer::Eof | NoAnswer::Broken(_)) if was_slow && first.elapsed() < PATIENCE => {}
            answer => return answer,
        }
    }
}

async fn sent(address: SocketAddr, request: &[u8]) -> io::Result<RawConnection> {
    let mut connection = RawConnection::open(address).await?;
    connection.send(request).await?;
    Ok(connection)
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
