use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;

/// A silent connection is probed after so long, and so often.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(15));

/// A TCP stream that remembers since when its client has taken nothing. Under TLS, too, this is where it shows:
/// what TLS takes in may wait in its buffer.
pub(super) struct Tcp {
    stream: TcpStream,
    blocked_since: Option<Instant>,
}

/// What a connection's bytes travel over.
pub(super) enum Stream {
    Plain(Tcp),
    /// After its handshake.
    Tls(Box<TlsStream<Tcp>>),
}

impl Tcp {
    pub(super) fn new(stream: TcpStream) -> Self {
        let socket = SockRef::from(&stream);
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE.0).with_interval(KEEPALIVE.1);
        // Without them the connection works too, only later or longer.
        let _ = socket.set_tcp_nodelay(true);
        let _ = socket.set_tcp_keepalive(&keepalive);
        Self { stream, blocked_since: None }
    }

    pub(super) const fn get(&self) -> &TcpStream {
        &self.stream
    }

    fn poll_write_with(
        &mut self,
        write: impl FnOnce(Pin<&mut TcpStream>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let written = write(Pin::new(&mut self.stream));
        match written {
            Poll::Pending => {
                self.blocked_since.get_or_insert_with(Instant::now);
            }
            Poll::Ready(_) => self.blocked_since = None,
        }
        written
    }
}

impl Stream {
    /// The socket beneath.
    pub(super) fn socket(&self) -> &TcpStream {
        self.tcp().get()
    }

    /// The same when nothing more is to be said.
    pub(super) fn into_socket(self) -> TcpStream {
        match self {
            Self::Plain(tcp) => tcp.stream,
            Self::Tls(tls) => tls.into_inner().0.stream,
        }
    }

    /// Whether what was written may wait here to be flushed.
    pub(super) const fn is_buffered(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Since when the client has left an answer unread.
    pub(super) fn blocked_since(&self) -> Option<Instant> {
        self.tcp().blocked_since
    }

    /// Whether the client has sent what was not read yet. Asks the kernel: the runtime may learn of it later.
    pub(super) fn has_unread_bytes(&self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        matches!(SockRef::from(self.socket()).peek(&mut byte), Ok(1..))
    }

    /// Whether the client has closed its side, with nothing sent before. Asks the kernel.
    pub(super) fn is_closed_by_client(&self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        match SockRef::from(self.socket()).peek(&mut byte) {
            Ok(0) => true,
            Ok(_) => matches!(self, Self::Tls(_)) && hung_up(self.socket()),
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }

    fn tcp(&self) -> &Tcp {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => tls.get_ref().0,
        }
    }
}

/// Whether the client will send nothing more, whatever it has sent: who closes under TLS says so first, in a record
/// that waits to be read.
#[cfg(target_os = "linux")]
fn hung_up(socket: &TcpStream) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut polled = [PollFd::new(socket, PollFlags::RDHUP)];
    poll(&mut polled, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}

/// Elsewhere the runtime will hear of it a moment later.
#[cfg(not(target_os = "linux"))]
fn hung_up(_socket: &TcpStream) -> bool {
    false
}

impl AsyncRead for Tcp {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Tcp {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_with(|stream| stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
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

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, slices),
            Self::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use tokio::io::{AsyncWriteExt, Interest};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn who_hangs_up_after_last_words_has_hung_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        client.write_all(b"bye").await.unwrap();
        server.readable().await.unwrap();
        assert!(!hung_up(&server));
        client.shutdown().await.unwrap();
        while !server.ready(Interest::READABLE).await.unwrap().is_read_closed() {
            tokio::task::yield_now().await;
        }
        assert!(hung_up(&server));
        assert!(!Stream::Plain(Tcp::new(server)).is_closed_by_client(), "plain words may be a request");
    }
}
