//! `GET /v1/events`: what happens to all jobs, or to those of one queue, as server-sent events.

use std::sync::Arc;

use axum::extract::{Query, State};
use bytes::Bytes;
use http::HeaderMap;
use steadfast_domain::QueueName;
use steadfast_queue::hub::{FeedReader, Heard, JobEvent, JobNews};
use steadfast_wire::AnyJobEvent;

use crate::access::InForce;
use crate::answer::Answer;
use crate::app::{App, Services};
use crate::jobs::in_time;
use crate::limits::WorkPlace;
use crate::parameters::Parameters;
use crate::problem::Refused;
use crate::sse::{self, Source, json};

/// The id of everything that is told: an EventSource that comes back with it had a stream before.
const GREETING: &str = "id: 0\n\n";
const RESYNC: &str = "event: resync\ndata: {\"type\":\"resync\"}\n\n";

/// What stands before and behind the JSON of an event.
const STATE_BEGINS: &str = "event: state\ndata: ";
const PROGRESS_BEGINS: &str = "event: progress\ndata: ";
const EVENT_ENDS: &str = "\n\n";

/// The handler.
pub(crate) async fn of_all(
    State(app): State<Arc<App>>,
    _place: WorkPlace,
    in_force: InForce,
    headers: HeaderMap,
    query: Query<Vec<(String, String)>>,
) -> Answer {
    let services = app.services()?;
    let queue = match Parameters::new(query, &["queue"])?.text("queue") {
        Some(name) => Some(declared(&app, services, name).await?),
        None => None,
    };
    let slot = app.held.take()?;
    let had_one = headers.get("last-event-id").is_some_and(|value| !value.is_empty());
    let first = if had_one { format!("{GREETING}{RESYNC}").into() } else { GREETING.into() };
    let source = AllJobs { first: Some(first), reader: services.hub.feed(), queue };
    Ok(sse::stream(source, app.phases.clone(), in_force, slot))
}

/// A queue that exists.
pub(crate) async fn declared(app: &App, services: &Services, name: &str) -> Result<QueueName, Refused> {
    let queues = in_time(app, services.store.queues()).await?;
    let found = queues.into_iter().map(|status| status.name).find(|found| found.as_str() == name);
    found.ok_or_else(|| Refused::queue_not_found(name))
}

struct AllJobs {
    /// What is sent before anything is heard, so that the reader knows that it listens.
    first: Option<Bytes>,
    reader: FeedReader,
    queue: Option<QueueName>,
}

impl Source for AllJobs {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        loop {
            match self.reader.next().await {
                Heard::Gap => return Some(RESYNC.into()),
                Heard::Event(event) => {
                    if self.queue.as_ref().is_none_or(|queue| *queue == event.queue) {
                        return Some(event.text(write));
                    }
                }
            }
        }
    }
}

/// An event as it is sent.
fn write(event: &JobEvent) -> Bytes {
    let (queue, version) = (event.queue.as_str(), event.version);
    let data = match &event.news {
        JobNews::State(change) => AnyJobEvent::change(queue, *change),
        JobNews::Processing { attempt } => AnyJobEvent::processing(event.id, queue, version, *attempt),
        JobNews::Progress(progress) => AnyJobEvent::progress(event.id, queue, version, progress.clone()),
    };
    let json = json(&data).unwrap_or_default();
    format!("{}{json}{EVENT_ENDS}", begins(event)).into()
}

/// The JSON of an event, which all readers share.
pub(crate) fn json_of(event: &JobEvent) -> Bytes {
    let text = event.text(write);
    text.slice(begins(event).len()..text.len() - EVENT_ENDS.len())
}

fn begins(event: &JobEvent) -> &'static str {
    match event.news {
        JobNews::State(_) | JobNews::Processing { .. } => STATE_BEGINS,
        JobNews::Progress(_) => PROGRESS_BEGINS,
    }
}
