use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

/// The name of the admin listener's socket. The other one may have any.
#[cfg(unix)]
const ADMIN: &str = "admin";

/// Listening sockets that whoever started this process has opened for it. They stay open when this process ends,
/// so a restart refuses no connection.
#[derive(Debug, Clone, Default)]
pub struct InheritedSockets {
    /// In place of the address of the setting `listen`.
    pub(crate) api: Option<InheritedSocket>,
    /// In place of the address of the setting `admin_listen`: the socket with the name `admin`.
    pub(crate) admin: Option<InheritedSocket>,
}

/// A socket that listens, and where.
#[derive(Debug, Clone)]
pub(crate) struct InheritedSocket {
    pub(crate) socket: Arc<TcpListener>,
    pub(crate) address: SocketAddr,
}

/// Why the sockets that were handed over cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SocketsError {
    /// One is no TCP socket that listens.
    #[error("the socket handed over as {name:?} (LISTEN_FDS) is no TCP socket that listens: {reason}")]
    Unusable {
        /// Its name, from `FileDescriptorName=` of the socket unit.
        name: String,
        /// What it is.
        reason: io::Error,
    },
    /// There are more than the server has use for.
    #[error(
        "the server listens on one socket, and on one with the name \"admin\" (FileDescriptorName=); it was handed \
         over a further one as {0:?} (LISTEN_FDS)"
    )]
    TooMany(String),
}

impl InheritedSockets {
    /// Takes what the environment of this process says was handed over, and takes that out of the environment. So it
    /// is to be called once, before any thread is started.
    ///
    /// # Errors
    /// When the server cannot listen on them.
    #[cfg(unix)]
    pub fn from_environment() -> Result<Self, SocketsError> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let names = names.split(':').chain(std::iter::repeat(""));
        let mut handed_over = listenfd::ListenFd::from_env();
        let mut sockets = Self::default();
        for (index, name) in (0..handed_over.len()).zip(names) {
            let unusable = |reason| SocketsError::Unusable { name: name.to_owned(), reason };
            let socket = handed_over.take_tcp_listener(index).map_err(unusable)?;
            let socket = socket.map(InheritedSocket::new).transpose().map_err(unusable)?;
            let place = if name == ADMIN { &mut sockets.admin } else { &mut sockets.api };
            if std::mem::replace(place, socket).is_some() {
                return Err(SocketsError::TooMany(name.to_owned()));
            }
        }
        Ok(sockets)
    }

    /// No supervisor hands over sockets here.
    ///
    /// # Errors
    /// None.
    #[cfg(not(unix))]
    pub fn from_environment() -> Result<Self, SocketsError> {
        Ok(Self::default())
    }
}

#[cfg(unix)]
impl InheritedSocket {
    fn new(socket: TcpListener) -> io::Result<Self> {
        if !rustix::net::sockopt::socket_acceptconn(&socket)? {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it does not listen"));
        }
        socket.set_nonblocking(true)?;
        Ok(Self { address: socket.local_addr()?, socket: Arc::new(socket) })
    }
}
