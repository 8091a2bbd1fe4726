//! A server that speaks TLS, as a process: with clients of all sorts, with certificates that change, and with those who
//! never end their handshake.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a panic is how a test fails")]
#![cfg(unix)]

mod clients;
mod given;
mod renewal;
#[path = "../workers/given.rs"]
mod workers;

use std::fs;
use std::time::Duration;

use steadfast_testkit::harness::{given_server, may_open};
use steadfast_testkit::raw::RawConnection;
use steadfast_testkit::{PATIENCE, eventually};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

use given::{PROGRAM, given};

const STALLED: usize = 1_000;
/// Also for the handshakes of whoever is not to be harmed, on a machine that may be busy.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(8);

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_stalled_handshakes_harm_nobody_and_are_cut() {
    may_open(2 * STALLED as u64);
    let mut server =
        given(|given| given.flag("--header-timeout", format!("{}s", HANDSHAKE_WITHIN.as_secs()))).await;
    let began = Instant::now();
    let mut stalled = JoinSet::new();
    for _ in 0..STALLED {
        let mut stream = TcpStream::connect(server.address).await.expect("a connection");
        stream.write_all(&[22, 3, 1, 2, 0, 1]).await.expect("half a hello is sent");
        stalled.spawn(async move {
            // The end, in order or not.
            let _ = RawConnection::from(stream).until_eof().await;
        });
    }
    for _ in 0..20 {
        assert_eq!(server.submit().await.status, 202);
    }
    stalled.join_all().await;
    assert!(began.elapsed() >= HANDSHAKE_WITHIN, "{:?}", began.elapsed());
    eventually("they are gone", || async {
        let text = String::from_utf8(server.get("/metrics").await.body).ok()?;
        text.lines().any(|line| line == "steadfast_http_connections 1").then_some(())
    })
    .await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_file_ends_a_start_with_2_before_a_port_is_bound() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = |name: &str, content: &str| {
        let path = dir.path().join(name);
        fs::write(&path, content).expect("a file can be written");
        path.into_os_string()
    };
    let (empty, text) = (file("empty.pem", ""), file("text.pem", "no PEM at all"));
    let given = || given_server(PROGRAM);
    let cases = [
        (given().flag("--tls-cert", &empty), ["--tls-cert", "tls_key"]),
        (given().flag("--tls-key", &empty), ["--tls-key", "tls_cert"]),
        (given().flag("--tls-client-ca", &empty), ["--tls-client-ca", "tls_cert"]),
        (given().flag("--tls-cert", &empty).flag("--tls-key", text), ["empty.pem", "no certificate"]),
        (
            given().flag("--tls-cert", "/no/such.pem").flag("--tls-key", &empty),
            ["/no/such.pem", "No such file"],
        ),
    ];
    for (given, words) in cases {
        let exit = given.launch(dir.path()).exit_within(PATIENCE).await.expect("it ends").expect_code(2);
        let error = exit.stderr.text();
        assert!(words.iter().all(|word| error.contains(word)), "{words:?}: {error}");
        assert!(exit.stderr.events("listening").is_empty(), "{error}");
    }
}
