use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde::Serialize;
use steadfast_lifecycle::Phase;
use steadfast_wire::{ClientMessage, ErrorCode, ServerMessage, Topic};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Error, Message, Utf8Bytes};

use super::subscriptions::Subscriptions;
use crate::access::InForce;
use crate::app::App;
use crate::limits::HeldSlot;
use crate::problem::Refused;
use crate::sse::{json, reconnect_after_ms};

/// Bytes of one message of a client.
const MESSAGE_BYTES_MAX: usize = 4 * 1024;
/// What is read at once.
const READ_BYTES: usize = 1024;
/// A client is pinged this often. One that has said nothing from one ping to the next is gone.
const PING_EVERY: Duration = Duration::from_secs(15);
/// How long the client may take to take the last message, and then to close, too.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// One open WebSocket. It writes one message at a time, and reads nothing meanwhile: what it holds for a client that
/// does not read is one message, and its connection's task sees that nothing is taken.
pub(super) struct Session<S> {
    app: Arc<App>,
    socket: WebSocketStream<S>,
    subscriptions: Subscriptions,
    ping: Interval,
    /// Whether the client has said anything since the last ping.
    is_heard: bool,
    _slot: HeldSlot,
}

/// Why a session ends.
enum End {
    /// The server has its reason.
    Close(CloseCode, &'static str),
    /// The server drains.
    Shutdown,
    /// The client has said that it closes.
    Goodbye,
    /// The client is not there any more.
    Gone,
}

/// The client takes nothing any more.
#[derive(Debug, PartialEq)]
struct Gone;

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    pub(super) async fn new(app: Arc<App>, socket: S, slot: HeldSlot) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BYTES)
            .write_buffer_size(0)
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        let mut ping = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            socket: WebSocketStream::from_raw_socket(socket, Role::Server, Some(config)).await,
            subscriptions: Subscriptions::new(Arc::clone(&app)),
            app,
            ping,
            is_heard: true,
            _slot: slot,
        }
    }

    /// Serves the client until it or the server goes, or its token. Returns whether the connection may end politely.
    pub(super) async fn run(mut self, mut in_force: InForce) -> bool {
        let phases = self.app.phases.clone();
        let end = tokio::select! {
            biased;
            _ = phases.at_least(Phase::Draining) => End::Shutdown,
            () = in_force.ended() => End::Close(CloseCode::Policy, "the token is in force no more"),
            end = self.serve() => end,
        };
        if timeout(CLOSE_WITHIN, self.say_goodbye(end)).await != Ok(Ok(())) {
            return false;
        }
        // Until the client has closed, too, or has been told that its close was heard.
        let _ = timeout(CLOSE_WITHIN, async { while let Some(Ok(_)) = self.socket.next().await {} }).await;
        true
    }

    /// Fails when the client is gone.
    async fn say_goodbye(&mut self, end: End) -> Result<(), Gone> {
        match end {
            End::Gone => Err(Gone),
            End::Goodbye => Ok(()),
            End::Close(code, reason) => self.close(code, reason).await,
            End::Shutdown => {
                let reconnect_after_ms = reconnect_after_ms();
                let last = message(&ServerMessage::ServerShutdown { reconnect_after_ms });
                self.socket.send(Message::Text(last)).await.map_err(|_| Gone)?;
                self.close(CloseCode::Restart, "the server shuts down").await
            }
        }
    }

    /// Cancelling it leaves the socket whole.
    async fn serve(&mut self) -> End {
        loop {
            let end = tokio::select! {
                message = self.socket.next() => self.hear(message).await,
                told = self.subscriptions.next() => self.tell(told).await,
                _ = self.ping.tick() => self.ping().await,
            };
            if let Err(end) = end {
                return end;
            }
        }
    }

    async fn hear(&mut self, message: Option<Result<Message, Error>>) -> Result<(), End> {
        self.is_heard = true;
        match message {
            Some(Ok(Message::Text(text))) => self.obey(&text).await,
            Some(Ok(Message::Binary(_))) => Err(End::Close(CloseCode::Unsupported, "messages are texts")),
            Some(Ok(Message::Close(_))) => Err(End::Goodbye),
            // A ping is answered by the library.
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Ok(()),
            Some(Err(Error::Capacity(_))) => Err(End::Close(CloseCode::Size, "a message is at most 4 KiB")),
            Some(Err(Error::Utf8(_))) => Err(End::Close(CloseCode::Invalid, "a text is UTF-8")),
            Some(Err(Error::Protocol(_))) => Err(End::Close(CloseCode::Protocol, "not as RFC 6455 has it")),
            Some(Err(_)) | None => Err(End::Gone),
        }
    }

    /// Does what the client says, or tells it why not.
    async fn obey(&mut self, text: &str) -> Result<(), End> {
        let answer = match read(text) {
            Err(refused) => error(&refused, None),
            Ok(ClientMessage { unsubscribe: Some(topic), .. }) => {
                self.subscriptions.remove(&topic);
                message(&ServerMessage::Unsubscribed { topic })
            }
            Ok(ClientMessage { subscribe: Some(topic), after, .. }) => {
                match self.subscriptions.add(&topic, after).await {
                    Ok(()) => message(&ServerMessage::Subscribed { topic }),
                    Err(refused) => error(&refused, Some(topic)),
                }
            }
            Ok(ClientMessage { subscribe: None, unsubscribe: None, .. }) => error(&not_one_of(), None),
        };
        self.tell(answer).await
    }

    async fn tell(&mut self, text: Utf8Bytes) -> Result<(), End> {
        self.socket.send(Message::Text(text)).await.map_err(|_| End::Gone)
    }

    async fn ping(&mut self) -> Result<(), End> {
        if !std::mem::take(&mut self.is_heard) {
            return Err(End::Gone);
        }
        self.socket.send(Message::Ping(Bytes::new())).await.map_err(|_| End::Gone)
    }

    async fn close(&mut self, code: CloseCode, reason: &'static str) -> Result<(), Gone> {
        let frame = CloseFrame { code, reason: Utf8Bytes::from_static(reason) };
        self.socket.close(Some(frame)).await.map_err(|_| Gone)
    }
}

fn read(text: &str) -> Result<ClientMessage, Refused> {
    let message: ClientMessage = serde_json::from_str(text).map_err(|fault| {
        let code = match fault.is_data() {
            true => ErrorCode::InvalidParameter,
            false => ErrorCode::MalformedJson,
        };
        Refused::new(code, format!("the message is not one: {fault}"))
    })?;
    match (&message.subscribe, &message.unsubscribe, message.after) {
        (Some(Topic::Job(_)), None, _) | (Some(_), None, None) | (None, Some(_), None) => Ok(message),
        (Some(_), None, Some(_)) => Err(Refused::new(
            ErrorCode::InvalidParameter,
            "only the changes of one job can be told from a version on",
        )),
        _ => Err(not_one_of()),
    }
}

fn not_one_of() -> Refused {
    Refused::new(ErrorCode::InvalidParameter, "a message has one of subscribe and unsubscribe")
}

/// A message as text.
pub(super) fn message(message: &impl Serialize) -> Utf8Bytes {
    json(message).unwrap_or_default().into()
}

/// What is wrong, and with which subscription.
pub(super) fn error(refused: &Refused, topic: Option<Topic>) -> Utf8Bytes {
    let (code, detail) = (refused.code.as_str().into(), refused.detail().to_owned());
    message(&ServerMessage::Error { code, detail, topic })
}

#[cfg(test)]
mod tests {
    use steadfast_lifecycle::{PhaseSender, drain_channel, phases};
    use tokio::io::DuplexStream;
    use tokio::time::sleep;

    use super::*;
    use crate::access::Access;
    use crate::config::Config;

    /// A session on one end of a pipe, and its client on the other.
    async fn session() -> (Session<DuplexStream>, WebSocketStream<DuplexStream>, PhaseSender) {
        let (phase, phases) = phases();
        let (drain, _) = drain_channel();
        let app = App::new(Config::default(), Access::default(), phases, drain, prometheus::Registry::new())
            .unwrap();
        let slot = app.held.take().unwrap();
        let (ours, theirs) = tokio::io::duplex(64);
        let client = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
        (Session::new(app, ours, slot).await, client, phase)
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_answers_nothing_is_gone_after_two_pings() {
        let (session, _client, _phase) = session().await;
        let began = Instant::now();
        assert!(!session.run(InForce::unlimited()).await);
        assert_eq!(began.elapsed(), 2 * PING_EVERY);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_answers_pings_stays() {
        let (session, mut client, _phase) = session().await;
        let answering = async { while let Some(Ok(_)) = client.next().await {} };
        let both = async { tokio::join!(session.run(InForce::unlimited()), answering) };
        assert!(timeout(100 * PING_EVERY, both).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_does_not_delay_a_drain() {
        let (session, mut client, phase) = session().await;
        // It says much, and the answers do not fit into the pipe.
        let talking = async {
            while client.send(Message::Text("what?".into())).await.is_ok() {}
            std::future::pending().await
        };
        let drains = async {
            sleep(PING_EVERY / 2).await;
            phase.advance(Phase::Draining);
        };
        let began = Instant::now();
        let (is_polite, ()) = tokio::select! {
            () = talking => unreachable!("the client talks for ever"),
            ended = async { tokio::join!(session.run(InForce::unlimited()), drains) } => ended,
        };
        assert!(!is_polite);
        assert_eq!(began.elapsed(), PING_EVERY / 2 + CLOSE_WITHIN);
    }
}
