//! HTTP/1.1 over a socket, plain or under TLS: for tests that must know which bytes went out and which came back, or
//! that send what no HTTP client would.

use std::fmt::Debug;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How long an answer may take to arrive before the test calls it lost.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
const HEADERS_MAX: usize = 64;

/// One connection. Requests on it go one after the other.
#[derive(Debug)]
pub struct RawConnection {
    stream: Box<dyn Duplex>,
    /// Received and not yet part of an answer.
    received: Vec<u8>,
}

/// What bytes go over in both directions.
pub trait Duplex: AsyncRead + AsyncWrite + Debug + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Debug + Send + Sync + Unpin> Duplex for T {}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawAnswer {
    /// The status code.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// All of the body.
    pub body: Vec<u8>,
}

/// Why there is no whole answer.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// The server closed in order, without a byte of an answer.
    #[error("end of file before the answer")]
    Eof,
    /// The server closed in the middle of one.
    #[error("end of file after {0} bytes of an answer")]
    Partial(usize),
    /// The connection broke: a reset, most likely.
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    /// Bytes that are no HTTP/1.1 answer with a `Content-Length`.
    #[error("not an answer: {0}")]
    Malformed(String),
    /// Nothing more came for 30 s.
    #[error("no answer in time")]
    TimedOut,
}

impl RawAnswer {
    /// The value of the header `name`, in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// Whether the server closes the connection after it.
    pub fn closes(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    /// The body as JSON; `null` when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

impl<T: Duplex + 'static> From<T> for RawConnection {
    fn from(stream: T) -> Self {
        Self { stream: Box::new(stream), received: Vec::new() }
    }
}

impl RawConnection {
    /// Opens a connection.
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(stream.into())
    }

    /// Opens a connection under TLS. The server has to have a certificate for its address.
    pub async fn open_tls(address: SocketAddr, client: &TlsConnector) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let stream = client.connect(address.ip().into(), stream).await?;
        Ok(stream.into())
    }

    /// Sends these bytes, all of them or an error.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// Sends a `POST` of JSON that keeps the connection.
    pub async fn post(&mut self, path: &str, body: &str) -> io::Result<()> {
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        self.send(request.as_bytes()).await
    }

    /// Sends a `GET` that keeps the connection.
    pub async fn get(&mut self, path: &str) -> io::Result<()> {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes()).await
    }

    /// Says that nothing more will be sent; under TLS in its words, too.
    pub async fn close(&mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }

    /// Reads the next answer.
    pub async fn answer(&mut self) -> Result<RawAnswer, NoAnswer> {
        loop {
            if let Some((answer, used)) = parse(&self.received)? {
                self.received.drain(..used);
                return Ok(answer);
            }
            if self.receive().await? == 0 {
                return Err(match self.received.len() {
                    0 => NoAnswer::Eof,
                    bytes => NoAnswer::Partial(bytes),
                });
            }
        }
    }

    /// Reads until the server closes; everything it sent that was no answer yet.
    pub async fn until_eof(&mut self) -> Result<Vec<u8>, NoAnswer> {
        while self.receive().await? > 0 {}
        Ok(std::mem::take(&mut self.received))
    }

    async fn receive(&mut self) -> Result<usize, NoAnswer> {
        let reading = self.stream.read_buf(&mut self.received);
        let bytes = tokio::time::timeout(ANSWER_WITHIN, reading).await.map_err(|_| NoAnswer::TimedOut)?;
        Ok(bytes?)
    }
}

/// The answer at the start of `bytes` and how many it takes; `None` while it is not whole.
fn parse(bytes: &[u8]) -> Result<Option<(RawAnswer, usize)>, NoAnswer> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Response::new(&mut headers);
    let head_bytes = match head.parse(bytes) {
        Ok(httparse::Status::Complete(bytes)) => bytes,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(NoAnswer::Malformed(error.to_string())),
    };
    let mut answer = RawAnswer {
        status: head.code.unwrap_or_default(),
        headers: head
            .headers
            .iter()
            .map(|h| (h.name.to_ascii_lowercase(), String::from_utf8_lossy(h.value).into_owned()))
            .collect(),
        body: Vec::new(),
    };
    let body_bytes = match answer.header("content-length").map(str::parse::<usize>) {
        Some(Ok(bytes)) => bytes,
        None if matches!(answer.status, 100..=199 | 204 | 304) => 0,
        other => return Err(NoAnswer::Malformed(format!("Content-Length {other:?}"))),
    };
    let Some(body) = bytes[head_bytes..].get(..body_bytes) else { return Ok(None) };
    answer.body = body.to_vec();
    Ok(Some((answer, head_bytes + body_bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &[u8] = b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\nConnection: Close\r\n\r\n{}HTTP/1.1 ";

    #[test]
    fn an_answer_is_whole_or_awaited() {
        let (answer, used) = parse(TWO).unwrap().unwrap();
        assert_eq!((answer.status, answer.body.as_slice(), answer.closes()), (202, &b"{}"[..], true));
        assert_eq!(&TWO[used..], b"HTTP/1.1 ");
        for cut in 0..used {
            assert!(parse(&TWO[..cut]).unwrap().is_none(), "{cut}");
        }
    }

    #[test]
    fn what_is_not_http_is_said_to_be_malformed() {
        assert!(matches!(parse(b"SSH-2.0-x\r\n\r\n"), Err(NoAnswer::Malformed(_))));
        assert!(matches!(parse(b"HTTP/1.1 200 OK\r\n\r\n"), Err(NoAnswer::Malformed(_))));
    }
}
