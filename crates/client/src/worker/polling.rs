use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use steadfast_wire::lease::{Directive, LeaseAnswer, LeaseRequest};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::attempt::{Attempt, Failure, Finish};
use super::held::Lease;
use super::{Shared, attending};
use crate::Error;
use crate::backoff::Backoff;

/// The bounds of the delay before a failed poll is repeated: the first and the longest.
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(5);
/// How long to stay away from a server that drains and does not say how long.
const QUIET: Duration = Duration::from_secs(1);

/// Takes jobs whenever there is a place for one, and starts an attempt for each; returns only when the server will
/// not give any. A wrong token or certificate ends it at the start only: later on it is likely being replaced.
///
/// It may be dropped at any time: a server notices that its caller is gone, and takes back what it could not deliver.
pub(super) async fn poll<H, F>(shared: &Arc<Shared>, handler: H, attempts: &mut JoinSet<()>) -> Error
where
    H: Fn(Attempt) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Finish, Failure>> + Send + 'static,
{
    let handler = Arc::new(handler);
    let mut backoff = Backoff::new(FIRST_DELAY, LONGEST_DELAY);
    let mut was_let_in = false;
    // What was said in the log of the failures since the last answer: whether they are about access.
    let mut told = None;
    loop {
        while attempts.try_join_next().is_some() {}
        let mut places = free_places(shared).await;
        let asked = Instant::now();
        match shared.client.lease(&request(shared, places.num_permits())).await {
            Ok(answer) => {
                backoff.reset();
                was_let_in = true;
                told = None;
                let pause = pause(&answer);
                for lease in answer.leases {
                    // As many as there are places were asked for.
                    let Some(place) = places.split(1) else { break };
                    let lease = Arc::new(Lease::new(lease, asked, shared.config.lease));
                    shared.held.insert(&lease);
                    let attempt = Attempt { lease, shared: Arc::clone(shared) };
                    attempts.spawn(attending::attend(attempt, Arc::clone(&handler), place));
                }
                drop(places);
                shared.wake_renewing.notify_one();
                sleep(pause).await;
            }
            Err(error) if !(error.may_pass() || was_let_in && error.is_of_access()) => return error,
            Err(error) => {
                let is_of_access = error.is_of_access();
                if told != Some(is_of_access) {
                    tracing::warn!(%error, "no jobs can be taken; it is tried again until they can");
                }
                told = Some(is_of_access);
                drop(places);
                sleep(backoff.next(rand::random(), error.retry_after())).await;
            }
        }
    }
}

/// Waits for a place, and takes all that are free.
async fn free_places(shared: &Shared) -> OwnedSemaphorePermit {
    let places = Arc::clone(&shared.places);
    let Ok(mut taken) = Arc::clone(&places).acquire_owned().await else {
        // Nobody closes the semaphore.
        return std::future::pending().await;
    };
    // Only this loop takes places, so those that are free stay so.
    let more = u32::try_from(places.available_permits()).unwrap_or(u32::MAX);
    if let Ok(more) = places.try_acquire_many_owned(more) {
        taken.merge(more);
    }
    taken
}

fn request(shared: &Shared, places: usize) -> LeaseRequest {
    let config = &shared.config;
    LeaseRequest {
        queues: config.queues.clone(),
        kinds: config.kinds.clone(),
        worker: config.name.clone(),
        limit: Some(places as u64),
        wait_ms: Some(config.poll.as_millis() as u64),
        lease_ms: Some(config.lease.as_millis() as u64),
    }
}

/// How long to leave the server alone after this answer.
fn pause(answer: &LeaseAnswer) -> Duration {
    match answer.directive {
        Directive::Run => Duration::ZERO,
        Directive::Quiet => answer.retry_after_ms.map_or(QUIET, Duration::from_millis),
    }
}
