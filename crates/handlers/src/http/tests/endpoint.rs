use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// An endpoint on 127.0.0.1 that answers every request with the same bytes, and tells of each request and
/// of each connection that ends.
pub(super) struct Endpoint {
    pub(super) port: u16,
    seen: mpsc::Receiver<Seen>,
    _tasks: JoinSet<()>,
}

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Request(String),
    ConnectionEnded,
}

impl Endpoint {
    /// Answers with `answer`, closing the connection where `keep_open` is not set.
    pub(super) async fn answering(answer: impl Into<Vec<u8>>, keep_open: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (tell, seen) = mpsc::channel(64);
        let answer: Arc<[u8]> = answer.into().into();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(serve(stream, Arc::clone(&answer), keep_open, tell.clone()));
            }
        });
        Self { port, seen, _tasks: tasks }
    }

    /// The next request, head and body.
    pub(super) async fn request(&mut self) -> String {
        match self.seen.recv().await {
            Some(Seen::Request(text)) => text,
            other => panic!("a request was expected: {other:?}"),
        }
    }

    /// Waits for the end of a connection, which must be the next thing that happens.
    pub(super) async fn connection_ended(&mut self) {
        assert_eq!(self.seen.recv().await, Some(Seen::ConnectionEnded));
    }

    /// Whether nothing more has been seen.
    pub(super) fn is_quiet(&mut self) -> bool {
        self.seen.try_recv().is_err()
    }
}

async fn serve(mut stream: TcpStream, answer: Arc<[u8]>, keep_open: bool, tell: mpsc::Sender<Seen>) {
    while let Some(request) = read_request(&mut stream).await {
        tell.send(Seen::Request(request)).await.unwrap();
        if stream.write_all(&answer).await.is_err() || !keep_open {
            return;
        }
    }
    tell.send(Seen::ConnectionEnded).await.unwrap();
}

/// One whole request as text, or `None` when the peer is gone.
async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut text = String::new();
    loop {
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |n| n.parse().unwrap()) {
                return Some(text);
            }
        }
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return None,
            Ok(read) => text.push_str(std::str::from_utf8(&chunk[..read]).ok()?),
        }
    }
}
