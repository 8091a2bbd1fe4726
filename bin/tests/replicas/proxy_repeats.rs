//! What the proxy of `deploy/rolling` does with a request whose connection breaks before the answer: a keyed submit is
//! sent again, any other POST never.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use steadfast_client::{Client, Error, SubmitOptions};
use steadfast_domain::IdempotencyToken;
use steadfast_testkit::haproxy::HaProxy;
use steadfast_wire::SubmitRequest;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const PROXY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/rolling/haproxy.cfg");
/// One try, and the `retries` of the configuration.
const TRIES: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn only_a_keyed_submit_is_sent_again() {
    let replicas = Broken::listen().await;
    let haproxy = HaProxy::start(Path::new(PROXY), &[replicas.address; 3]).await;

    let plain = submit(&haproxy, SubmitOptions::default()).await;
    assert!(matches!(plain, Error::Unexpected { status: 502, .. }), "{plain:?}");
    assert_eq!(replicas.submits(), 1, "it may have been done");

    let key = Some(IdempotencyToken::new("again").expect("a valid key"));
    let keyed = submit(&haproxy, SubmitOptions { key, ..SubmitOptions::default() }).await;
    assert!(matches!(keyed, Error::Unexpected { status: 502, .. }), "{keyed:?}");
    assert_eq!(replicas.submits(), 1 + TRIES, "however often, it is done once");
}

/// On a connection of its own: a later one on it would be closed without an answer, not answered 502.
async fn submit(haproxy: &HaProxy, options: SubmitOptions) -> Error {
    let client = Client::new(&format!("http://{}", haproxy.address())).expect("an address");
    let job = SubmitRequest { kind: "echo".into(), ..SubmitRequest::default() };
    client.submit(&job, &options).await.expect_err("no replica answers")
}

/// Says that it is ready, and closes the connection of every submit.
struct Broken {
    address: SocketAddr,
    submits: Arc<AtomicUsize>,
    _serving: JoinSet<()>,
}

impl Broken {
    async fn listen() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let submits = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&submits);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A probe that gives up is no fault.
                let _ = answer(stream, &counted).await;
            }
        });
        Self { address, submits, _serving: serving }
    }

    fn submits(&self) -> usize {
        self.submits.load(Ordering::SeqCst)
    }
}

async fn answer(mut stream: TcpStream, submits: &AtomicUsize) -> std::io::Result<()> {
    let mut lines = BufReader::new(&mut stream).lines();
    let request = lines.next_line().await?.unwrap_or_default();
    while lines.next_line().await?.is_some_and(|line| !line.is_empty()) {}
    if request.starts_with("POST ") {
        submits.fetch_add(1, Ordering::SeqCst);
        return Ok(());
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await?;
    stream.shutdown().await
}
