use std::io;
use std::net::SocketAddr;
use std::ops::Range;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Fields of a head, at most.
const FIELDS_MAX: usize = 32;
/// Room for an answer to begin with: more than any single job's.
const ROOM: usize = 4 * 1024;
/// Bytes of one answer, at most: a full batch's jobs are far below.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;

/// A kept-alive connection with at most one request on its way. It opens again by itself when the server
/// has closed it after an answer.
#[derive(Debug)]
pub(crate) struct Connection {
    address: SocketAddr,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
    body: Range<usize>,
}

/// The head of an answer, as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    bytes: usize,
    body_bytes: usize,
    closes: bool,
}

impl Connection {
    /// Connects.
    pub(crate) async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = Some(connect(address).await?);
        Ok(Self { address, stream, buffer: vec![0; ROOM], body: 0..0 })
    }

    /// Sends a request and reads its answer to the end. Returns the status.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> io::Result<u16> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => connect(self.address).await?,
        };
        stream.write_all(request).await?;
        let mut filled = 0;
        loop {
            if filled == self.buffer.len() {
                self.buffer.resize(filled * 2, 0);
            }
            let read = stream.read(&mut self.buffer[filled..]).await?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            filled += read;
            let Some(head) = head(&self.buffer[..filled])? else { continue };
            let end = head.bytes + head.body_bytes;
            if self.buffer.len() < end {
                self.buffer.resize(end, 0);
            }
            if filled < end {
                stream.read_exact(&mut self.buffer[filled..end]).await?;
            }
            self.body = head.bytes..end;
            if !head.closes {
                self.stream = Some(stream);
            }
            return Ok(head.status);
        }
    }

    /// The body of the last answer.
    pub(crate) fn body(&self) -> &[u8] {
        &self.buffer[self.body.clone()]
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The head, once it is there whole.
fn head(received: &[u8]) -> io::Result<Option<Head>> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut answer = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(bytes) = answer.parse(received).map_err(malformed)? else {
        return if received.len() < ANSWER_BYTES_MAX {
            Ok(None)
        } else {
            Err(malformed("no end of the head"))
        };
    };
    let field = |name: &str| {
        let found = answer.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
        found.map(|field| field.value.trim_ascii())
    };
    let length = field("content-length").ok_or_else(|| malformed("no Content-Length"))?;
    let length: Option<usize> = std::str::from_utf8(length).ok().and_then(|text| text.parse().ok());
    let body_bytes = length.filter(|length| *length <= ANSWER_BYTES_MAX);
    let closes = field("connection").is_some_and(|value| value.eq_ignore_ascii_case(b"close"));
    Ok(Some(Head {
        status: answer.code.ok_or_else(|| malformed("no status"))?,
        bytes,
        body_bytes: body_bytes.ok_or_else(|| malformed("a Content-Length that is no length"))?,
        closes,
    }))
}

fn malformed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn a_head_is_read_once_it_is_whole() {
        let text =
            b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 7\r\nConnection: Close\r\n\r\n{\"a\":1}";
        let end = text.len() - 7;
        assert_eq!(head(&text[..end - 1]).unwrap(), None);
        let expected = Head { status: 429, bytes: end, body_bytes: 7, closes: true };
        assert_eq!(head(text).unwrap(), Some(expected));
    }

    #[test]
    fn an_answer_of_unknown_length_is_an_error() {
        assert!(head(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
        assert!(head(b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n").is_err());
        assert!(head(b"no HTTP at all\r\n\r\n").is_err());
    }

    /// Answers that come in pieces, one larger than the buffer, and one after which the server closes.
    #[tokio::test]
    async fn an_answer_is_read_to_its_end_and_a_closed_connection_opened_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let long = "x".repeat(3 * ROOM);
        let server = async {
            let (mut first, _) = listener.accept().await.unwrap();
            let mut request = [0; 4];
            first.read_exact(&mut request).await.unwrap();
            first.write_all(b"HTTP/1.1 202 Accepted\r\nContent-Le").await.unwrap();
            tokio::task::yield_now().await;
            first.write_all(b"ngth: 2\r\n\r\n{").await.unwrap();
            tokio::task::yield_now().await;
            first.write_all(b"}").await.unwrap();
            first.read_exact(&mut request).await.unwrap();
            let head =
                format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", long.len());
            first.write_all(head.as_bytes()).await.unwrap();
            first.write_all(long.as_bytes()).await.unwrap();
            drop(first);
            let (mut second, _) = listener.accept().await.unwrap();
            second.read_exact(&mut request).await.unwrap();
            second.write_all(b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        };
        let client = async {
            let mut connection = Connection::open(address).await.unwrap();
            assert_eq!(connection.exchange(b"GET1").await.unwrap(), 202);
            assert_eq!(connection.body(), b"{}");
            assert_eq!(connection.exchange(b"GET2").await.unwrap(), 200);
            assert_eq!(connection.body(), long.as_bytes());
            assert_eq!(connection.exchange(b"GET3").await.unwrap(), 204);
            assert_eq!(connection.body(), b"");
        };
        tokio::join!(server, client);
    }
}
