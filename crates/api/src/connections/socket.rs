use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// What an HTTP/2 connection begins with (RFC 9113, section 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A silent connection is probed after so long, and so often.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(15));

/// A TCP stream that hyper reads and writes, and that its connection's task keeps an eye on.
pub(super) struct Socket(Arc<Mutex<Watched>>);

/// The task's view of a [`Socket`].
#[derive(Clone)]
pub(super) struct SocketWatch(Arc<Mutex<Watched>>);

struct Watched {
    /// `None` once the task has taken it.
    stream: Option<TcpStream>,
    /// Bytes of the HTTP/2 preface seen; `None` once the protocol is known.
    preface_seen: Option<usize>,
    /// Since when a write has been waiting for the client to read.
    blocked_since: Option<Instant>,
    /// Nothing more is sent: a write failed, or hyper is done with the stream.
    is_over: bool,
}

impl Socket {
    pub(super) fn new(stream: TcpStream) -> (Self, SocketWatch) {
        let socket = SockRef::from(&stream);
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE.0).with_interval(KEEPALIVE.1);
        // Without them the connection works too, only later or longer.
        let _ = socket.set_tcp_nodelay(true);
        let _ = socket.set_tcp_keepalive(&keepalive);
        let watched =
            Watched { stream: Some(stream), preface_seen: Some(0), blocked_since: None, is_over: false };
        let watched = Arc::new(Mutex::new(watched));
        (Self(Arc::clone(&watched)), SocketWatch(watched))
    }

    fn poll_write_with(
        &self,
        write: impl FnOnce(Pin<&mut TcpStream>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let mut watched = self.0.lock();
        let written = match &mut watched.stream {
            Some(stream) => write(Pin::new(stream)),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        };
        match written {
            Poll::Pending => {
                watched.blocked_since.get_or_insert_with(Instant::now);
            }
            Poll::Ready(_) => watched.blocked_since = None,
        }
        watched.is_over |= matches!(written, Poll::Ready(Err(_)));
        written
    }
}

impl SocketWatch {
    /// Whether it is known which protocol the client speaks.
    pub(super) fn protocol_is_known(&self) -> bool {
        self.0.lock().preface_seen.is_none()
    }

    /// Since when the client has left an answer unread.
    pub(super) fn blocked_since(&self) -> Option<Instant> {
        self.0.lock().blocked_since
    }

    /// Whether the client has sent what was not read yet. Asks the kernel: the runtime may learn of it later.
    pub(super) fn has_unread_bytes(&self) -> bool {
        let watched = self.0.lock();
        let Some(stream) = &watched.stream else { return false };
        let mut byte = [MaybeUninit::uninit()];
        matches!(SockRef::from(stream).peek(&mut byte), Ok(1..))
    }

    /// Whether nothing more is sent.
    pub(super) fn is_over(&self) -> bool {
        self.0.lock().is_over
    }

    /// Whether the client has closed its side, with nothing sent before. Asks the kernel.
    pub(super) fn is_closed_by_client(&self) -> bool {
        let watched = self.0.lock();
        let Some(stream) = &watched.stream else { return true };
        let mut byte = [MaybeUninit::uninit()];
        match SockRef::from(stream).peek(&mut byte) {
            Ok(bytes) => bytes == 0,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }

    /// Takes the stream away from hyper, which is done with it.
    pub(super) fn take(&self) -> Option<TcpStream> {
        let mut watched = self.0.lock();
        watched.is_over = true;
        watched.stream.take()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.0.lock().is_over = true;
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
        let mut watched = self.0.lock();
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
        self.poll_write_with(|stream| stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_with(|stream| stream.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A TCP stream has no buffer of its own.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0.lock().stream {
            Some(stream) => Pin::new(stream).poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }
}
