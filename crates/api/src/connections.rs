//! The accept loop, and everything it has accepted.
//!
//! `axum::serve` closes its listener as soon as it is told to stop, and then waits without end. Here the
//! listener stays open through the drain and closes last, every wait has an end, and nothing that a client
//! does or leaves undone holds a connection for ever:
//!
//! | what a client leaves undone | what ends it |
//! |---|---|
//! | its TLS handshake | `header_timeout`, in which it has to be whole |
//! | its first bytes, until the protocol is known | a deadline of `header_timeout` |
//! | a request's head; a next request | hyper's own timer, `header_timeout` |
//! | a request's body | `body_timeout`, then 408 |
//! | reading its answer | `stall_timeout` without a byte taken, looked at every half of it |
//! | opening an HTTP/2 window for it | `stall_timeout` for an answer, or an event of a stream, to be taken whole |
//! | either of these while answers that nobody reads take more than half of their memory | 5 s for an answer to be taken whole |
//! | answering HTTP/2 pings | 20 s and 10 s |
//! | answering a WebSocket's pings | 15 s until one is sent, and 15 s for any sign |
//! | closing its WebSocket, too | 1 s |
//! | closing after its last answer | 2 s of silence, or 30 s of sending |

mod connection;
mod goodbye;
mod handshake;
mod listener;
mod peer;
mod socket;
mod stream;
mod tls;
mod unread;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use prometheus::IntGauge;
use steadfast_lifecycle::{Phase, Tasks};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::app::App;
use crate::routes::{admin_router, router};
use connection::{Protocols, serve};
use goodbye::{GOODBYES_MAX, say_goodbye};
pub use listener::Listener;
use listener::let_no_handshake_begin;
pub(crate) use peer::Entrance;
pub use peer::Peer;
use stream::Stream;
pub use tls::{Tls, TlsError, TlsPart, TlsPem};

/// Connections accepted beyond `connections_max`. On them only health, metrics, control and the drain are
/// served; anything else is answered 503 `overloaded`. Each serves once, and a silent one is closed within a
/// second, so that the next one finds room. Beyond these, connections wait in the kernel's accept queue.
pub const RESERVED_CONNECTIONS: usize = 128;

/// Connections that may be open beyond `connections_max`: the reserved ones, and those that only say goodbye.
pub const EXTRA_CONNECTIONS: usize = RESERVED_CONNECTIONS + GOODBYES_MAX;

/// Connections at once of the admin listener, beside those of the other, and with as many extra ones.
pub const ADMIN_CONNECTIONS_MAX: usize = 64;

/// How long to leave the kernel alone when it has no file descriptor or memory for one more connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Pauses within so long of each other are one to the reader of the log.
const SAY_PAUSE_EVERY: Duration = Duration::from_secs(10);

/// How long handshakes that have begun may take to end before the listener closes.
const HANDSHAKE_ENDS: Duration = Duration::from_millis(5);

/// How long connections that were cut may take to notice.
const CUT_GRACE: Duration = Duration::from_millis(100);

/// The accept loop and everything it has accepted. Dropping it cuts all connections.
pub struct Connections {
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
    address: io::Result<SocketAddr>,
}

/// What closing did to the connections that were open, or waited to be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ConnectionReport {
    /// Ended in order: every request they had brought whole was answered whole.
    pub closed: usize,
    /// Still open at the deadline, and cut.
    pub cut: usize,
}

/// How far all connections are on their way to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Serving,
    /// HTTP/2 connections are told to go away; HTTP/1.1 ones learn it from their answers.
    GoingAway,
    /// Idle connections close, busy ones after their answer.
    Closing,
    Cut,
}

/// What every connection's task uses.
struct Shared {
    app: Arc<App>,
    entrance: Entrance,
    router: Router,
    /// Unless the connections are plain.
    tls: Option<Arc<Tls>>,
    protocols: Protocols,
    stage: watch::Sender<Stage>,
    /// Places for connections, the reserved ones included.
    places: Arc<Semaphore>,
    /// Places for connections that only say goodbye, beside those.
    goodbyes: Semaphore,
    tasks: Tasks,
    open: AtomicUsize,
    /// Ended in order since closing began.
    closed: AtomicUsize,
}

impl Connections {
    /// Serves `app` on `listener` until [`close`](Self::close), under `tls` if there is one. Must be called on a Tokio
    /// runtime.
    pub fn serve(listener: Listener, app: Arc<App>, tls: Option<Arc<Tls>>) -> Self {
        let connections = Self::begin(listener, app, tls, Entrance::Main);
        let shared = &connections.shared;
        shared.tasks.spawn("refusal summary", summarize_refusals(Arc::clone(shared)));
        connections
    }

    /// The same for those who run the server: probes, metrics, the drain, pauses, all without a token, and without TLS.
    /// What happens on the other listener takes no place from it.
    pub fn serve_admin(listener: Listener, app: Arc<App>) -> Self {
        Self::begin(listener, app, None, Entrance::Admin)
    }

    fn begin(listener: Listener, app: Arc<App>, tls: Option<Arc<Tls>>, entrance: Entrance) -> Self {
        let (router, connections_max) = match entrance {
            Entrance::Main => (router(Arc::clone(&app)), app.config.connections_max),
            Entrance::Admin => (admin_router(Arc::clone(&app)), ADMIN_CONNECTIONS_MAX),
        };
        let tasks = Tasks::new();
        let (stage, _) = watch::channel(Stage::Serving);
        let shared = Arc::new(Shared {
            entrance,
            router,
            tls,
            protocols: Protocols::new(&app.config, tasks.clone(), stage.subscribe()),
            places: Arc::new(Semaphore::new(connections_max + RESERVED_CONNECTIONS)),
            goodbyes: Semaphore::new(GOODBYES_MAX),
            open: AtomicUsize::new(0),
            closed: AtomicUsize::new(0),
            app,
            stage,
            tasks,
        });
        let address = listener.local_addr();
        let accepting = {
            let accept = accept(listener, Arc::clone(&shared));
            shared.tasks.spawn_essential("accept loop", &shared.app.drain, accept)
        };
        Self { shared, accepting, address }
    }

    /// Where it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.address {
            Ok(address) => Ok(*address),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        }
    }

    /// How many connections are open.
    pub fn open_count(&self) -> usize {
        self.shared.open.load(Ordering::Acquire)
    }

    /// Ends it all in order: accepts what waits in the accept queue of a listener that is bound, closes the
    /// listener, lets every connection answer what it was asked and close, and cuts at `deadline` those that have
    /// not.
    pub async fn close(mut self, deadline: Instant) -> ConnectionReport {
        self.shared.advance(Stage::Closing);
        let all_closed = async {
            // A panic in the accept loop was logged by its task; the connections end all the same.
            let _ = (&mut self.accepting).await;
            self.shared.tasks.idle().await;
        };
        let in_time = tokio::time::timeout_at(deadline, all_closed).await.is_ok();
        let cut = if in_time { 0 } else { self.shared.open.load(Ordering::Acquire) };
        let closed = self.shared.closed.load(Ordering::Acquire);
        self.shared.advance(Stage::Cut);
        self.shared.tasks.join(Instant::now() + CUT_GRACE).await;
        self.shared.app.refusals.log();
        ConnectionReport { closed, cut }
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        self.shared.advance(Stage::Cut);
    }
}

impl Shared {
    fn advance(&self, stage: Stage) {
        self.stage.send_if_modified(|current| {
            let forward = stage > *current;
            *current = stage.max(*current);
            forward
        });
    }

    /// Waits until connections are to close.
    async fn closing(&self) {
        let mut stage = self.stage.subscribe();
        // The sender lives in `self`.
        let _ = stage.wait_for(|stage| *stage >= Stage::Closing).await;
    }

    /// Serves a connection in a task of its own. Without a place it counts as a reserved one.
    fn open(self: &Arc<Self>, stream: TcpStream, address: SocketAddr, place: Option<OwnedSemaphorePermit>) {
        let reserved = place.is_none() || self.places.available_permits() < RESERVED_CONNECTIONS;
        let mut open = Open::new(Arc::clone(self), place);
        let peer = Peer::new(address, self.entrance, reserved);
        self.tasks.spawn("connection", async move {
            let Some(stream) = serve(&open.shared, stream, peer).await else { return };
            open.say_goodbye(stream).await;
            if *open.shared.stage.borrow() >= Stage::Closing {
                open.shared.closed.fetch_add(1, Ordering::AcqRel);
            }
        });
    }
}

/// Counts a connection while it is open.
struct Open {
    shared: Arc<Shared>,
    gauge: IntGauge,
    place: Option<OwnedSemaphorePermit>,
}

impl Open {
    fn new(shared: Arc<Shared>, place: Option<OwnedSemaphorePermit>) -> Self {
        let gauge = shared.app.metrics.connections.clone();
        shared.open.fetch_add(1, Ordering::AcqRel);
        gauge.inc();
        Self { shared, gauge, place }
    }

    /// Ends politely, if possible without keeping a place from others.
    async fn say_goodbye(&mut self, stream: Stream) {
        let goodbye = self.shared.goodbyes.try_acquire();
        if goodbye.is_ok() {
            self.place = None;
        }
        let mut stage = self.shared.stage.subscribe();
        tokio::select! {
            biased;
            () = say_goodbye(stream, self.place.is_some()) => {}
            // The sender lives in `shared`.
            _ = stage.wait_for(|stage| *stage == Stage::Cut) => {}
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.shared.open.fetch_sub(1, Ordering::AcqRel);
        self.gauge.dec();
    }
}

async fn accept(listener: Listener, shared: Arc<Shared>) {
    let accepting = async {
        tokio::join!(go_away_in_time(&shared), accept_while_places_last(listener.socket(), &shared));
    };
    tokio::select! {
        biased;
        () = shared.closing() => {}
        () = accepting => {}
    }
    match listener {
        Listener::Bound(socket) => accept_the_last(socket, &shared).await,
        // Whoever comes now waits for the next process.
        Listener::Inherited(_) => {}
    }
}

/// Accepts what waits, and closes the socket with nothing left in its accept queue.
async fn accept_the_last(bound: TcpListener, shared: &Arc<Shared>) {
    if let_no_handshake_begin(&bound).is_ok() {
        let _ = tokio::time::timeout(HANDSHAKE_ENDS, accept_while_places_last(&bound, shared)).await;
    }
    accept_what_waits(bound, shared);
}

async fn go_away_in_time(shared: &Shared) {
    shared.app.phases.at_least(Phase::LameDuck).await;
    shared.advance(Stage::GoingAway);
}

/// Never ends.
async fn accept_while_places_last(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut said_at: Option<Instant> = None;
    loop {
        // The semaphore is never closed.
        let place = Arc::clone(&shared.places).acquire_owned().await.ok();
        match listener.accept().await {
            Ok((stream, address)) => shared.open(stream, address, place),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                if said_at.is_none_or(|said_at| said_at.elapsed() >= SAY_PAUSE_EVERY) {
                    said_at = Some(Instant::now());
                    let open = shared.open.load(Ordering::Acquire);
                    tracing::warn!(%error, open, "no further connection can be accepted; trying again and again");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Accepts every connection that the kernel has ready, without waiting, and closes the listener. Tokio's own
/// readiness may lag behind the kernel's, so the kernel is asked.
fn accept_what_waits(listener: TcpListener, shared: &Arc<Shared>) {
    let Ok(listener) = listener.into_std() else { return };
    loop {
        let accepted = listener.accept().and_then(|(stream, address)| {
            stream.set_nonblocking(true)?;
            Ok((TcpStream::from_std(stream)?, address))
        });
        match accepted {
            Ok((stream, address)) => {
                let place = Arc::clone(&shared.places).try_acquire_owned().ok();
                shared.open(stream, address, place);
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(_) => return,
        }
    }
}

/// Whether only the connection that was to be accepted has failed. Everything else (no file descriptors, no
/// memory) would fail again at once.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

async fn summarize_refusals(shared: Arc<Shared>) {
    tokio::select! {
        () = shared.closing() => {}
        () = shared.app.refusals.summarize() => {}
    }
}
