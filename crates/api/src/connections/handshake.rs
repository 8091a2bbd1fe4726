//! The beginning of a connection under TLS.

use std::io;
use std::pin::pin;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use super::connection::patience_for_first;
use super::peer::Peer;
use super::stream::{Stream, Tcp};
use super::tls::Tls;
use super::{Shared, Stage};

/// How long a handshake may take, from when all are closing. A request may be on its heels.
const CLOSING_GRACE: Duration = Duration::from_millis(500);
/// How often a handshake on a reserved connection is looked at: its patience may have become shorter.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// For who speaks HTTP where TLS is spoken: the one mistake that deserves an answer in words.
const SPEAK_TLS: &str = "TLS is spoken here: the address begins with https, not http\n";

/// How a handshake ended.
pub(super) enum Greeted {
    /// Requests may come.
    Whole(Stream),
    /// Nothing will come of it; the client was told why, and the connection is to be closed politely.
    Refused(Stream),
    /// It took too long, or is to end at once.
    Gone,
}

/// Waits for a whole handshake as long as the client's first words may take.
pub(super) async fn greet(shared: &Shared, tls: &Tls, stream: TcpStream, peer: &Peer) -> Greeted {
    let opened_at = Instant::now();
    let mut stage = shared.stage.subscribe();
    stage.mark_changed();
    let mut closing_at = None;
    // On the heap: the handshake's state would make every connection's task larger.
    let mut greeting = Box::pin(handshake(tls, Tcp::new(stream)));
    let mut look = pin!(sleep_until(opened_at));
    loop {
        tokio::select! {
            biased;
            greeted = &mut greeting => {
                let greeted = greeted.unwrap_or(Greeted::Gone);
                if matches!(greeted, Greeted::Refused(_)) {
                    shared.app.metrics.handshakes_refused.inc();
                }
                return greeted;
            }
            _ = stage.changed() => match *stage.borrow_and_update() {
                Stage::Serving | Stage::GoingAway => {}
                Stage::Closing => closing_at = Some(Instant::now() + CLOSING_GRACE),
                Stage::Cut => return Greeted::Gone,
            },
            () = look.as_mut() => {}
        }
        let now = Instant::now();
        let until = opened_at + patience_for_first(shared, peer);
        let until = closing_at.map_or(until, |closing_at| until.min(closing_at));
        if now >= until {
            return Greeted::Gone;
        }
        look.as_mut().reset(if peer.is_reserved() { until.min(now + LOOK_EVERY) } else { until });
    }
}

async fn handshake(tls: &Tls, mut tcp: Tcp) -> io::Result<Greeted> {
    let mut first = [0];
    if tcp.get().peek(&mut first).await? == 0 {
        return Ok(Greeted::Gone);
    }
    // TLS begins with a record of type 22, HTTP with the name of a method.
    if first[0].is_ascii_uppercase() {
        let length = SPEAK_TLS.len();
        let answer = format!(
            "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n{SPEAK_TLS}"
        );
        tcp.write_all(answer.as_bytes()).await?;
        return Ok(Greeted::Refused(Stream::Plain(tcp)));
    }
    match tls.acceptor().accept(tcp).into_fallible().await {
        Ok(stream) => Ok(Greeted::Whole(Stream::Tls(Box::new(stream)))),
        Err((error, tcp)) => {
            // rustls has sent the alert that says why.
            tracing::debug!(%error, "no TLS handshake came about");
            Ok(Greeted::Refused(Stream::Plain(tcp)))
        }
    }
}
