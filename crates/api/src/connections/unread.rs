use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Body as _;
use parking_lot::Mutex;
use tokio::time::Instant;

/// The parts of answers that a client has not taken yet. Over HTTP/2 it can leave an answer unread by opening
/// no window for it while its socket takes everything, so the socket does not tell; over HTTP/1.1 the socket
/// does not tell of one who takes a byte now and then. Bounded by the connection's streams.
#[derive(Debug, Clone, Default)]
pub(super) struct Unread(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    /// Since when each part waits. The first is the oldest.
    since: BTreeMap<u64, Instant>,
    next: u64,
}

/// One part that waits, until it is dropped.
#[derive(Debug)]
struct Part {
    unread: Unread,
    number: u64,
}

/// A part's bytes. hyper drops them when the last one is sent, or when the stream has ended.
struct Watched {
    bytes: Bytes,
    _part: Part,
}

impl Unread {
    /// The same body, each part of it watched from when it is there to be sent: a whole answer from now on, a
    /// stream's events one by one.
    pub(super) fn watch(&self, body: Body) -> Body {
        let mut whole = body.size_hint().exact().is_some_and(|bytes| bytes > 0).then(|| self.part());
        let unread = self.clone();
        Body::new(body.map_frame(move |frame| {
            frame.map_data(|bytes| {
                let part = whole.take().unwrap_or_else(|| unread.part());
                Bytes::from_owner(Watched { bytes, _part: part })
            })
        }))
    }

    /// Since when the oldest part waits.
    pub(super) fn since(&self) -> Option<Instant> {
        self.0.lock().since.first_key_value().map(|(_, since)| *since)
    }

    fn part(&self) -> Part {
        let mut waiting = self.0.lock();
        let number = waiting.next;
        waiting.next += 1;
        waiting.since.insert(number, Instant::now());
        Part { unread: self.clone(), number }
    }
}

impl AsRef<[u8]> for Watched {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.unread.0.lock().since.remove(&self.number);
    }
}
