//! The way to the supervisor: one datagram for each word, to the socket that `NOTIFY_SOCKET` names.

use std::ffi::OsStr;
use std::io;

#[cfg(unix)]
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// How long a word may take to be taken: a supervisor that hangs must not hold the server up.
#[cfg(unix)]
const SAY_LIMIT: std::time::Duration = std::time::Duration::from_millis(100);

/// A line to the supervisor. It is found anew for each word, since a supervisor may be started again.
#[cfg(unix)]
#[derive(Debug)]
pub(super) struct Line {
    socket: UnixDatagram,
    supervisor: SocketAddr,
}

#[cfg(unix)]
impl Line {
    /// To the socket of this name: a path, or `@` and a name of Linux's own.
    pub(super) fn to(name: &OsStr) -> io::Result<Self> {
        let supervisor = address(name)?;
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(SAY_LIMIT))?;
        Ok(Self { socket, supervisor })
    }

    pub(super) fn say(&self, words: &str) -> io::Result<()> {
        self.socket.send_to_addr(words.as_bytes(), &self.supervisor).map(drop)
    }
}

#[cfg(unix)]
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    use std::os::unix::ffi::OsStrExt;

    match name.as_bytes() {
        [b'/', ..] => SocketAddr::from_pathname(name),
        #[cfg(target_os = "linux")]
        [b'@', name @ ..] => {
            use std::os::linux::net::SocketAddrExt;
            SocketAddr::from_abstract_name(name)
        }
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "no address of a socket of this system")),
    }
}

/// There are no supervisors to tell here.
#[cfg(not(unix))]
#[derive(Debug)]
pub(super) enum Line {}

#[cfg(not(unix))]
impl Line {
    pub(super) fn to(_name: &OsStr) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn say(&self, _words: &str) -> io::Result<()> {
        match *self {}
    }
}
