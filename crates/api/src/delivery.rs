//! Leases on their way to a worker. Those whose answer cannot be sent go back to their queues at once (ADR 0019).

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use steadfast_queue::lease_desk::Undelivered;

use crate::connections::Peer;

/// What an answer hands over. Dropped before any of it is there to be sent, it goes back.
struct HandOver {
    undelivered: Undelivered,
    peer: Option<Peer>,
}

/// An answer's body, of the same size, which hands over with its first part.
struct Delivering {
    body: Body,
    hand_over: Option<HandOver>,
}

/// A part of it. hyper drops it when its last byte is sent, or when the connection is over.
struct Part {
    bytes: Bytes,
    hand_over: HandOver,
}

/// The answer to this peer, with which it gets what is undelivered. Without a peer, as in a test without sockets, what
/// is taken from the body is delivered.
pub(crate) fn delivering(answer: Response, undelivered: Undelivered, peer: Option<Peer>) -> Response {
    let hand_over = Some(HandOver { undelivered, peer });
    answer.map(|body| Body::new(Delivering { body, hand_over }))
}

impl hyper::body::Body for Delivering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        polled.map_ok(|frame| {
            frame.map_data(|bytes| match self.hand_over.take() {
                Some(hand_over) => Bytes::from_owner(Part { bytes, hand_over }),
                None => bytes,
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let HandOver { undelivered, peer } = &mut self.hand_over;
        if !peer.as_ref().is_some_and(Peer::is_over) {
            undelivered.delivered();
        }
    }
}
