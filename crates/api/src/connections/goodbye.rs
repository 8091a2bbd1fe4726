use std::io::ErrorKind;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::coop::consume_budget;
use tokio::time::{Instant, timeout_at};

use super::stream::Stream;

/// Connections that say goodbye at once without a place among the others.
pub(super) const GOODBYES_MAX: usize = 256;

/// How long a client may go on sending what nobody wants.
const TIME_MAX: Duration = Duration::from_secs(30);
/// The same for a connection that keeps its place, and others waiting.
const TIME_WITH_PLACE_MAX: Duration = Duration::from_secs(1);
/// A client that has been silent for so long has noticed, or is gone.
const SILENCE_MAX: Duration = Duration::from_secs(2);
const BYTES_AT_ONCE: usize = 16 * 1024;

/// Closes a connection on which the last answer has been written: says that nothing more comes, and throws
/// away what the client still sends until it closes too. Closing a socket with unread input would reset the
/// connection, and the reset destroy the answer on its way (RFC 9112, section 9.6). A client may well send
/// all of a large body before it looks for an answer, so time is the bound, not bytes.
///
/// Under TLS its own goodbye comes first (`close_notify`), without which a client could not tell the end from an
/// attack that cuts off. What still comes then need not be deciphered to be thrown away.
pub(super) async fn say_goodbye(mut stream: Stream, keeps_place: bool) {
    let now = Instant::now();
    let until = now + if keeps_place { TIME_WITH_PLACE_MAX } else { TIME_MAX };
    if !matches!(timeout_at(until.min(now + SILENCE_MAX), stream.shutdown()).await, Ok(Ok(()))) {
        return;
    }
    let stream = stream.into_socket();
    loop {
        let now = Instant::now();
        let silent = now + SILENCE_MAX;
        if now >= until || !matches!(timeout_at(silent.min(until), stream.readable()).await, Ok(Ok(()))) {
            return;
        }
        if !discard(&stream) {
            return;
        }
        // One that sends without a pause must not keep the thread to itself.
        consume_budget().await;
    }
}

/// Returns whether more may come. The buffer is not kept while waiting: there may be many who wait.
fn discard(stream: &TcpStream) -> bool {
    match stream.try_read(&mut [0; BYTES_AT_ONCE]) {
        Ok(bytes) => bytes > 0,
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}
