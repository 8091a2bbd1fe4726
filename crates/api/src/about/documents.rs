use http::StatusCode;
use http::header::{CACHE_CONTROL, ETAG};
use serde_json::{Value, json};
use steadfast_wire::ErrorCode;

use crate::openapi::{Answer, Operation, Parameter, Schemas, Tag};

/// `GET /openapi.json`.
pub(crate) fn openapi(_: &mut Schemas) -> Operation {
    let document = json!({
        "type": "object",
        "properties": { "openapi": { "type": "string", "pattern": r"^3\.1\.[0-9]+$" } },
        "required": ["openapi", "info", "paths", "components"],
    });
    let named = |answer: Answer| {
        answer
            .header(
                ETAG,
                json!({ "type": "string", "pattern": "^\"[0-9a-f]{32}\"$" }),
                "Names this very text.",
            )
            .header(CACHE_CONTROL, json!({ "const": "no-cache" }), "To be asked for again by its `ETag`.")
    };
    Operation::new(Tag::Documents, "openapi", "This document")
        .parameter(Parameter::header(
            "If-None-Match",
            json!({ "type": "string" }),
            "The `ETag` of a text that is there already.",
        ))
        .answer(named(Answer::json(StatusCode::OK, "OpenAPI 3.1, as JSON.", document)))
        .answer(named(Answer::empty(StatusCode::NOT_MODIFIED, "The text is the same.")))
}

/// `GET /problems/{code}`.
pub(crate) fn problem(schemas: &mut Schemas) -> Operation {
    let code = schemas.request::<steadfast_wire::schema::Code>();
    Operation::new(Tag::Documents, "problem", "What a problem's code means")
        .parameter(Parameter::path("code", code, "The code."))
        .answer(page("A page for people."))
        .refuses(&[ErrorCode::InvalidParameter, ErrorCode::NotFound])
}

/// `GET /`.
pub(crate) fn home(_: &mut Schemas) -> Operation {
    Operation::new(Tag::Documents, "home", "The server's own page")
        .answer(page("Its version and phase, and links to the rest, for people."))
}

fn page(description: &'static str) -> Answer {
    let text: Value = json!({ "type": "string" });
    Answer::of(StatusCode::OK, description, "text/html", text)
}
