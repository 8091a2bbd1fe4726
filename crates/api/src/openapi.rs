//! The OpenAPI 3.1 document. `routes.rs` names for each route what describes it, the files in `about/` describe,
//! `wire` has the schemas, and this module is how they are put together.

mod answer;
mod input;
mod operation;
mod refusals;
mod schemas;
mod security;
mod serve;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::{Map, Value, json};
use steadfast_wire::ErrorCode;

pub(crate) use answer::Answer;
pub(crate) use input::{Body, Parameter};
pub(crate) use operation::{About, Operation, Tag};
pub(crate) use schemas::Schemas;
pub(crate) use serve::serve;

use crate::routes::routes;

/// What a reader has to know of all routes.
const DESCRIPTION: &str = "A job server that refuses early, accepts durably and stops without losing anything.

Every error that a route answers is a problem document (RFC 9457) with a stable `code`; `/problems/{code}` tells what \
it means. Problems that answer a POST say in `outcome` whether something may have happened. Every 429 and 503 says \
in `Retry-After`, and more exactly in `retry_after_ms`, when to come back. Answers may get new members at any time; in \
requests an unknown member is an error. Lengths of texts are counted in bytes of UTF-8, where the schemas can only count \
characters.

A server with a token file answers whoever sends `Authorization: Bearer TOKEN` with a token that has the operation's \
scope, and else 401 or 403; probes and documents it answers to all.

Wherever GET is answered, HEAD is too. A `traceparent` header (W3C Trace Context) names the trace of a request. Changes \
that a web page of another origin asks for, by `Sec-Fetch-Site` or `Origin`, are refused.";

/// The whole document, as `GET /openapi.json` answers it.
pub fn openapi_document() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| format!("{:#}\n", document()));
    &TEXT
}

fn document() -> Value {
    let mut schemas = Schemas::new();
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for route in routes().operations() {
        let operation = (route.about)(&mut schemas).into_json(&route.method, route.needs, &mut schemas);
        paths.entry(route.path).or_default().insert(route.method.as_str().to_lowercase(), operation);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Steadfast",
            "version": env!("CARGO_PKG_VERSION"),
            "description": DESCRIPTION,
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/", "description": "The server that answered this document." }],
        "tags": Tag::ALL.map(Tag::to_json),
        "paths": paths,
        "components": {
            "securitySchemes": security::schemes(),
            "schemas": schemas.into_components(),
            "responses": { "method_not_allowed": refusals::method_not_allowed() },
            "examples": refusals::examples(),
        },
    })
}

/// A reference to the example of a problem.
fn example_of(code: ErrorCode, is_change: bool) -> String {
    let suffix = if is_change { "_of_change" } else { "" };
    format!("{}{suffix}", code.as_str())
}
