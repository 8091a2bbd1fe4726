use serde_json::Value;
use steadfast_testkit::PATIENCE;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Outside, request};

/// An open event stream, read as it comes.
pub(crate) struct EventStream {
    pub(crate) head: String,
    socket: TcpStream,
    received: String,
}

/// One event's fields.
#[derive(Debug, Default)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) id: Option<String>,
    pub(crate) retry: Option<u64>,
    pub(crate) data: Value,
}

impl EventStream {
    pub(crate) async fn open(outside: &Outside, path: &str, last: Option<&str>) -> Self {
        let headers: Vec<_> = last.map(|id| ("Last-Event-ID", id)).into_iter().collect();
        Self::open_with(outside, path, &headers).await
    }

    pub(crate) async fn open_with(outside: &Outside, path: &str, headers: &[(&str, &str)]) -> Self {
        let mut socket = TcpStream::connect(outside.address).await.unwrap();
        // HTTP/1.0 has no chunks: the body is what comes until the end.
        let request = String::from_utf8(request("GET", path, headers, b"")).unwrap();
        socket.write_all(request.replace("HTTP/1.1", "HTTP/1.0").as_bytes()).await.unwrap();
        let mut stream = Self { head: String::new(), socket, received: String::new() };
        stream.head = stream.until("\r\n\r\n").await.unwrap();
        stream
    }

    /// What came up to and with `end`; `None` at the end of the stream.
    async fn until(&mut self, end: &str) -> Option<String> {
        loop {
            if let Some(at) = self.received.find(end) {
                return Some(self.received.drain(..at + end.len()).collect());
            }
            let mut bytes = [0; 4096];
            let read = tokio::time::timeout(PATIENCE, self.socket.read(&mut bytes)).await.unwrap().unwrap();
            if read == 0 {
                return None;
            }
            self.received.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
        }
    }

    pub(crate) async fn next(&mut self) -> Option<Event> {
        let text = self.until("\n\n").await?;
        let mut event = Event::default();
        for line in text.lines().filter(|line| !line.is_empty()) {
            let (field, value) = line.split_once(": ").unwrap_or_else(|| panic!("{line}"));
            match field {
                "event" => event.name = value.to_owned(),
                "id" => event.id = Some(value.to_owned()),
                "retry" => event.retry = value.parse().ok(),
                "data" => event.data = serde_json::from_str(value).unwrap(),
                other => panic!("{other}"),
            }
        }
        Some(event)
    }

    /// The next event that is a durable change: its id and state.
    pub(crate) async fn change(&mut self) -> (String, String) {
        loop {
            let event = self.next().await.unwrap();
            if let Some(id) = event.id {
                assert_eq!(event.name, "state");
                return (id, event.data["state"].as_str().unwrap().to_owned());
            }
        }
    }
}
