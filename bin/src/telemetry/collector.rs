use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Client, Response, StatusCode, Url, redirect};
use rustls::{ClientConfig, RootCertStore};

use super::TelemetryError;
use crate::settings::CollectorSettings;

const USER_AGENT: &str = concat!("steadfast/", env!("CARGO_PKG_VERSION"));

/// How much of an answer is read: it only says how many of many things were left out, and why.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Where one signal is sent to.
pub(super) struct Collector {
    signal: &'static str,
    client: Client,
    url: Url,
    headers: HeaderMap,
    timeout: Duration,
    /// The last request was not taken: the log has it.
    failing: AtomicBool,
}

/// Why a request was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// There was no answer.
    #[error("{0}")]
    NoAnswer(String),
    /// It was refused.
    #[error("it answered {0}")]
    Status(StatusCode),
}

impl Failure {
    /// Whether the same request may be taken later, by OTLP's rules.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::NoAnswer(_) => true,
            Self::Status(status) => matches!(status.as_u16(), 429 | 502 | 503 | 504),
        }
    }
}

impl Collector {
    pub(super) fn new(signal: &'static str, settings: &CollectorSettings) -> Result<Self, TelemetryError> {
        let CollectorSettings { url, mut headers, timeout } = settings.clone();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        let client = Client::builder()
            .tls_backend_preconfigured(tls(&url)?)
            .no_proxy()
            .redirect(redirect::Policy::none())
            .user_agent(USER_AGENT)
            .build()?;
        Ok(Self { signal, client, url, headers, timeout, failing: AtomicBool::new(false) })
    }

    /// Sends one request, whole; what it is answered. The log has the first failure and the end of them, not each.
    pub(super) async fn send(&self, body: Bytes) -> Result<Bytes, Failure> {
        let sent = self.try_send(body).await;
        let was_failing = self.failing.swap(sent.is_err(), Ordering::Relaxed);
        let (signal, collector) = (self.signal, self.url.origin().ascii_serialization());
        match &sent {
            Err(error) if !was_failing => {
                tracing::warn!(signal, collector, %error, "the collector takes no telemetry; it is tried again and again");
            }
            Ok(_) if was_failing => tracing::info!(signal, collector, "the collector takes telemetry again"),
            _ => {}
        }
        sent
    }

    async fn try_send(&self, body: Bytes) -> Result<Bytes, Failure> {
        let request = self.client.post(self.url.clone()).headers(self.headers.clone());
        let answered = request.timeout(self.timeout).body(body).send().await;
        // A URL may hold a key.
        let answer = answered.map_err(|error| Failure::NoAnswer(chain(&error.without_url())))?;
        if answer.status().is_success() {
            Ok(read(answer).await)
        } else {
            Err(Failure::Status(answer.status()))
        }
    }
}

/// What it says, as far as that comes: by its head it has taken the request, which is not sent again.
async fn read(mut answer: Response) -> Bytes {
    let mut body = BytesMut::new();
    while body.len() < ANSWER_BYTES_MAX
        && let Ok(Some(chunk)) = answer.chunk().await
    {
        body.extend_from_slice(&chunk);
    }
    body.freeze()
}

/// An error and all its causes, each of which says only its own part.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Trusts what the platform trusts. Its certificates are read only where they are needed.
fn tls(url: &Url) -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    if url.scheme() == "https" {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    Ok(ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}
