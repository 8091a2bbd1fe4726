//! What a supervisor gives this process and is told by it, in the words of systemd: sockets to listen on
//! (`sd_listen_fds(3)`), and how the server is (`sd_notify(3)`). Others speak them, too: Podman, s6, `systemfd`.

mod line;
mod sockets;
mod supervisor;

pub(crate) use sockets::InheritedSocket;
pub use sockets::{InheritedSockets, SocketsError};
pub(crate) use supervisor::Supervisor;
