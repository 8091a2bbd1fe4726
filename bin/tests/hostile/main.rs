//! Clients that mean ill, hang, or are refused in the middle of what they send; and requests made to be misread: by a
//! proxy before the server, by a router, by a parser. What they get is an answer or a close, never a job that nobody was
//! told of, and the others are served meanwhile.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a panic is how a test fails"
)]
#![cfg(target_os = "linux")]

mod clients;
mod crowd;
mod early_answers;
mod heads;
mod http2;
mod http2_floods;
mod malformed;
mod mutations;
mod paths;
mod smuggling;

use std::net::SocketAddr;
use std::time::Duration;

use steadfast_testkit::harness::{Given, Server, given_server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longer than any of the server's timeouts here, and than its goodbye.
const PATIENCE: Duration = Duration::from_secs(60);

fn given() -> Given {
    given_server(env!("CARGO_BIN_EXE_steadfast"))
}

/// Sends these bytes on a connection of their own and reads until the server closes it, which it has to. Also when it
/// closes before all is sent: what it says is read either way.
async fn all_said_to(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let (mut reader, mut writer) = stream.split();
    let mut received = Vec::new();
    let talk = async {
        let _ = tokio::join!(writer.write_all(bytes), reader.read_to_end(&mut received));
    };
    let shown = String::from_utf8_lossy(bytes);
    timeout(PATIENCE, talk).await.unwrap_or_else(|_| panic!("still open after {shown:?}"));
    String::from_utf8_lossy(&received).into_owned()
}

/// Each answer from its status on. A body of ours never has such a line.
fn answers(said: &str) -> impl Iterator<Item = &str> {
    said.split("HTTP/1.1 ").skip(1)
}

fn statuses(said: &str) -> Vec<u16> {
    answers(said).filter_map(|answer| answer.get(..3)?.parse().ok()).collect()
}

/// It has neither panicked nor logged an error.
fn assert_no_complaint(server: &Server) {
    let log = server.log().text();
    let complaint =
        log.lines().find(|line| line.contains("panicked") || line.contains("\"level\":\"ERROR\""));
    assert_eq!(complaint, None);
}
