use std::io;

/// Why a measurement failed. A figure that is merely low is not an error.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    /// Something of the operating system's.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The server answered what the scenario does not allow, so that its figure would mean nothing.
    #[error("{what}: {detail}")]
    Invalid {
        /// The measurement.
        what: String,
        /// What was found.
        detail: String,
    },
    /// A call of the typed client failed.
    #[error("a call of the server failed: {0}")]
    Call(#[from] steadfast_client::Error),
}

impl BenchError {
    /// For `map_err`: names what was being done.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// A measurement that means nothing.
    pub(crate) fn invalid(what: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Invalid { what: what.into(), detail: detail.into() }
    }
}
