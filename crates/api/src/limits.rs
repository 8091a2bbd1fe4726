//! How much is worked on at once. What is over a limit is refused at once, never queued.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::app::App;
use crate::config::Config;
use crate::connections::Peer;
use crate::problem::Refused;

/// Cancels, pauses and resumes worked on at once.
const CONTROL_REQUESTS_MAX: usize = 1_024;
/// Readiness probes and metrics scrapes at once: both ask the store.
const PROBES_MAX: usize = 64;

/// The places of each class of requests. One limit for all would let a flood of submits keep out what
/// empties the queue, and what tells that the server is alive. Routes in no class do no work worth limiting.
pub(crate) struct Limits {
    work: Arc<Semaphore>,
    control: Arc<Semaphore>,
    probes: Arc<Semaphore>,
}

/// A request's place; given back when the request is answered and what it changes is done, which a client that
/// goes away does not hasten; or earlier by [`Place::give_back`].
#[derive(Clone)]
pub(crate) struct Place(Arc<Mutex<Option<OwnedSemaphorePermit>>>);

impl Limits {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            work: Arc::new(Semaphore::new(config.requests_max)),
            control: Arc::new(Semaphore::new(CONTROL_REQUESTS_MAX)),
            probes: Arc::new(Semaphore::new(PROBES_MAX)),
        }
    }
}

impl Place {
    fn take(places: &Arc<Semaphore>, what: &str) -> Result<Self, Refused> {
        match Arc::clone(places).try_acquire_owned() {
            Ok(permit) => Ok(Self(Arc::new(Mutex::new(Some(permit))))),
            Err(_) => Err(Refused::overloaded(what)),
        }
    }

    /// Gives the place back before the request is answered: it only waits from here on.
    pub(crate) fn give_back(&self) {
        self.0.lock().take();
    }
}

/// Submits and reads.
pub(crate) async fn work(
    State(app): State<Arc<App>>,
    mut request: Request,
    next: Next,
) -> Result<Response, Refused> {
    if request.extensions().get::<Peer>().is_some_and(Peer::is_reserved) {
        return Err(Refused::overloaded("connections"));
    }
    let place = Place::take(&app.limits.work, "requests in work")?;
    request.extensions_mut().insert(place.clone());
    let response = next.run(request).await;
    drop(place);
    Ok(response)
}

/// What takes load off the server.
pub(crate) async fn control(
    State(app): State<Arc<App>>,
    mut request: Request,
    next: Next,
) -> Result<Response, Refused> {
    let place = Place::take(&app.limits.control, "control requests in work")?;
    request.extensions_mut().insert(place.clone());
    let response = next.run(request).await;
    drop(place);
    Ok(response)
}

/// What only looks, and asks the store.
pub(crate) async fn probe(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Result<Response, Refused> {
    let _place = Place::take(&app.limits.probes, "probes in work")?;
    Ok(next.run(request).await)
}

/// Answers that wait, and streams, which hold no request's place.
pub(crate) struct Held(Arc<Semaphore>);

/// One held answer's or stream's slot, until it is dropped.
pub(crate) struct HeldSlot {
    _permit: OwnedSemaphorePermit,
}

impl Held {
    pub(crate) fn new(held_max: usize) -> Self {
        Self(Arc::new(Semaphore::new(held_max)))
    }

    /// A slot, or 503 `overloaded`.
    pub(crate) fn take(&self) -> Result<HeldSlot, Refused> {
        match Arc::clone(&self.0).try_acquire_owned() {
            Ok(permit) => Ok(HeldSlot { _permit: permit }),
            Err(_) => Err(Refused::overloaded("held answers and streams")),
        }
    }
}
