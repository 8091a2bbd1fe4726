//! One connection, from its first byte to its polite end.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::response::Response;
use http::header::{CONNECTION, TRANSFER_ENCODING};
use http::{HeaderValue, Request, Version};
use hyper::body::{Body as _, Incoming};
use hyper::rt::Executor;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use socket2::SockRef;
use steadfast_lifecycle::Tasks;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tower::Service as _;

use super::handshake::{Greeted, greet};
use super::peer::{Peer, Upgraded};
use super::socket::{Socket, SocketWatch};
use super::stream::{Stream, Tcp};
use super::unread::Unread;
use super::{Shared, Stage};
use crate::config::Config;

/// How long a reserved connection may take to bring its request, and to take its answer.
const RESERVED_PATIENCE: Duration = Duration::from_secs(1);
/// The same while all reserved places are taken. Whoever waits for one has sent its request meanwhile.
const RESERVED_HURRY: Duration = Duration::from_millis(20);
/// The same under TLS: until the server answers its first words, a client can send no request.
const RESERVED_HURRY_TLS: Duration = Duration::from_millis(200);
/// How often a connection is looked at again whose first bytes have come in time, and are not read yet.
const FIRST_BYTES_LOOK_EVERY: Duration = Duration::from_millis(5);
/// How long an answer may be left unread while answers are short of memory; also how often is looked.
const STALL_HURRY: Duration = Duration::from_secs(5);
/// An answer of HTTP/1.1 that is known to be shorter goes into the socket's own buffer, and is not watched.
const WATCHED_BYTES_LEAST: u64 = 4 * 1024;
/// How long a connection without any request yet may take to bring one when all are closing.
const FIRST_REQUEST_GRACE: Duration = Duration::from_millis(100);
/// How often a connection with unread bytes is looked at again when all are closing.
const CLOSING_LOOK_EVERY: Duration = Duration::from_millis(5);

/// hyper's read and write buffers of one connection.
const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// Requests at once on one HTTP/2 connection.
const HTTP2_STREAMS_MAX: u32 = 100;
const HTTP2_HEADER_BYTES_MAX: u32 = 16 * 1024;
const HTTP2_STREAM_WINDOW_BYTES: u32 = 64 * 1024;
const HTTP2_CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
const HTTP2_PING_EVERY: Duration = Duration::from_secs(20);
const HTTP2_PING_TIMEOUT: Duration = Duration::from_secs(10);

/// The protocols' settings.
pub(super) struct Protocols(Builder<Streams>);

impl Protocols {
    pub(super) fn new(config: &Config, tasks: Tasks, stage: watch::Receiver<Stage>) -> Self {
        let mut builder = Builder::new(Streams { tasks, stage });
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(config.header_timeout)
            .max_buf_size(BUFFER_BYTES_MAX);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(HTTP2_STREAMS_MAX)
            .max_header_list_size(HTTP2_HEADER_BYTES_MAX)
            .initial_stream_window_size(HTTP2_STREAM_WINDOW_BYTES)
            .initial_connection_window_size(HTTP2_CONNECTION_WINDOW_BYTES)
            .max_send_buf_size(BUFFER_BYTES_MAX)
            .keep_alive_interval(HTTP2_PING_EVERY)
            .keep_alive_timeout(HTTP2_PING_TIMEOUT);
        Self(builder)
    }
}

/// Runs the streams of HTTP/2 connections as tracked tasks, which end when connections are cut.
#[derive(Clone)]
struct Streams {
    tasks: Tasks,
    stage: watch::Receiver<Stage>,
}

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let mut stage = self.stage.clone();
        self.tasks.spawn("HTTP/2 stream", async move {
            tokio::select! {
                biased;
                () = stream => {}
                _ = stage.wait_for(|stage| *stage == Stage::Cut) => {}
            }
        });
    }
}

/// Serves a connection until nothing more is to be said on it, and returns its stream, to be closed politely;
/// `None` when it took too long and is to end at once.
pub(super) async fn serve(shared: &Shared, stream: TcpStream, peer: Peer) -> Option<Stream> {
    let stream = match &shared.tls {
        None => Stream::Plain(Tcp::new(stream)),
        Some(tls) => match greet(shared, tls, stream, &peer).await {
            Greeted::Whole(stream) => stream,
            Greeted::Refused(stream) => return Some(stream),
            Greeted::Gone => return None,
        },
    };
    let (socket, watch) = Socket::new(stream);
    peer.speaks_over(watch.clone());
    let unread = Unread::default();
    let service = service(shared.router.clone(), peer.clone(), unread.clone());
    let mut connection =
        pin!(shared.protocols.0.serve_connection_with_upgrades(TokioIo::new(socket), service));
    let mut stage = shared.stage.subscribe();
    let mut keeper = Keeper::new(shared, &watch, &unread, &peer);
    let mut look = pin!(sleep_until(keeper.next_look()));
    if *stage.borrow_and_update() > Stage::Serving {
        stage.mark_changed();
    }
    loop {
        let step = tokio::select! {
            biased;
            // hyper has no more to say of an error than that the client broke the protocol or went away.
            _ = poll_fn(|cx| {
                let polled = connection.as_mut().poll(cx);
                if polled.is_pending() && peer.take_go_away() {
                    connection.as_mut().graceful_shutdown();
                    return connection.as_mut().poll(cx);
                }
                polled
            }) => break,
            _ = stage.changed() => keeper.at_stage(*stage.borrow_and_update()),
            () = look.as_mut() => keeper.look(),
        };
        match step {
            Step::GoOn(next_look) => look.as_mut().reset(next_look),
            Step::Graceful(next_look) => {
                connection.as_mut().graceful_shutdown();
                look.as_mut().reset(next_look);
            }
            // There is no answer to be kept whole.
            Step::Stop => return None,
            Step::Reset => {
                reset(&watch);
                return None;
            }
            Step::Cut => return None,
        }
    }
    if let Some(session) = peer.take_session()
        && !go_on(session, &mut keeper, &mut stage, &watch).await
    {
        return None;
    }
    watch.take()
}

/// Lets a connection that is no longer HTTP go on to its end. Returns whether it is to be closed politely.
async fn go_on(
    mut session: Upgraded,
    keeper: &mut Keeper<'_>,
    stage: &mut watch::Receiver<Stage>,
    socket: &SocketWatch,
) -> bool {
    let mut look = pin!(sleep_until(keeper.next_look()));
    loop {
        tokio::select! {
            biased;
            is_polite = &mut session => return is_polite,
            _ = stage.changed() => {
                if *stage.borrow_and_update() == Stage::Cut {
                    return false;
                }
            }
            () = look.as_mut() => {
                if keeper.stalls() {
                    reset(socket);
                    return false;
                }
                look.as_mut().reset(keeper.next_look());
            }
        }
    }
}

/// What answers the connection's requests. A reserved connection serves once, so that the next client finds room.
fn service(
    router: Router,
    peer: Peer,
    unread: Unread,
) -> impl Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send + 'static> {
    service_fn(move |mut request: Request<Incoming>| {
        let version = request.version();
        let serves_once = peer.is_reserved() || may_hide_another(&request);
        peer.requests(version);
        request.extensions_mut().insert(peer.clone());
        let (answer, peer, unread) = (router.clone().call(request), peer.clone(), unread.clone());
        async move {
            let mut answer = answer.await?;
            if serves_once {
                match version {
                    Version::HTTP_2 => peer.go_away(),
                    _ => _ = answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close")),
                }
            }
            let is_long = answer.body().size_hint().exact().is_none_or(|bytes| bytes >= WATCHED_BYTES_LEAST);
            match version == Version::HTTP_2 || is_long {
                true => Ok(answer.map(|body| unread.watch(body))),
                false => Ok(answer),
            }
        }
    })
}

/// Whether something between client and server may have seen another end of this request, and so another request after
/// it: hyper takes any codings as long as the last one is `chunked`, and not everybody does. Where a `Content-Length`
/// contradicts them hyper itself closes (RFC 9112, section 6.3).
fn may_hide_another(request: &Request<Incoming>) -> bool {
    let mut codings = request.headers().get_all(TRANSFER_ENCODING).iter();
    let first_is_chunked =
        codings.next().is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    !first_is_chunked || codings.next().is_some()
}

/// What to do with a connection next.
enum Step {
    /// Nothing; look again then.
    GoOn(Instant),
    /// Let it finish what it does and take nothing more; look again then.
    Graceful(Instant),
    /// End it: nothing whole has come, and nothing was said.
    Stop,
    /// End it at once and throw away what the client does not read.
    Reset,
    /// End it at once.
    Cut,
}

/// Decides over a connection's life by the clock and by the stage all connections are in.
struct Keeper<'a> {
    shared: &'a Shared,
    socket: &'a SocketWatch,
    unread: &'a Unread,
    peer: &'a Peer,
    stall_timeout: Duration,
    opened_at: Instant,
    /// Whether all are closing, and this one has not been told yet.
    to_be_closed: bool,
}

impl<'a> Keeper<'a> {
    fn new(shared: &'a Shared, socket: &'a SocketWatch, unread: &'a Unread, peer: &'a Peer) -> Self {
        let stall_timeout = match peer.is_reserved() {
            true => shared.app.config.stall_timeout.min(RESERVED_PATIENCE),
            false => shared.app.config.stall_timeout,
        };
        Self { shared, socket, unread, peer, stall_timeout, opened_at: Instant::now(), to_be_closed: false }
    }

    fn at_stage(&mut self, stage: Stage) -> Step {
        match stage {
            Stage::Serving => Step::GoOn(self.next_look()),
            // Before its first request a client must not be sent away: it could never ask anything. The
            // first answer does it.
            Stage::GoingAway if self.peer.speaks_http2() => Step::Graceful(self.next_look()),
            Stage::GoingAway => Step::GoOn(self.next_look()),
            Stage::Closing => {
                self.to_be_closed = true;
                self.look()
            }
            Stage::Cut => Step::Cut,
        }
    }

    fn look(&mut self) -> Step {
        if self.to_be_closed {
            return self.close_when_quiet();
        }
        if self.waits_for_first() && self.opened_at.elapsed() >= patience_for_first(self.shared, self.peer) {
            // If its first bytes wait in the kernel, the runtime is late to hear of them, not the client to send them.
            return match self.socket.has_first_bytes_unread() {
                true => Step::GoOn(Instant::now() + FIRST_BYTES_LOOK_EVERY),
                false => Step::Stop,
            };
        }
        if self.stalls() {
            return Step::Reset;
        }
        Step::GoOn(self.next_look())
    }

    /// Whether the client has left an answer unread for too long. While answers are short of memory, one must
    /// be taken soon, and whole.
    fn stalls(&self) -> bool {
        let for_long = |since: Option<Instant>, patience| since.is_some_and(|at| at.elapsed() >= patience);
        let (blocked, unread) = (self.socket.blocked_since(), self.unread.since());
        let is_short = self.shared.app.answer_memory.is_short();
        let whole = if is_short { self.stall_timeout.min(STALL_HURRY) } else { self.stall_timeout };
        let whole_matters = is_short || self.peer.speaks_http2();
        for_long(blocked, self.stall_timeout) || (whole_matters && for_long(unread, whole))
    }

    /// Whether nothing has come yet that others look after: of the protocol, where hyper has a timer from then
    /// on; on a reserved connection, of a request.
    fn waits_for_first(&self) -> bool {
        match self.peer.is_reserved() {
            true => !self.peer.has_requested(),
            false => !self.socket.protocol_is_known(),
        }
    }

    fn next_look(&self) -> Instant {
        let next = Instant::now() + (self.stall_timeout / 2).min(STALL_HURRY);
        match self.peer.is_reserved() {
            true => next.min(Instant::now() + RESERVED_HURRY),
            false if self.waits_for_first() => {
                next.min(self.opened_at + patience_for_first(self.shared, self.peer))
            }
            false => next,
        }
    }

    /// hyper closes an idle connection at once when it is told to end, even if a whole request waits in the
    /// kernel, to which the answer would be lost. So what has come is served first.
    fn close_when_quiet(&mut self) -> Step {
        let now = Instant::now();
        let brings_first = !self.peer.has_requested() && now < self.opened_at + FIRST_REQUEST_GRACE;
        if brings_first || (self.socket.has_unread_bytes() && !self.peer.speaks_http2()) {
            return Step::GoOn(now + CLOSING_LOOK_EVERY);
        }
        self.to_be_closed = false;
        Step::Graceful(self.next_look())
    }
}

/// How long a client may take for what has to come first.
pub(super) fn patience_for_first(shared: &Shared, peer: &Peer) -> Duration {
    let patience = match peer.is_reserved() {
        true if shared.places.available_permits() > 0 => RESERVED_PATIENCE,
        true if shared.tls.is_some() => RESERVED_HURRY_TLS,
        true => RESERVED_HURRY,
        false => Duration::MAX,
    };
    patience.min(shared.app.config.header_timeout)
}

/// Closes the socket so that the kernel, too, forgets what the client does not read.
fn reset(socket: &SocketWatch) {
    if let Some(stream) = socket.take() {
        // If it fails, the kernel goes on trying for a while.
        let _ = SockRef::from(stream.socket()).set_linger(Some(Duration::ZERO));
    }
}
