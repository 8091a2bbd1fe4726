use std::collections::BTreeSet;
use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::{Stream, unfold};
use steadfast_domain::{JobId, QueueName, Version};
use steadfast_queue::hub::{FeedReader, Followed, Follower, Heard};
use steadfast_wire::{AnyJobEvent, JobDocument, ServerMessage, Topic};
use tokio_stream::StreamMap;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::session::{error, message};
use crate::all_events::{declared, json_of};
use crate::app::{App, Services};
use crate::jobs::read;
use crate::limits::HeldSlot;
use crate::problem::Refused;
use crate::sse::json;

/// Topics of one connection. Each job takes a slot of those that all streams share, too.
const SUBSCRIPTIONS_MAX: usize = 100;

/// What one connection is to be told of.
pub(super) struct Subscriptions {
    app: Arc<App>,
    jobs: StreamMap<JobId, Pin<Box<dyn Stream<Item = Utf8Bytes> + Send>>>,
    queues: BTreeSet<QueueName>,
    all: bool,
    /// While there are queues, or all.
    feed: Option<FeedReader>,
}

impl Subscriptions {
    pub(super) fn new(app: Arc<App>) -> Self {
        Self { app, jobs: StreamMap::new(), queues: BTreeSet::new(), all: false, feed: None }
    }

    /// Adds a topic. A job that is there already is told of from `after` on again.
    pub(super) async fn add(&mut self, topic: &Topic, after: Option<Version>) -> Result<(), Refused> {
        let app = Arc::clone(&self.app);
        let services = app.services()?;
        self.remove(topic);
        if self.jobs.len() + self.queues.len() >= SUBSCRIPTIONS_MAX {
            return Err(Refused::overloaded("subscriptions on this connection"));
        }
        let _place = app.limits.take_work()?;
        match topic {
            Topic::Job(id) => {
                let slot = app.held.take()?;
                // Subscribed before the state is read, so that no change falls between the two.
                let follower = services.hub.follow(*id, after);
                let job = read(&app, services, *id).await?.ok_or_else(Refused::job_not_found)?;
                let job = OneJob { id: *id, queue: job.queue, follower, ended: false, _slot: slot };
                self.jobs.insert(*id, Box::pin(job.into_messages()));
            }
            Topic::Queue(name) => {
                let queue = declared(&app, services, name).await?;
                self.listen(services);
                self.queues.insert(queue);
            }
            Topic::All => {
                self.listen(services);
                self.all = true;
            }
        }
        Ok(())
    }

    /// Takes a topic away, if it is there.
    pub(super) fn remove(&mut self, topic: &Topic) {
        match topic {
            Topic::Job(id) => _ = self.jobs.remove(id),
            Topic::Queue(name) => self.queues.retain(|queue| queue.as_str() != name),
            Topic::All => self.all = false,
        }
        if !self.all && self.queues.is_empty() {
            self.feed = None;
        }
    }

    fn listen(&mut self, services: &Services) {
        self.feed.get_or_insert_with(|| services.hub.feed());
    }

    /// What is to be told next. Cancelling it loses nothing.
    pub(super) async fn next(&mut self) -> Utf8Bytes {
        loop {
            tokio::select! {
                heard = heard(&mut self.feed) => match heard {
                    Heard::Gap => return message(&ServerMessage::Resync),
                    Heard::Event(event) if self.all || self.queues.contains(&event.queue) => {
                        // It was written as text.
                        return Utf8Bytes::try_from(json_of(&event)).unwrap_or_default();
                    }
                    Heard::Event(_) => {}
                },
                Some((_, told)) = self.jobs.next(), if !self.jobs.is_empty() => return told,
            }
        }
    }
}

async fn heard(feed: &mut Option<FeedReader>) -> Heard {
    match feed {
        Some(reader) => reader.next().await,
        None => pending().await,
    }
}

/// One subscribed job.
struct OneJob {
    id: JobId,
    queue: QueueName,
    follower: Follower,
    ended: bool,
    _slot: HeldSlot,
}

impl OneJob {
    fn into_messages(self) -> impl Stream<Item = Utf8Bytes> {
        unfold(self, |mut job| async move {
            let told = job.next().await?;
            Some((told, job))
        })
    }

    /// The next message; none after the end, when the job is gone, or after an error.
    async fn next(&mut self) -> Option<Utf8Bytes> {
        if self.ended {
            return None;
        }
        let (id, queue, version) = (self.id, self.queue.as_str(), self.follower.delivered());
        let event = match self.follower.next().await {
            Ok(Some(Followed::State(change))) => AnyJobEvent::change(queue, change),
            Ok(Some(Followed::Processing { attempt })) => {
                AnyJobEvent::processing(id, queue, version, attempt)
            }
            Ok(Some(Followed::Progress(progress))) => AnyJobEvent::progress(id, queue, version, progress),
            Ok(Some(Followed::End(job))) => {
                self.ended = true;
                let version = job.version;
                let job = Box::new(JobDocument::listed(*job));
                return Some(message(&ServerMessage::End { id, version, job }));
            }
            Ok(None) => {
                self.ended = true;
                return Some(error(&Refused::job_not_found(), Some(Topic::Job(id))));
            }
            Err(failure) => {
                self.ended = true;
                return Some(error(&Refused::from(failure), Some(Topic::Job(id))));
            }
        };
        json(&event).map(Utf8Bytes::from)
    }
}
