use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, Version};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use steadfast_lifecycle::Phase;
use steadfast_wire::ErrorCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};

use crate::app::App;
use crate::problem::{Refused, Repeat};

/// Bytes of submits' and lease requests' bodies in memory at once.
const WORK_MEMORY_BYTES: usize = 192 * 1024 * 1024;
/// The same of heartbeats and settlements, which submits must not keep out: they empty the queue.
const CONTROL_MEMORY_BYTES: usize = 64 * 1024 * 1024;
/// What each body takes of it from the start, to cover what its request needs besides: so many bytes of it
/// come without taking more. It also bounds how many bodies are read at once.
const WORK_BYTES_LEAST: usize = 16 * 1024;
/// The same of heartbeats and settlements: every connection may bring one at once.
const CONTROL_BYTES_LEAST: usize = 4 * 1024;
/// How long a body may take while more than half of the memory is taken: those that dawdle make room.
const HURRY: Duration = Duration::from_secs(2);
/// How often it is looked at how long a body may take.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A body of a refused request that is longer is not read over: the connection closes instead.
const UNREAD_BYTES_MAX: u64 = 16 * 1024;

/// How long a body that nobody reads is waited for, where it is.
const PASSED_WITHIN: Duration = Duration::from_secs(1);
/// How many of these are waited for at once: each keeps its request until then, and whoever sends it was refused.
const PASSED_OVER_MAX: usize = 1_024;

/// What a job's body may have beyond its payload: all other members at their limits, escaped, with room.
pub const ENVELOPE_BYTES_MAX: usize = 64 * 1024;

/// The memory that request bodies of one class share.
pub(crate) struct BodyMemory {
    left: Arc<Semaphore>,
    bytes: usize,
    /// What each body takes of it at least.
    least: usize,
}

/// What a body is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyOf {
    /// Something new, which a drain refuses.
    Work,
    /// What goes on through a drain.
    Control,
}

/// A whole request body, and its share of the memory.
#[derive(Debug)]
pub(crate) struct JsonBody {
    bytes: Bytes,
    memory: BodyShare,
}

/// What a body takes of the shared memory, until it is dropped.
pub(crate) type BodyShare = OwnedSemaphorePermit;

/// The memory of each class, and places for bodies that take none of it.
pub(crate) struct BodyMemories {
    work: BodyMemory,
    control: BodyMemory,
    passed_over: Semaphore,
}

impl Default for BodyMemories {
    fn default() -> Self {
        Self {
            work: BodyMemory::new(WORK_MEMORY_BYTES, WORK_BYTES_LEAST),
            control: BodyMemory::new(CONTROL_MEMORY_BYTES, CONTROL_BYTES_LEAST),
            passed_over: Semaphore::new(PASSED_OVER_MAX),
        }
    }
}

impl BodyMemories {
    fn of(&self, class: BodyOf) -> &BodyMemory {
        match class {
            BodyOf::Work => &self.work,
            BodyOf::Control => &self.control,
        }
    }

    /// Throws away the body of a request that is refused without a look at it. A short one over HTTP/2 is let come first,
    /// while there is a place for it: it is on its way, and the reset of a stream that is not whole makes some clients
    /// forget its answer. Of any other nothing is read, and the connection closes. Returns whether it goes on.
    pub(crate) async fn pass_over(&self, version: Version, mut body: Body) -> bool {
        match body.size_hint().upper() {
            Some(0) => true,
            Some(..=UNREAD_BYTES_MAX) if version == Version::HTTP_2 => {
                let Ok(_place) = self.passed_over.try_acquire() else { return false };
                let passed = async { while let Some(Ok(_)) = body.frame().await {} };
                timeout(PASSED_WITHIN, passed).await.is_ok()
            }
            _ => false,
        }
    }
}

impl Refused {
    /// The same, of a request whose body nobody reads. A short body is read over first, so that the connection
    /// goes on; before a longer one it closes, which the answer says.
    pub(crate) async fn before(self, app: &App, body: Body) -> Self {
        match body.size_hint().upper() {
            Some(0) => self,
            Some(..=UNREAD_BYTES_MAX)
                if in_time(app, body, BodyOf::Work, UNREAD_BYTES_MAX as usize).await.is_ok() =>
            {
                self
            }
            _ => self.and_close(),
        }
    }
}

impl JsonBody {
    /// Reads the body of a request with these headers, of at most `bytes_max` bytes. It must be declared as
    /// JSON, be whole within the body timeout, fit into what is left of its class's memory, and, if it is for
    /// something new, arrive before the server drains.
    pub(crate) async fn read(
        app: &App,
        headers: &HeaderMap,
        body: Body,
        class: BodyOf,
        bytes_max: usize,
    ) -> Result<Self, Refused> {
        if let Err(refused) = check_content_type(headers) {
            return Err(refused.before(app, body).await);
        }
        if body.size_hint().lower() > bytes_max as u64 {
            return Err(too_large(bytes_max));
        }
        in_time(app, body, class, bytes_max).await
    }

    /// The body's bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Gives up the text; the share goes on for what was read from it.
    pub(crate) fn into_share(self) -> BodyShare {
        self.memory
    }

    /// The body as text.
    pub(crate) fn text(&self) -> Result<&str, Refused> {
        std::str::from_utf8(&self.bytes).map_err(|error| {
            let at = error.valid_up_to();
            Refused::new(ErrorCode::MalformedJson, format!("the body is not valid UTF-8 at byte {at}"))
        })
    }
}

/// The whole body, if it comes before the body timeout and, if it is for something new, before the drain.
async fn in_time(app: &App, body: Body, class: BodyOf, bytes_max: usize) -> Result<JsonBody, Refused> {
    let memory = app.body_memory.of(class);
    let mut body = pin!(collect(memory, body, bytes_max));
    // Most bodies came with their heads.
    if let Some(body) = (&mut body).now_or_never() {
        return body;
    }
    // Boxed: it is rare, and the timers would make every request's future larger.
    Box::pin(async {
        tokio::select! {
            biased;
            body = body => body,
            () = patience(app, memory) => {
                let detail = "the request's body did not arrive in time";
                Err(Refused::new(ErrorCode::RequestTimeout, detail).and_close())
            }
            _ = app.phases.at_least(Phase::Draining), if class == BodyOf::Work => Err(drained(app).and_close()),
        }
    })
    .await
}

async fn collect(bodies: &BodyMemory, mut body: Body, bytes_max: usize) -> Result<JsonBody, Refused> {
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    let mut memory = bodies.take(bodies.least)?;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            let detail =
                "the request's body ended before it was whole, or its transfer encoding is not valid";
            return Err(Refused::new(ErrorCode::MalformedJson, detail).and_close());
        };
        let Ok(data) = frame.into_data() else { continue };
        let bytes = first.len() + all.len() + data.len();
        if bytes > bytes_max {
            return Err(too_large(bytes_max));
        }
        // A body that grows is moved to more room now and then, and takes up to twice its bytes.
        let needed = if bytes > data.len() { 2 * bytes } else { bytes };
        if needed > memory.num_permits() {
            memory.merge(bodies.take(needed - memory.num_permits())?);
        }
        // A body in one piece, the usual case, is not copied.
        if first.is_empty() && all.is_empty() {
            first = data;
        } else {
            all.extend_from_slice(&std::mem::take(&mut first));
            all.extend_from_slice(&data);
        }
    }
    let bytes = if all.is_empty() { first } else { all.freeze() };
    Ok(JsonBody { bytes, memory })
}

/// Ends when a body that is read from now on has taken too long.
async fn patience(app: &App, memory: &BodyMemory) {
    let began = Instant::now();
    loop {
        let patience = match memory.is_short() {
            true => app.config.body_timeout.min(HURRY),
            false => app.config.body_timeout,
        };
        let left = patience.saturating_sub(began.elapsed());
        if left.is_zero() {
            return;
        }
        sleep(left.min(LOOK_EVERY)).await;
    }
}

impl BodyMemory {
    fn new(bytes: usize, least: usize) -> Self {
        Self { left: Arc::new(Semaphore::new(bytes)), bytes, least }
    }

    fn is_short(&self) -> bool {
        self.left.available_permits() < self.bytes / 2
    }

    fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Refused> {
        u32::try_from(bytes)
            .ok()
            .and_then(|bytes| Arc::clone(&self.left).try_acquire_many_owned(bytes).ok())
            .ok_or_else(|| Refused::overloaded("bytes of request bodies").and_close())
    }
}

fn check_content_type(headers: &HeaderMap) -> Result<(), Refused> {
    let declared = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let media_type = declared.split(';').next().unwrap_or("").trim();
    let plain = headers.get(CONTENT_ENCODING).is_none_or(|coding| coding.as_bytes() == b"identity");
    if media_type.eq_ignore_ascii_case("application/json") && plain {
        return Ok(());
    }
    let detail = "send the body with Content-Type: application/json and without a content encoding";
    Err(Refused::new(ErrorCode::UnsupportedMediaType, detail))
}

fn too_large(bytes_max: usize) -> Refused {
    let detail = format!("the body has more than {bytes_max} bytes, which is the most it may have");
    Refused::new(ErrorCode::PayloadTooLarge, detail).and_close()
}

/// What a submit is answered once the server drains.
fn drained(app: &App) -> Refused {
    match app.services().map(|services| services.admission.open()) {
        Ok(Err(rejection)) => Refused::rejected(rejection, Repeat::Safe, true),
        _ => Refused::starting(),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;
    use http_body_util::Limited;

    use super::*;

    /// A short body of which nothing comes.
    fn stalled() -> Body {
        let never = Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
        Body::new(Limited::new(never, 9))
    }

    #[tokio::test(start_paused = true)]
    async fn refused_bodies_are_waited_for_only_while_there_are_places() {
        let memories = BodyMemories::default();
        let others = memories.passed_over.try_acquire_many(PASSED_OVER_MAX as u32 - 1).unwrap();
        let pass = || Box::pin(memories.pass_over(Version::HTTP_2, stalled()));
        let mut last = pass();
        assert_eq!((&mut last).now_or_never(), None);
        assert_eq!(pass().now_or_never(), Some(false), "it has no place");
        assert!(!last.await, "it took too long");
        assert_eq!(pass().now_or_never(), None, "its place is free again");
        drop(others);
    }
}
