use std::io;
use std::net::SocketAddr;

#[cfg(target_os = "linux")]
use socket2::{SockFilter, SockRef};
use tokio::net::TcpListener;

/// A socket to accept connections on, and what is to become of it in the end.
#[derive(Debug)]
pub enum Listener {
    /// Of this process alone. When it closes nobody listens there any more, so what waits in its accept queue is
    /// answered first.
    Bound(TcpListener),
    /// Of whoever started this process, too, and open for the process that comes next. What waits in its accept queue
    /// is left to that one.
    Inherited(TcpListener),
}

impl Listener {
    /// Where it listens.
    ///
    /// # Errors
    /// When the operating system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket().local_addr()
    }

    pub(super) const fn socket(&self) -> &TcpListener {
        match self {
            Self::Bound(socket) | Self::Inherited(socket) => socket,
        }
    }
}

/// Takes no SYN any more. Closing a listener resets what is in its accept queue, and a handshake could still
/// end there between the last accept and the close, with a request on its heels. So those that have begun
/// may end first; who comes now sends its SYN again a second later, and is refused.
///
/// Not for an inherited socket: the filter would stay on it for as long as anybody has it.
#[cfg(target_os = "linux")]
pub(super) fn let_no_handshake_begin(bound: &TcpListener) -> io::Result<()> {
    // A classic BPF program. It sees segments from their TCP header on (RFC 9293, section 3.1), and returns
    // how many bytes of one to keep.
    SockRef::from(bound).attach_filter(&[
        SockFilter::new(0x30, 0, 0, 13),       // load the byte with the flags
        SockFilter::new(0x45, 0, 1, 0x02),     // with SYN among them go on, else skip one
        SockFilter::new(0x06, 0, 0, 0),        // return 0: drop it
        SockFilter::new(0x06, 0, 0, u32::MAX), // return everything
    ])
}

/// Only Linux can: elsewhere a connection that comes between the last accept and the close is reset, with
/// nothing done.
#[cfg(not(target_os = "linux"))]
pub(super) fn let_no_handshake_begin(_bound: &TcpListener) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
