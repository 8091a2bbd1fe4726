//! How much is worked on at once. What is over a limit is refused at once, never queued; but what takes load off the
//! server waits its turn, since to refuse it would keep the load.
//!
//! A handler says by its arguments which class it is of. Those with a body alone take their place by hand, once
//! it is there: what a client has yet to send is bounded by the memory of bodies, and must not keep others
//! out. What is in no class (liveness, the drain, pages) touches nothing that could be overloaded.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use http::Extensions;
use http::request::Parts;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::app::App;
use crate::config::Config;
use crate::connections::Peer;
use crate::problem::Refused;

/// Heartbeats, settlements, cancels, pauses and resumes worked on at once. Those that wait are bounded by the
/// connections and by the memory of bodies.
const CONTROL_REQUESTS_MAX: usize = 1_024;
/// Readiness probes and metrics scrapes at once, and as many on the admin listener: both ask the store.
const PROBES_MAX: usize = 64;

/// The places of each class of requests. One limit for all would let a flood of submits keep out what
/// empties the queue, and what tells that the server is alive.
pub(crate) struct Limits {
    work: Arc<Semaphore>,
    control: Arc<Semaphore>,
    probes: Arc<Semaphore>,
    /// The same of the admin listener, which a flood of the other must not keep from answering.
    admin_probes: Arc<Semaphore>,
    /// How long a place may be waited for.
    patience: Duration,
}

/// The place of a submit or a read, until it is dropped. A change takes it along until the store is done,
/// which a client that goes away does not hasten.
pub(crate) struct WorkPlace {
    _permit: OwnedSemaphorePermit,
}

/// The place of what takes load off the server, until it is dropped.
pub(crate) struct ControlPlace {
    _permit: OwnedSemaphorePermit,
}

/// The place of what only looks, and asks the store, until it is dropped.
pub(crate) struct ProbePlace {
    _permit: OwnedSemaphorePermit,
}

impl Limits {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            work: Arc::new(Semaphore::new(config.requests_max)),
            control: Arc::new(Semaphore::new(CONTROL_REQUESTS_MAX)),
            probes: Arc::new(Semaphore::new(PROBES_MAX)),
            admin_probes: Arc::new(Semaphore::new(PROBES_MAX)),
            patience: config.request_timeout,
        }
    }

    /// Whether a submit could have a place now: asked before its body is read for nothing.
    pub(crate) fn work_is_open(&self, extensions: &Extensions) -> Result<(), Refused> {
        if extensions.get::<Peer>().is_some_and(Peer::is_reserved) {
            return Err(Refused::overloaded("connections"));
        }
        match self.work.available_permits() {
            0 => Err(Self::work_is_full()),
            _ => Ok(()),
        }
    }

    /// A place for a submit whose body is there.
    pub(crate) fn take_work(&self) -> Result<WorkPlace, Refused> {
        match take(&self.work) {
            Some(permit) => Ok(WorkPlace { _permit: permit }),
            None => Err(Self::work_is_full()),
        }
    }

    /// A place for what takes load off the server, and whose body is there.
    pub(crate) async fn take_control(&self) -> Result<ControlPlace, Refused> {
        if let Some(permit) = take(&self.control) {
            return Ok(ControlPlace { _permit: permit });
        }
        match timeout(self.patience, Arc::clone(&self.control).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(ControlPlace { _permit: permit }),
            _ => Err(Refused::overloaded("control requests in work")),
        }
    }

    fn work_is_full() -> Refused {
        Refused::overloaded("requests in work")
    }
}

fn take(places: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    Arc::clone(places).try_acquire_owned().ok()
}

impl FromRequestParts<Arc<App>> for WorkPlace {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refused> {
        app.limits.work_is_open(&parts.extensions)?;
        app.limits.take_work()
    }
}

impl FromRequestParts<Arc<App>> for ControlPlace {
    type Rejection = Refused;

    async fn from_request_parts(_: &mut Parts, app: &Arc<App>) -> Result<Self, Refused> {
        app.limits.take_control().await
    }
}

impl FromRequestParts<Arc<App>> for ProbePlace {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refused> {
        let places = match parts.extensions.get::<Peer>().is_some_and(Peer::is_admin) {
            true => &app.limits.admin_probes,
            false => &app.limits.probes,
        };
        match take(places) {
            Some(permit) => Ok(Self { _permit: permit }),
            None => Err(Refused::overloaded("probes in work")),
        }
    }
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
        match take(&self.0) {
            Some(permit) => Ok(HeldSlot { _permit: permit }),
            None => Err(Refused::overloaded("held answers and streams")),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use axum::extract::Request;
    use steadfast_lifecycle::{drain_channel, phases};

    use super::*;
    use crate::access::Access;
    use crate::connections::Entrance;

    async fn probe(app: &Arc<App>, entrance: Entrance) -> Result<ProbePlace, Refused> {
        let mut request = Request::new(axum::body::Body::empty());
        request.extensions_mut().insert(Peer::new(([192, 0, 2, 1], 7).into(), entrance, false));
        ProbePlace::from_request_parts(&mut request.into_parts().0, app).await
    }

    #[tokio::test]
    async fn a_flood_of_probes_leaves_the_admin_listeners_alone() {
        let (phases, drain) = (phases().1, drain_channel().0);
        let registry = prometheus::Registry::new();
        let app = App::new(Config::default(), Access::default(), phases, drain, registry).unwrap();
        for entrance in [Entrance::Main, Entrance::Admin] {
            let mut places = Vec::new();
            for _ in 0..PROBES_MAX {
                places.push(probe(&app, entrance).await.unwrap());
            }
            assert!(probe(&app, entrance).await.is_err());
            let other = if entrance == Entrance::Main { Entrance::Admin } else { Entrance::Main };
            assert!(probe(&app, other).await.is_ok());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn control_waits_for_a_place_but_not_for_ever() {
        let limits = Limits::new(&Config::default());
        let mut places = Vec::new();
        for _ in 0..CONTROL_REQUESTS_MAX {
            places.push(limits.take_control().await.unwrap());
        }
        let mut next = Box::pin(limits.take_control());
        assert!((&mut next).now_or_never().is_none());
        places.pop();
        let _place = next.await.unwrap();
        let refused = limits.take_control().await.err().unwrap();
        assert_eq!(refused.code, steadfast_wire::ErrorCode::Overloaded);
    }
}
