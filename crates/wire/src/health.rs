use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// The answer of `/livez` and `/healthz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// `alive`.
    pub status: Cow<'static, str>,
    /// The phase of the server's life.
    pub phase: Cow<'static, str>,
}

/// The answer of `/readyz` when the server is to get traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// `ready`.
    pub status: Cow<'static, str>,
}

/// What `/readyz` looked at when the server is not to get traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checks {
    /// The phase of the server's life; only `ready` passes.
    pub phase: Cow<'static, str>,
    /// `ok`, `opening`, or `unavailable` when the store has not answered for 5 s.
    pub store: Cow<'static, str>,
}

/// The answer of `POST /v1/drain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// `draining`.
    pub status: Cow<'static, str>,
    /// The phase in which the request was met.
    pub phase: Cow<'static, str>,
}
