use std::error::Error;
use std::{fmt, io};

use reqwest::Url;
use steadfast_queue::Failure;

use super::address::Denied;

/// The host and port of a delivery: all that a message may say about where it went.
#[derive(Debug, Clone)]
pub(super) struct Endpoint(String);

impl Endpoint {
    pub(super) fn of(url: &Url) -> Self {
        let port = url.port_or_known_default().unwrap_or_default();
        Self(format!("{}:{port}", url.host_str().unwrap_or_default()))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Permanent: another attempt would meet the same rules.
impl From<Denied> for Failure {
    fn from(denied: Denied) -> Self {
        Self::permanent("address_denied", denied.to_string())
    }
}

/// What a request that got no answer means for its job. All but a refused address may pass, so is retried.
pub(super) fn send_failure(endpoint: &Endpoint, error: &reqwest::Error) -> Failure {
    if let Some(denied) = cause::<Denied>(error) {
        return (*denied).into();
    }
    if error.is_dns() {
        return Failure::retryable("dns", format!("the name of {endpoint} could not be resolved"));
    }
    if let Some(tls) = cause::<rustls::Error>(error) {
        let why = match tls {
            rustls::Error::InvalidCertificate(_) => "its certificate is not valid for it or not trusted here",
            _ => "the handshake failed",
        };
        return Failure::retryable("tls", format!("no TLS connection to {endpoint}: {why}"));
    }
    if error.is_connect() {
        let why = match cause::<io::Error>(error) {
            _ if error.is_timeout() => "the connection took too long".to_owned(),
            Some(io) => io.kind().to_string(),
            None => "the connection failed".to_owned(),
        };
        return Failure::retryable("connect", format!("no connection to {endpoint}: {why}"));
    }
    Failure::retryable("no_answer", format!("the connection to {endpoint} ended before a whole answer"))
}

/// The innermost `E` among the causes of `error`. An I/O error that wraps another names that one's cause
/// as its own source and would hide it, so it is opened.
fn cause<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let (mut next, mut innermost) = (Some(error), None);
    while let Some(error) = next {
        innermost = error.downcast_ref().or(innermost);
        next = match error.downcast_ref().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    innermost
}
