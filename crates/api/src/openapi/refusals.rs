//! Problem documents in the OpenAPI document. Which status a code has, and what it means, is `wire`'s.

use std::collections::BTreeMap;
use std::time::Duration;

use http::header::{ALLOW, CACHE_CONTROL, RETRY_AFTER, WWW_AUTHENTICATE};
use serde_json::{Map, Value, json};
use steadfast_wire::{ErrorCode, Outcome, PROBLEM_CONTENT_TYPE, Problem};

use super::example_of;
use super::schemas::Schemas;

/// The responses, by status, of an operation that may refuse with these codes.
pub(super) fn responses(
    codes: &[ErrorCode],
    is_change: bool,
    schemas: &mut Schemas,
) -> BTreeMap<String, Value> {
    let problem = schemas.answer::<Problem>();
    let mut by_status: BTreeMap<u16, Vec<ErrorCode>> = BTreeMap::new();
    // In the order of the API's page, each once.
    for code in ErrorCode::ALL.into_iter().filter(|code| codes.contains(code)) {
        by_status.entry(code.status()).or_default().push(code);
    }
    let response = |(status, codes): (u16, Vec<ErrorCode>)| {
        (status.to_string(), response(status, &codes, is_change, problem.clone()))
    };
    by_status.into_iter().map(response).collect()
}

fn response(status: u16, codes: &[ErrorCode], is_change: bool, problem: Value) -> Value {
    let titles: Vec<String> =
        codes.iter().map(|code| format!("- `{}`: {}", code.as_str(), code.title())).collect();
    let comes_back = matches!(status, 429 | 503);
    let mut required = Vec::new();
    required.extend(is_change.then_some("outcome"));
    required.extend(comes_back.then_some("retry_after_ms"));
    let examples: Map<String, Value> = codes
        .iter()
        .map(|code| {
            let example = format!("#/components/examples/{}", example_of(*code, is_change));
            (code.as_str().to_owned(), json!({ "$ref": example }))
        })
        .collect();
    let names: Vec<&str> = codes.iter().map(|code| code.as_str()).collect();
    let mut response = json!({
        "description": titles.join("\n"),
        "content": { PROBLEM_CONTENT_TYPE: {
            "schema": {
                "allOf": [problem],
                "properties": { "status": { "const": status }, "code": { "enum": names } },
                "required": required,
            },
            "examples": examples,
        } },
    });
    if status == 401 {
        response["headers"] = json!({
            WWW_AUTHENTICATE.as_str(): {
                "required": true,
                "schema": { "type": "string", "pattern": "^Bearer" },
                "description": "How to bring a token (RFC 6750).",
            },
        });
    }
    if comes_back {
        response["headers"] = json!({
            RETRY_AFTER.as_str(): {
                "required": true,
                "schema": { "type": "integer", "minimum": 1, "maximum": 60 },
                "description": "Seconds: `retry_after_ms`, rounded up.",
            },
            CACHE_CONTROL.as_str(): {
                "required": true,
                "schema": { "const": "no-store" },
                "description": "No cache keeps a refusal.",
            },
        });
    }
    response
}

/// What every path answers a method it does not have with.
pub(super) fn method_not_allowed() -> Value {
    let code = ErrorCode::MethodNotAllowed;
    let mut response =
        response(code.status(), &[code], false, json!({ "$ref": "#/components/schemas/Problem" }));
    response["headers"] = json!({
        ALLOW.as_str(): {
            "required": true,
            "schema": { "type": "string" },
            "description": "The methods that the path has.",
        },
    });
    response
}

/// An example for each code, as it answers what only reads and as it answers a change.
pub(super) fn examples() -> Map<String, Value> {
    let mut examples = Map::new();
    for code in ErrorCode::ALL {
        for is_change in [false, true] {
            let mut problem = Problem::new(code, code.description(), "4bf92f3577b34da6a3ce929d0e0e4736");
            problem.outcome = is_change.then_some(match code {
                ErrorCode::Internal | ErrorCode::IdempotencyInFlight => Outcome::Unknown,
                _ => Outcome::None,
            });
            if matches!(code.status(), 429 | 503) {
                problem.retry_after(Duration::from_millis(1_200));
            }
            examples.insert(example_of(code, is_change), json!({ "value": problem }));
        }
    }
    examples
}
