//! Streams of server-sent events, read from plain sockets.

use std::net::SocketAddr;

use steadfast_testkit::PATIENCE;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const READ_BYTES: usize = 1024;

/// An open stream.
pub(crate) struct Listener {
    socket: TcpStream,
    received: Vec<u8>,
}

impl Listener {
    /// Opens a stream and waits for the first bytes of its body: from then on it hears everything.
    pub(crate) async fn open(address: SocketAddr, path: &str) -> Self {
        let mut socket = TcpStream::connect(address).await.expect("a connection");
        // HTTP/1.0 has no chunks: the body is what comes until the end.
        let request = format!("GET {path} HTTP/1.0\r\nHost: t\r\n\r\n");
        socket.write_all(request.as_bytes()).await.expect("the request is sent");
        let mut listener = Self { socket, received: Vec::new() };
        let head = listener.until("\r\n\r\n").await;
        assert!(head.contains(" 200 "), "{head}");
        listener.until("\n\n").await;
        listener
    }

    /// What came up to and with `end`.
    pub(crate) async fn until(&mut self, end: &str) -> String {
        loop {
            let found = self.received.windows(end.len()).position(|bytes| bytes == end.as_bytes());
            if let Some(at) = found {
                let text = self.received.drain(..at + end.len()).collect();
                return String::from_utf8(text).expect("events are UTF-8");
            }
            assert!(self.read().await, "the stream ended before {end:?}");
        }
    }

    /// Everything until the stream ends.
    pub(crate) async fn rest(mut self) -> String {
        while self.read().await {}
        String::from_utf8(self.received).expect("events are UTF-8")
    }

    /// Returns whether more may come.
    async fn read(&mut self) -> bool {
        let mut bytes = [0; READ_BYTES];
        let read = timeout(PATIENCE, self.socket.read(&mut bytes)).await.expect("something comes");
        let read = read.expect("the stream is not cut");
        self.received.extend_from_slice(&bytes[..read]);
        read > 0
    }
}
