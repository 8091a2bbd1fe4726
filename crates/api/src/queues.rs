use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;
use steadfast_domain::QueueName;
use steadfast_queue::Admission;
use steadfast_queue::admission::{QueueMode as Mode, Rates};
use steadfast_queue::store::QueueStatus;
use steadfast_wire::{QueueDepth, QueueDocument, QueueList, QueueMode, QueueRates};

use crate::answer::{Answer, json};
use crate::app::App;
use crate::jobs::in_time;
use crate::limits::{ControlPlace, WorkPlace};
use crate::parameters::{PathText, text_of};
use crate::problem::{Refused, Repeat};

/// `GET /v1/queues`.
pub(crate) async fn list(State(app): State<Arc<App>>, _place: WorkPlace) -> Answer {
    let services = app.services()?;
    let mut queues = in_time(&app, services.store.queues()).await?;
    queues.sort_by(|a, b| a.name.cmp(&b.name));
    let queues = queues.into_iter().map(|status| document(status, &services.admission)).collect();
    json(StatusCode::OK, &QueueList { queues })
}

/// `GET /v1/queues/{name}`.
pub(crate) async fn get(State(app): State<Arc<App>>, _place: WorkPlace, path: PathText) -> Answer {
    one(&app, &queue_name(path)?).await
}

/// `POST /v1/queues/{name}/pause`.
pub(crate) async fn pause(State(app): State<Arc<App>>, place: ControlPlace, path: PathText) -> Answer {
    set_paused(&app, path, true, place).await
}

/// `POST /v1/queues/{name}/resume`.
pub(crate) async fn resume(State(app): State<Arc<App>>, place: ControlPlace, path: PathText) -> Answer {
    set_paused(&app, path, false, place).await
}

async fn set_paused(app: &App, path: PathText, paused: bool, place: ControlPlace) -> Answer {
    let services = app.services()?;
    let queue = queue_name(path)?;
    let place = Arc::new(place);
    let done = services.admission.pause(&queue, paused, Arc::clone(&place)).await;
    done.map_err(|rejection| Refused::rejected(rejection, Repeat::Safe, true))?;
    // It is done: a failure to read the queue does not undo it.
    one(app, &queue).await.map_err(|refused| refused.in_doubt(Repeat::Safe))
}

async fn one(app: &App, queue: &QueueName) -> Answer {
    let services = app.services()?;
    let queues = in_time(app, services.store.queues()).await?;
    let found = queues.into_iter().find(|status| status.name == *queue);
    let found = found.ok_or_else(|| Refused::queue_not_found(queue.as_str()))?;
    json(StatusCode::OK, &document(found, &services.admission))
}

/// A queue's name from the path. What no queue can be called is simply not there.
fn queue_name(path: PathText) -> Result<QueueName, Refused> {
    let text = text_of(path, "name")?;
    QueueName::new(&text).map_err(|_| Refused::queue_not_found(&text))
}

/// What the store knows of a queue, which all replicas share, and what this process does with it.
fn document(status: QueueStatus, here: &Admission) -> QueueDocument {
    QueueDocument {
        mode: here.queue_mode(&status.name).map(mode),
        rates: here.queue_rates(&status.name).map(rates),
        jobs: status.live(),
        depth: QueueDepth::from_counts(status.depth),
        capacity: status.capacity_jobs,
        bytes: status.bytes,
        capacity_bytes: status.capacity_bytes,
        oldest_ready_age_ms: status.oldest_ready_at.map(|at| status.now.since(at).as_millis() as u64),
        paused: status.paused,
        name: status.name.as_str().to_owned(),
    }
}

fn mode(mode: Mode) -> QueueMode {
    match mode {
        Mode::Push => QueueMode::Push,
        Mode::Pull => QueueMode::Pull,
    }
}

fn rates(rates: Rates) -> QueueRates {
    // More digits than these would be noise.
    let rounded = |rate: f64| (rate * 1_000.0).round() / 1_000.0;
    QueueRates {
        submitted_per_second: rounded(rates.submitted),
        started_per_second: rounded(rates.started),
        finished_per_second: rounded(rates.finished),
    }
}
