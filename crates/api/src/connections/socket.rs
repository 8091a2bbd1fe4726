use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::stream::Stream;

/// What an HTTP/2 connection begins with (RFC 9113, section 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A stream that hyper reads and writes, and that its connection's task keeps an eye on.
pub(super) struct Socket {
    watched: Arc<Mutex<Watched>>,
    /// Whether what was written may wait in the stream until it is flushed: hyper flushes more often than it writes.
    is_buffered: bool,
}

/// The task's view of a [`Socket`].
#[derive(Clone)]
pub(super) struct SocketWatch(Arc<Mutex<Watched>>);

struct Watched {
    /// `None` once the task has taken it.
    stream: Option<Stream>,
    /// Bytes of the HTTP/2 preface seen; `None` once the protocol is known.
    preface_seen: Option<usize>,
    /// Nothing more is sent: a write failed, or hyper is done with the stream.
    is_over: bool,
}

impl Socket {
    pub(super) fn new(stream: Stream) -> (Self, SocketWatch) {
        let is_buffered = stream.is_buffered();
        let watched = Watched { stream: Some(stream), preface_seen: Some(0), is_over: false };
        let watched = Arc::new(Mutex::new(watched));
        (Self { watched: Arc::clone(&watched), is_buffered }, SocketWatch(watched))
    }

    /// Writes or flushes.
    fn poll_send<T>(
        &self,
        send: impl FnOnce(Pin<&mut Stream>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let mut watched = self.watched.lock();
        let sent = match &mut watched.stream {
            Some(stream) => send(Pin::new(stream)),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        };
        watched.is_over |= matches!(sent, Poll::Ready(Err(_)));
        sent
    }
}

impl SocketWatch {
    /// Whether it is known which protocol the client speaks.
    pub(super) fn protocol_is_known(&self) -> bool {
        self.0.lock().preface_seen.is_none()
    }

    /// Since when the client has left an answer unread.
    pub(super) fn blocked_since(&self) -> Option<Instant> {
        self.0.lock().stream.as_ref().and_then(Stream::blocked_since)
    }

    /// Whether the client has sent what was not read yet. Asks the kernel: the runtime may learn of it later.
    pub(super) fn has_unread_bytes(&self) -> bool {
        self.0.lock().stream.as_ref().is_some_and(Stream::has_unread_bytes)
    }

    /// The same of a client of which nothing was read yet.
    pub(super) fn has_first_bytes_unread(&self) -> bool {
        let watched = self.0.lock();
        watched.preface_seen == Some(0) && watched.stream.as_ref().is_some_and(Stream::has_unread_bytes)
    }

    /// Whether nothing more is sent.
    pub(super) fn is_over(&self) -> bool {
        self.0.lock().is_over
    }

    /// Whether the client has closed its side, with nothing sent before. Asks the kernel.
    pub(super) fn is_closed_by_client(&self) -> bool {
        self.0.lock().stream.as_ref().is_none_or(Stream::is_closed_by_client)
    }

    /// Takes the stream away from hyper, which is done with it.
    pub(super) fn take(&self) -> Option<Stream> {
        let mut watched = self.0.lock();
        watched.is_over = true;
        watched.stream.take()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.watched.lock().is_over = true;
    }
}

impl Watched {
    /// Decides by the bytes just read whether the client speaks HTTP/2.
    fn look_for_preface(&mut self, read: &[u8]) {
        let Some(seen) = self.preface_seen else { return };
        let expected = &HTTP2_PREFACE[seen..];
        let compared = expected.len().min(read.len());
        let matches = expected[..compared] == read[..compared];
        let open = matches && compared < expected.len() && !read.is_empty();
        self.preface_seen = open.then_some(seen + compared);
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut watched = self.watched.lock();
        let Some(stream) = &mut watched.stream else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let before = buf.filled().len();
        let read = Pin::new(stream).poll_read(cx, buf);
        if read.is_ready() && watched.preface_seen.is_some() {
            watched.look_for_preface(&buf.filled()[before..]);
        }
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_send(|stream| stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(|stream| stream.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.is_buffered {
            true => self.poll_send(|stream| stream.poll_flush(cx)),
            false => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.watched.lock().stream {
            Some(stream) => Pin::new(stream).poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }
}
