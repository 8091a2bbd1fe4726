use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderName};
use reqwest::{Method, RequestBuilder, Response, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use steadfast_domain::{IdempotencyToken, JobId, QueueName, TraceParent, Version};
use steadfast_wire::{
    BatchAnswer, BatchRequest, Drain, Health, JobDocument, JobPage, QueueDocument, QueueList, Ready,
    SubmitRequest,
};

use crate::{Error, JobEvents, JobFilter, SetupError, answer, setup};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const PREFER: HeaderName = HeaderName::from_static("prefer");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// A stream is opened again after so long, if it has not ended before.
const STREAM_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// Speaks to one server. Clones share their connections.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    server: Url,
}

/// How a job is submitted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubmitOptions {
    /// Makes a repeat with the same body answer with the same job.
    pub key: Option<IdempotencyToken>,
    /// Holds the answer until the job has ended, at most this long; whole seconds, at most 30.
    pub wait: Option<Duration>,
    /// Makes the job part of this trace, which goes on to whatever works on it.
    pub trace_parent: Option<TraceParent>,
}

/// An accepted job.
#[derive(Debug, Clone, PartialEq)]
pub struct Submitted {
    /// The job as it was when the server answered; terminal when the wait was long enough.
    pub job: JobDocument,
    /// Whether an earlier submit under the same key had made it.
    pub replayed: bool,
}

/// A [`BatchRequest`] of texts.
#[derive(Debug, Serialize)]
struct Batch<'a> {
    jobs: &'a [&'a RawValue],
}

impl Client {
    /// A client of the server at this address, such as `http://127.0.0.1:8080`. Nothing is sent yet. A
    /// proxy from the environment is not used.
    pub fn new(server: &str) -> Result<Self, SetupError> {
        let server = setup::server_url(server)?;
        Ok(Self { http: setup::http_client(&server, None)?, server })
    }

    /// The same, with this bearer token (RFC 6750) in each request. The token is shown nowhere.
    pub fn with_token(server: &str, token: &str) -> Result<Self, SetupError> {
        let server = setup::server_url(server)?;
        Ok(Self { http: setup::http_client(&server, Some(token))?, server })
    }

    /// Submits one job. Once this returns `Ok` the server has promised to run it.
    pub async fn submit(&self, job: &SubmitRequest, options: &SubmitOptions) -> Result<Submitted, Error> {
        let mut request = self.post("v1/jobs", job)?;
        if let Some(key) = &options.key {
            request = request.header(IDEMPOTENCY_KEY, key.as_str());
        }
        if let Some(wait) = options.wait {
            request = request.header(PREFER, format!("wait={}", wait.as_secs()));
        }
        if let Some(trace) = &options.trace_parent {
            request = request.header(TRACEPARENT, trace.as_str());
        }
        let response = self.send(request).await?;
        let replayed = response.headers().contains_key(IDEMPOTENCY_REPLAYED);
        let job = answer::read(self.server.as_str(), response).await?;
        Ok(Submitted { job, replayed })
    }

    /// Submits 1 to 1,000 jobs, all or none.
    pub async fn submit_batch(
        &self,
        batch: &BatchRequest,
        key: Option<&IdempotencyToken>,
    ) -> Result<BatchAnswer, Error> {
        self.submit_all(batch, key).await
    }

    /// The same with jobs that are JSON text already, each the document of a [`SubmitRequest`]. The same texts make
    /// the same request, byte for byte, as a repeat under a key must be.
    pub async fn submit_batch_of_texts(
        &self,
        jobs: &[&RawValue],
        key: Option<&IdempotencyToken>,
    ) -> Result<BatchAnswer, Error> {
        self.submit_all(&Batch { jobs }, key).await
    }

    async fn submit_all(
        &self,
        batch: &impl Serialize,
        key: Option<&IdempotencyToken>,
    ) -> Result<BatchAnswer, Error> {
        let mut request = self.post("v1/jobs/batch", batch)?;
        if let Some(key) = key {
            request = request.header(IDEMPOTENCY_KEY, key.as_str());
        }
        self.call(request).await
    }

    /// The job as it is.
    pub async fn job(&self, id: JobId) -> Result<JobDocument, Error> {
        self.read(&format!("v1/jobs/{id}")).await
    }

    /// The job once it has ended, or as it is when `wait` (at most 30 s) is over or the server drains.
    pub async fn job_when_ended(&self, id: JobId, wait: Duration) -> Result<JobDocument, Error> {
        self.read(&format!("v1/jobs/{id}?wait_ms={}", wait.as_millis())).await
    }

    /// Every durable change of a job after version `after`, or from the oldest that it remembers; then its end.
    /// Nothing is sent until the first event is asked for.
    pub fn job_events(&self, id: JobId, after: Option<Version>) -> JobEvents {
        JobEvents::new(self.clone(), id, after)
    }

    /// An answer that streams, or 204 when the end was seen already.
    pub(crate) async fn open_events(&self, id: JobId, seen: Option<Version>) -> Result<Response, Error> {
        let url = self.url(&format!("v1/jobs/{id}/events"));
        let mut request = self.http.get(url).header(ACCEPT, "text/event-stream").timeout(STREAM_TIMEOUT);
        if let Some(seen) = seen {
            request = request.header(LAST_EVENT_ID, seen.0);
        }
        let response = self.send(request).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(answer::refusal(self.server.as_str(), response).await)
    }

    /// One page of jobs, newest first, without payload, result and checkpoint.
    pub async fn jobs(&self, filter: &JobFilter) -> Result<JobPage, Error> {
        let mut url = self.url("v1/jobs");
        filter.append_to(&mut url);
        self.call(self.http.get(url)).await
    }

    /// Cancels a job: ended when the answer says `cancelled`, asked to when it says `cancel_requested`.
    pub async fn cancel(&self, id: JobId) -> Result<JobDocument, Error> {
        self.call(self.http.post(self.url(&format!("v1/jobs/{id}/cancel")))).await
    }

    /// Takes a `dead` or `cancelled` job back to `queued`.
    pub async fn retry(&self, id: JobId) -> Result<JobDocument, Error> {
        self.call(self.http.post(self.url(&format!("v1/jobs/{id}/retry")))).await
    }

    /// Every queue with its depth and capacity.
    pub async fn queues(&self) -> Result<QueueList, Error> {
        self.read("v1/queues").await
    }

    /// One queue with its depth and capacity.
    pub async fn queue(&self, name: &QueueName) -> Result<QueueDocument, Error> {
        self.read(&format!("v1/queues/{name}")).await
    }

    /// Pauses a queue: when it answers, nothing of it starts any more, in any replica.
    pub async fn pause(&self, name: &QueueName) -> Result<QueueDocument, Error> {
        self.call(self.http.post(self.url(&format!("v1/queues/{name}/pause")))).await
    }

    /// Resumes a queue.
    pub async fn resume(&self, name: &QueueName) -> Result<QueueDocument, Error> {
        self.call(self.http.post(self.url(&format!("v1/queues/{name}/resume")))).await
    }

    /// Asks the server to drain, as SIGTERM does.
    pub async fn drain(&self) -> Result<Drain, Error> {
        self.call(self.http.post(self.url("v1/drain"))).await
    }

    /// Whether the server lives, and its phase.
    pub async fn health(&self) -> Result<Health, Error> {
        self.read("healthz").await
    }

    /// Whether the server is to get traffic; [`Error::Refused`] with `not_ready` when not.
    pub async fn ready(&self) -> Result<Ready, Error> {
        self.read("readyz").await
    }

    async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.call(self.http.get(self.url(path))).await
    }

    pub(crate) async fn call<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Error> {
        let response = self.send(request).await?;
        answer::read(self.server.as_str(), response).await
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, Error> {
        request.send().await.map_err(|source| Error::of_sending(self.server.to_string(), source))
    }

    pub(crate) fn post(&self, path: &str, body: &impl Serialize) -> Result<RequestBuilder, Error> {
        let body = serde_json::to_vec(body).map_err(Error::NotEncodable)?;
        let request = self.http.request(Method::POST, self.url(path));
        Ok(request.header(CONTENT_TYPE, "application/json").body(body))
    }

    /// `path` under the server's address, which may have a path of its own.
    fn url(&self, path: &str) -> Url {
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        let mut url = self.server.clone();
        url.set_path(&format!("{}/{path}", self.server.path().trim_end_matches('/')));
        url.set_query(query);
        url
    }
}
