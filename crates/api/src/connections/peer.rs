use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use http::Version;
use parking_lot::Mutex;

use super::socket::SocketWatch;

/// Who sent a request, and over what: an extension of every request that came through
/// [`Connections`](crate::Connections).
#[derive(Clone)]
pub struct Peer {
    address: SocketAddr,
    is_loopback: bool,
    reserved: bool,
    entrance: Entrance,
    connection: Arc<Seen>,
}

/// Where a connection came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entrance {
    /// The listener for everybody.
    Main,
    /// The one for those who run the server.
    Admin,
}

/// What was seen on a connection so far.
#[derive(Default)]
struct Seen {
    request: AtomicBool,
    http2: AtomicBool,
    go_away: AtomicBool,
    session: Mutex<Option<Upgraded>>,
    socket: OnceLock<SocketWatch>,
}

/// What a connection goes on with once its HTTP is over. Returns whether it may end politely.
pub(super) type Upgraded = Pin<Box<dyn Future<Output = bool> + Send>>;

impl Peer {
    pub(crate) fn new(address: SocketAddr, entrance: Entrance, reserved: bool) -> Self {
        let is_loopback = address.ip().to_canonical().is_loopback();
        Self { address, is_loopback, reserved, entrance, connection: Arc::default() }
    }

    /// Its socket, from now on.
    pub(super) fn speaks_over(&self, socket: SocketWatch) {
        // A connection has one socket.
        let _ = self.connection.socket.set(socket);
    }

    /// Whether nothing more is sent to it: what was to be sent and is dropped now was not.
    pub(crate) fn is_over(&self) -> bool {
        self.connection.socket.get().is_some_and(SocketWatch::is_over)
    }

    /// Whether it has gone, as far as the kernel knows, though the runtime may not have heard of it yet.
    pub(crate) fn is_gone(&self) -> bool {
        self.connection.socket.get().is_some_and(|socket| socket.is_over() || socket.is_closed_by_client())
    }

    /// Whether it is on this machine, and came by its loopback address.
    pub(crate) fn is_loopback(&self) -> bool {
        self.is_loopback
    }

    /// Whether it came by the admin listener.
    pub(crate) fn is_admin(&self) -> bool {
        self.entrance == Entrance::Admin
    }

    /// Whether the connection is one of those kept for health, metrics, control and the drain.
    pub(crate) fn is_reserved(&self) -> bool {
        self.reserved
    }

    /// Has the client told not to open further streams on this HTTP/2 connection.
    pub(crate) fn go_away(&self) {
        self.connection.go_away.store(true, Ordering::Release);
    }

    /// After the answer to this request the connection is no longer HTTP but `session`, which gets the socket from
    /// hyper and says in the end whether the connection may end politely.
    pub(crate) fn goes_on_with(&self, session: impl Future<Output = bool> + Send + 'static) {
        *self.connection.session.lock() = Some(Box::pin(session));
    }

    /// What the connection goes on with, if it does.
    pub(super) fn take_session(&self) -> Option<Upgraded> {
        self.connection.session.lock().take()
    }

    /// Notes that a request has come.
    pub(super) fn requests(&self, version: Version) {
        self.connection.request.store(true, Ordering::Release);
        if version == Version::HTTP_2 {
            self.connection.http2.store(true, Ordering::Release);
        }
    }

    /// Whether any request has come yet.
    pub(super) fn has_requested(&self) -> bool {
        self.connection.request.load(Ordering::Acquire)
    }

    /// Whether a request has come over HTTP/2.
    pub(super) fn speaks_http2(&self) -> bool {
        self.connection.http2.load(Ordering::Acquire)
    }

    /// Whether [`go_away`](Self::go_away) was called since the last time this was asked.
    pub(super) fn take_go_away(&self) -> bool {
        self.connection.go_away.load(Ordering::Acquire)
            && self.connection.go_away.swap(false, Ordering::AcqRel)
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("address", &self.address)
            .field("reserved", &self.reserved)
            .finish_non_exhaustive()
    }
}
