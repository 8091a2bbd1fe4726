use std::time::Duration;

use reqwest::{Response, StatusCode};
use serde::de::DeserializeOwned;
use steadfast_domain::{JobId, RawJson, Version};
use steadfast_wire::{JobDocument, ProcessingEvent, ProgressEvent, StateEvent};
use tokio::time::{Instant, sleep_until, timeout};

use crate::backoff::Backoff;
use crate::sse::{Event, Reader};
use crate::{Client, Error};

/// A server sends at least a comment every 15 s: one that has said nothing for so long is gone.
const SILENCE_MAX: Duration = Duration::from_secs(45);
/// The longest to stay away from a server that did not say how long, the first time and at most.
const RECONNECT_AFTER: Duration = Duration::from_secs(1);
const RECONNECT_AFTER_MAX: Duration = Duration::from_secs(5);

/// One thing that happened to a followed job.
#[derive(Debug, Clone, PartialEq)]
pub enum JobEvent {
    /// A durable change: each one once, in order.
    State(StateEvent),
    /// An attempt has begun. A hint: it may be missing.
    Processing {
        /// Its number, from 1.
        attempt: u32,
    },
    /// What the running attempt last reported. A hint.
    Progress(RawJson),
    /// The job has ended, and this is how. Nothing follows.
    End(Box<JobDocument>),
}

/// Follows one job to its end, over any number of connections: one that ends early is opened again, after the
/// time the server asked for, and goes on after the last change that was seen.
#[derive(Debug)]
pub struct JobEvents {
    client: Client,
    id: JobId,
    seen: Option<Version>,
    open: Option<Open>,
    /// Not before then is the server asked again.
    open_at: Instant,
    /// How long the server asked to stay away.
    asked: Option<Duration>,
    backoff: Backoff,
    ended: bool,
}

#[derive(Debug)]
struct Open {
    response: Response,
    reader: Reader,
}

impl JobEvents {
    pub(crate) fn new(client: Client, id: JobId, seen: Option<Version>) -> Self {
        let (open, open_at) = (None, Instant::now());
        let backoff = Backoff::new(RECONNECT_AFTER, RECONNECT_AFTER_MAX);
        Self { client, id, seen, open, open_at, asked: None, backoff, ended: false }
    }

    /// The version of the last durable change that was seen: what another client could go on after.
    pub fn seen(&self) -> Option<Version> {
        self.seen
    }

    /// What happens next; `None` after the end. An error when the server cannot be asked, or refuses: called
    /// again, it asks again, not before a pause. Cancelling it loses nothing.
    pub async fn next(&mut self) -> Result<Option<JobEvent>, Error> {
        while !self.ended {
            let Some(open) = &mut self.open else {
                self.connect().await?;
                continue;
            };
            if let Some(event) = open.reader.next() {
                self.backoff.reset();
                if let Some(event) = self.understand(event)? {
                    return Ok(Some(event));
                }
                continue;
            }
            match timeout(SILENCE_MAX, open.response.chunk()).await {
                Ok(Ok(Some(bytes))) => {
                    open.reader.feed(&bytes).map_err(|_| unexpected("an event without end"))?
                }
                // The server or something in between ended it. What was seen is known.
                Ok(Ok(None) | Err(_)) | Err(_) => self.disconnect(),
            }
        }
        Ok(None)
    }

    async fn connect(&mut self) -> Result<(), Error> {
        sleep_until(self.open_at).await;
        // Whatever comes of it, the next time is not at once.
        self.disconnect();
        let response = self.client.open_events(self.id, self.seen).await?;
        match response.status() {
            StatusCode::NO_CONTENT => self.ended = true,
            _ => self.open = Some(Open { response, reader: Reader::default() }),
        }
        Ok(())
    }

    fn disconnect(&mut self) {
        self.open = None;
        self.open_at = Instant::now() + self.backoff.next(rand::random(), self.asked);
    }

    fn understand(&mut self, event: Event) -> Result<Option<JobEvent>, Error> {
        if let Some(retry) = event.retry {
            self.asked = Some(Duration::from_millis(retry));
        }
        let version = event.id.as_deref().and_then(|id| id.parse().ok()).map(Version);
        let understood = match event.name.as_str() {
            "state" if version.is_some() => JobEvent::State(data(&event)?),
            "state" => JobEvent::Processing { attempt: data::<ProcessingEvent>(&event)?.attempt },
            "progress" => JobEvent::Progress(data::<ProgressEvent>(&event)?.progress),
            "end" => {
                self.ended = true;
                JobEvent::End(data(&event)?)
            }
            "server_shutdown" => {
                self.disconnect();
                return Ok(None);
            }
            // Later servers may say more.
            _ => return Ok(None),
        };
        self.seen = version.or(self.seen);
        Ok(Some(understood))
    }
}

fn data<T: DeserializeOwned>(event: &Event) -> Result<T, Error> {
    serde_json::from_str(&event.data).map_err(|error| unexpected(&format!("an event: {error}")))
}

fn unexpected(reason: &str) -> Error {
    Error::Unexpected { status: StatusCode::OK.as_u16(), reason: reason.to_owned(), retry_after: None }
}
