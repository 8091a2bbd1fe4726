use std::io;
use std::time::Duration;

use steadfast_wire::{ErrorCode, Outcome, Problem};

/// Why a call has no answer of the kind it asked for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server said no, and why.
    #[error("{}: {} ({})", .0.title, .0.detail, .0.code)]
    Refused(Box<Problem>),
    /// The request has no JSON form: nothing was sent.
    #[error("the request cannot be written as JSON")]
    NotEncodable(#[source] serde_json::Error),
    /// No connection came about: nothing was sent.
    #[error("cannot reach {server}; is it running, and is this its address?")]
    Unreachable {
        /// The server's address, as given.
        server: String,
        /// What the connection failed with.
        #[source]
        source: reqwest::Error,
    },
    /// The server's certificate is not for this address, or no authority that this client trusts has signed it: nothing
    /// was sent.
    #[error(
        "the certificate of {server} is not trusted; SSL_CERT_FILE names a file of authorities to trust in place of \
         the system's"
    )]
    Untrusted {
        /// The server's address, as given.
        server: String,
        /// What is wrong with the certificate.
        #[source]
        source: reqwest::Error,
    },
    /// The request was sent, at least in part, and its answer was lost or did not come in time.
    #[error("the connection to {server} ended before the answer")]
    Interrupted {
        /// The server's address, as given.
        server: String,
        /// What broke.
        #[source]
        source: reqwest::Error,
    },
    /// An answer came that this API never gives, most likely from something between client and server.
    #[error("an unexpected answer with status {status}: {reason}")]
    Unexpected {
        /// Its HTTP status.
        status: u16,
        /// What is wrong with it.
        reason: String,
        /// When its `Retry-After` asks to be tried again.
        retry_after: Option<Duration>,
    },
}

impl Error {
    /// Why a request got no answer.
    pub(crate) fn of_sending(server: String, source: reqwest::Error) -> Self {
        match source.is_connect() {
            true if blames_certificate(&source) => Self::Untrusted { server, source },
            true => Self::Unreachable { server, source },
            false => Self::Interrupted { server, source },
        }
    }

    /// The problem's code, when the server refused with one that this version knows.
    pub fn code(&self) -> Option<ErrorCode> {
        self.problem().and_then(|problem| ErrorCode::parse(&problem.code))
    }

    /// The problem, when the server refused.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Refused(problem) => Some(problem),
            Self::NotEncodable(_)
            | Self::Unreachable { .. }
            | Self::Untrusted { .. }
            | Self::Interrupted { .. }
            | Self::Unexpected { .. } => None,
        }
    }

    /// When the server asked to be tried again, from now.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(problem) => problem.retry_after_ms.map(Duration::from_millis),
            Self::Unexpected { retry_after, .. } => *retry_after,
            Self::NotEncodable(_)
            | Self::Unreachable { .. }
            | Self::Untrusted { .. }
            | Self::Interrupted { .. } => None,
        }
    }

    /// Whether the same call may do better later. Whether it is safe to repeat says [`outcome`](Self::outcome).
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Refused(problem) => problem.retryable,
            Self::NotEncodable(_) | Self::Untrusted { .. } => false,
            // Something between here and the server may answer in its place while it restarts.
            Self::Unreachable { .. } | Self::Interrupted { .. } | Self::Unexpected { .. } => true,
        }
    }

    /// Whether it is about who talks to whom, and says nothing of the call itself. Whoever was let in before may be so
    /// again: a certificate that has lapsed is renewed, and a token that this replica does not know yet comes to it.
    pub(crate) fn is_of_access(&self) -> bool {
        matches!(self, Self::Untrusted { .. }) || self.code() == Some(ErrorCode::Unauthenticated)
    }

    /// What the failed call may have left behind: [`Outcome::None`] is certain, nothing happened.
    pub fn outcome(&self) -> Outcome {
        match self {
            // Without the member the request was a read, which changes nothing.
            Self::Refused(problem) => problem.outcome.unwrap_or(Outcome::None),
            Self::NotEncodable(_) | Self::Unreachable { .. } | Self::Untrusted { .. } => Outcome::None,
            Self::Interrupted { .. } | Self::Unexpected { .. } => Outcome::Unknown,
        }
    }
}

/// Whether the server's certificate is among the causes. An I/O error that wraps another names that one's cause as its
/// own source and would hide it, so it is opened.
fn blames_certificate(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(rustls::Error::InvalidCertificate(_)) = error.downcast_ref() {
            return true;
        }
        next = match error.downcast_ref().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_untrusted_certificate_and_an_unknown_token_are_about_access_and_nothing_else_is() {
        let source = || reqwest::Proxy::all("no address").unwrap_err();
        let server = String::new;
        let refused = |code| Error::Refused(Box::new(Problem::new(code, "", "")));
        assert!(Error::Untrusted { server: server(), source: source() }.is_of_access());
        assert!(!Error::Unreachable { server: server(), source: source() }.is_of_access());
        assert!(refused(ErrorCode::Unauthenticated).is_of_access());
        assert!(!refused(ErrorCode::Forbidden).is_of_access());
    }
}
