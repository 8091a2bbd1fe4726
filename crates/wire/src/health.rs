use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// The answer of `/livez` and `/healthz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    /// `alive`.
    #[schemars(extend("const" = "alive"))]
    pub status: Cow<'static, str>,
    /// The phase of the server's life.
    #[schemars(with = "schema::PhaseName")]
    pub phase: Cow<'static, str>,
}

/// The answer of `/readyz` when the server is to get traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ready {
    /// `ready`.
    #[schemars(extend("const" = "ready"))]
    pub status: Cow<'static, str>,
}

/// What `/readyz` looked at when the server is not to get traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Checks {
    /// The phase of the server's life; only `ready` passes.
    #[schemars(with = "schema::PhaseName")]
    pub phase: Cow<'static, str>,
    /// `ok`, `opening`, or `unavailable` when the store has not answered for 5 s.
    #[schemars(extend("enum" = ["ok", "opening", "unavailable"]))]
    pub store: Cow<'static, str>,
}

/// The answer of `POST /v1/drain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Drain {
    /// `draining`.
    #[schemars(extend("const" = "draining"))]
    pub status: Cow<'static, str>,
    /// The phase in which the request was met.
    #[schemars(with = "schema::PhaseName")]
    pub phase: Cow<'static, str>,
}
