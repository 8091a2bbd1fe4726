use reqwest::Request;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use steadfast_domain::{Job, TraceParent};
use steadfast_queue::{Failure, Finish, StopReason};

use super::answer;
use super::client::Clients;
use super::failure::{Endpoint, send_failure};
use super::request::Delivery;

/// What an endpoint is told about the attempt: by these it recognises a delivery it has seen before.
#[derive(Debug)]
pub(super) struct Identity {
    job: String,
    attempt: u32,
    trace: TraceParent,
}

impl Identity {
    /// The newest attempt of `job`, as a new span of the job's trace or, without one, of a new trace.
    pub(super) fn of(job: &Job) -> Self {
        let span = rand::random();
        let trace = match &job.trace {
            Some(parent) => parent.child(span),
            None => TraceParent::from_ids(rand::random(), span),
        };
        Self { job: job.id.to_string(), attempt: job.attempt, trace }
    }

    fn write(&self, headers: &mut HeaderMap) {
        let attempt = self.attempt.to_string();
        let texts = [
            ("steadfast-job-id", self.job.as_str()),
            ("steadfast-attempt", &attempt),
            ("idempotency-key", &self.job),
            ("traceparent", self.trace.as_str()),
        ];
        for (name, text) in texts {
            // Digits, hexadecimal digits and hyphens: always a valid value.
            if let Ok(value) = HeaderValue::from_str(text) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
    }
}

impl Delivery {
    /// The request that one attempt sends.
    pub(super) fn into_request(self, identity: &Identity) -> Request {
        let mut request = Request::new(self.method, self.url);
        *request.headers_mut() = self.headers;
        identity.write(request.headers_mut());
        *request.body_mut() = self.body.map(Into::into);
        request
    }
}

/// Sends `request` and judges the answer, unless `stopped` comes first. Then the request is dropped, which
/// closes its connection. Whether the endpoint has acted on it is not known, so there is nothing to keep:
/// when the job runs again the endpoint recognises it by its key.
pub(super) async fn deliver(
    clients: &Clients,
    request: Request,
    stopped: impl Future<Output = StopReason>,
) -> Result<Finish, Failure> {
    let endpoint = Endpoint::of(request.url());
    let client = clients.for_url(request.url())?;
    tokio::pin!(stopped);
    let response = tokio::select! {
        biased;
        sent = client.execute(request) => sent.map_err(|error| send_failure(&endpoint, &error))?,
        _ = &mut stopped => return Ok(Finish::Yield { checkpoint: None }),
    };
    answer::judge(&endpoint, response, stopped).await
}
