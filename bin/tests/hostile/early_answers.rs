//! A refusal in the middle of 20 MB is read whole, however the client goes about it: also when it sends
//! everything before it looks for an answer.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};
use steadfast_testkit::eventually;
use steadfast_testkit::harness::{Server, given_server};
use steadfast_testkit::history::History;
use tokio::task::JoinSet;
use tokio::time::Instant;

const PROGRAM: &str = env!("CARGO_BIN_EXE_steadfast");
const CHUNK_BYTES: usize = 64 * 1024;
const BODY_CHUNKS: usize = 305;
const BODY_BYTES: usize = BODY_CHUNKS * CHUNK_BYTES;
/// Uploads in each way against each refusal, and how many of them at once.
const UPLOADS: usize = 9;
const AT_ONCE: usize = 3;
/// A client that is silent for longer is not waited for much longer. One that was so slow, on a busy machine, is no
/// witness.
const SILENCE_MAX: Duration = Duration::from_secs(1);
/// The same of one that takes longer for all it sends.
const SENDING_MAX: Duration = Duration::from_secs(20);
/// Only bounds a failing run.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a client goes about it.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// Sends all, then reads.
    Declared,
    /// The same in chunks, whose sum it does not tell.
    Chunked,
    /// Reads while it sends, and stops when it has an answer.
    Attentive,
    /// Asks before it sends.
    Asking,
}

#[tokio::test(flavor = "multi_thread")]
async fn too_large() {
    let server = given_server(PROGRAM).start().await;
    uploads(&server, 413, "payload_too_large").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn overloaded() {
    let server = given_server(PROGRAM).flag("--connections-max", "1").start().await;
    let _taken = TcpStream::connect(server.address()).expect("the only connection");
    uploads(&server, 503, "overloaded").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shutting_down() {
    let mut server = given_server(PROGRAM).flag("--graceful-timeout", "2m").start().await;
    let client = server.client();
    let running = History::new().submit(&client, "sleep", &json!({ "ms": 600_000 })).await.expect("a submit");
    eventually("the job runs", || async {
        let state = client.job(running.id).await.ok()?.state;
        (state == steadfast_domain::JobState::Processing).then_some(())
    })
    .await;
    client.drain().await.expect("a drain is asked for");
    eventually("it drains", || async {
        let health = client.health().await.ok()?;
        (health.phase == "draining").then_some(())
    })
    .await;
    uploads(&server, 503, "shutting_down").await;
    client.cancel(running.id).await.expect("a cancel");
    server.exit().await.expect_code(0);
}

/// Every way, again and again; each must read the whole answer.
async fn uploads(server: &Server, status: u16, code: &'static str) {
    let address = server.address();
    for way in [Way::Declared, Way::Chunked, Way::Attentive, Way::Asking] {
        for _ in 0..UPLOADS / AT_ONCE {
            let mut uploads = JoinSet::new();
            for _ in 0..AT_ONCE {
                uploads.spawn_blocking(move || upload(address, way));
            }
            for answer in uploads.join_all().await {
                let answer = answer.unwrap_or_else(|error| panic!("{way:?}: {error}\n{}", server.output()));
                assert_refusal(&answer, status, code);
            }
        }
    }
}

/// Uploads until it was quick enough.
fn upload(address: SocketAddr, way: Way) -> io::Result<Vec<u8>> {
    let began = Instant::now();
    loop {
        let mut pace = Pace::begin();
        let answer = upload_once(address, way, &mut pace);
        if !pace.is_slow() || began.elapsed() >= PATIENCE {
            return answer;
        }
    }
}

/// How fast a client went about it.
struct Pace {
    began: Instant,
    sent_at: Instant,
    silence: Duration,
}

impl Pace {
    fn begin() -> Self {
        let now = Instant::now();
        Self { began: now, sent_at: now, silence: Duration::ZERO }
    }

    fn sent(&mut self) {
        self.silence = self.silence.max(self.sent_at.elapsed());
        self.sent_at = Instant::now();
    }

    fn is_slow(&self) -> bool {
        self.silence >= SILENCE_MAX || self.sent_at - self.began >= SENDING_MAX
    }
}

fn upload_once(address: SocketAddr, way: Way, pace: &mut Pace) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let head = "POST /v1/jobs HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n";
    let how = match way {
        Way::Chunked => "Transfer-Encoding: chunked\r\n\r\n".to_owned(),
        Way::Asking => format!("Content-Length: {BODY_BYTES}\r\nExpect: 100-continue\r\n\r\n"),
        _ => format!("Content-Length: {BODY_BYTES}\r\n\r\n"),
    };
    stream.write_all(format!("{head}{how}").as_bytes())?;
    pace.sent();
    match way {
        Way::Declared => send(&mut stream, &[b'x'; CHUNK_BYTES], pace)?,
        Way::Chunked => {
            let chunk = [format!("{CHUNK_BYTES:x}\r\n").as_bytes(), &[b'x'; CHUNK_BYTES], b"\r\n"].concat();
            send(&mut stream, &chunk, pace)?;
            stream.write_all(b"0\r\n\r\n")?;
        }
        Way::Asking => {}
        Way::Attentive => {
            let mut reader = stream.try_clone()?;
            let reading = std::thread::spawn(move || read_all(&mut reader));
            // It stops at the first error, as clients do that learn of an answer by it.
            let mut sent = 0;
            while sent < BODY_BYTES && !reading.is_finished() {
                let written = stream.write(&[b'x'; CHUNK_BYTES]);
                pace.sent();
                match written {
                    Ok(bytes) => sent += bytes,
                    Err(_) => break,
                }
            }
            return reading.join().expect("the reader does not panic");
        }
    }
    read_all(&mut stream)
}

/// As often as the body has chunks.
fn send(stream: &mut TcpStream, chunk: &[u8], pace: &mut Pace) -> io::Result<()> {
    for _ in 0..BODY_CHUNKS {
        let sent = stream.write_all(chunk);
        pace.sent();
        sent?;
    }
    Ok(())
}

/// Until the server closes in order: a reset is an error.
fn read_all(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut received = Vec::new();
    stream.read_to_end(&mut received)?;
    Ok(received)
}

#[track_caller]
fn assert_refusal(answer: &[u8], status: u16, code: &str) {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("a whole head: {text}"));
    assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
    assert!(head.to_ascii_lowercase().contains("connection: close"), "{head}");
    let problem: Value = serde_json::from_str(body).expect("a whole body");
    assert_eq!((&problem["code"], &problem["outcome"]), (&json!(code), &json!("none")), "{problem}");
}
