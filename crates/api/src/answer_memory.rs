use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use hyper::body::{Body as _, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::answer::Answer;
use crate::problem::Refused;

/// Bytes of answers at once, in all, that clients have not taken yet.
const ANSWER_MEMORY_BYTES: usize = 256 * 1024 * 1024;
/// A shorter answer is not counted: its connection costs more.
const COUNTED_BYTES_LEAST: u64 = 4 * 1024;

/// The memory that answers share until their clients have taken them. Without it, clients that ask for much
/// and read nothing would fill the process, over HTTP/2 with a hundred answers for each connection.
pub(crate) struct AnswerMemory(Arc<Semaphore>);

/// An answer's body, of the same size, whose bytes hold the share.
struct Counted {
    body: Body,
    share: Arc<OwnedSemaphorePermit>,
}

/// A part of it. hyper drops it when its last byte is sent, or the client is gone.
struct Part {
    bytes: Bytes,
    _share: Arc<OwnedSemaphorePermit>,
}

impl Default for AnswerMemory {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(ANSWER_MEMORY_BYTES)))
    }
}

impl AnswerMemory {
    /// The answer to a read with its share, or 503 `overloaded`.
    pub(crate) fn admit(&self, answer: Response) -> Answer {
        match counted_bytes(&answer) {
            None => Ok(answer),
            Some(bytes) => match self.take(bytes) {
                Some(share) => Ok(with_share(answer, share)),
                None => Err(Refused::overloaded("bytes of answers that are not read")),
            },
        }
    }

    /// A part of a stream with its share; `None` when there is none left.
    pub(crate) fn admit_part(&self, bytes: Bytes) -> Option<Bytes> {
        if (bytes.len() as u64) < COUNTED_BYTES_LEAST {
            return Some(bytes);
        }
        let share = self.take(u32::try_from(bytes.len()).unwrap_or(u32::MAX))?;
        Some(Bytes::from_owner(Part { bytes, _share: Arc::new(share) }))
    }

    /// The answer to a change with its share as far as there is one: what was done must be told.
    pub(crate) fn count(&self, answer: Response) -> Response {
        match counted_bytes(&answer).and_then(|bytes| self.take(bytes)) {
            Some(share) => with_share(answer, share),
            None => answer,
        }
    }

    /// Whether those who do not read are to make room.
    pub(crate) fn is_short(&self) -> bool {
        self.0.available_permits() < ANSWER_MEMORY_BYTES / 2
    }

    fn take(&self, bytes: u32) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0).try_acquire_many_owned(bytes).ok()
    }
}

fn counted_bytes(answer: &Response) -> Option<u32> {
    let bytes = answer.body().size_hint().exact().filter(|bytes| *bytes >= COUNTED_BYTES_LEAST)?;
    Some(u32::try_from(bytes).unwrap_or(u32::MAX))
}

fn with_share(answer: Response, share: OwnedSemaphorePermit) -> Response {
    let share = Arc::new(share);
    answer.map(|body| Body::new(Counted { body, share }))
}

impl hyper::body::Body for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let share = Arc::clone(&self.share);
        let counted = |bytes| Bytes::from_owner(Part { bytes, _share: share });
        Pin::new(&mut self.body).poll_frame(cx).map_ok(|frame| frame.map_data(counted))
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
