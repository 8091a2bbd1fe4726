use http::StatusCode;
use serde_json::json;
use steadfast_wire::{Drain, ErrorCode, Health, Ready};

use crate::openapi::{Answer, Operation, Schemas, Tag};

/// `GET /livez`.
pub(crate) fn live(schemas: &mut Schemas) -> Operation {
    alive("livez", "Whether the process runs and answers", schemas)
}

/// `GET /healthz`.
pub(crate) fn health(schemas: &mut Schemas) -> Operation {
    alive("healthz", "Whether the process runs and answers: the same as `/livez`", schemas)
}

fn alive(id: &'static str, summary: &'static str, schemas: &mut Schemas) -> Operation {
    let answer =
        Answer::json(StatusCode::OK, "It does, in every phase of its life.", schemas.answer::<Health>())
            .example(json!({ "status": "alive", "phase": "ready" }));
    Operation::new(Tag::Server, id, summary).answer(answer)
}

/// `GET /readyz`.
pub(crate) fn ready(schemas: &mut Schemas) -> Operation {
    let answer = Answer::json(StatusCode::OK, "It is.", schemas.answer::<Ready>())
        .example(json!({ "status": "ready" }));
    Operation::new(Tag::Server, "readyz", "Whether the server is to get traffic")
        .answer(answer)
        .refuses(&[ErrorCode::NotReady, ErrorCode::Overloaded])
}

/// `GET /metrics`.
pub(crate) fn metrics(_: &mut Schemas) -> Operation {
    let text = Answer::of(
        StatusCode::OK,
        "The text format 0.0.4 of Prometheus.",
        "text/plain",
        json!({ "type": "string" }),
    );
    Operation::new(Tag::Server, "metrics", "Figures for Prometheus")
        .description("Where there is an admin listener, only that one has them.")
        .answer(text)
        .refuses(&[ErrorCode::Overloaded, ErrorCode::NotFound])
}

/// `POST /v1/drain`.
pub(crate) fn drain(schemas: &mut Schemas) -> Operation {
    let answer =
        Answer::json(StatusCode::ACCEPTED, "The server drains and then ends.", schemas.answer::<Drain>())
            .example(json!({ "status": "draining", "phase": "ready" }));
    Operation::new(Tag::Server, "drain", "Drain and stop the server")
        .description(
            "The same as SIGTERM. For clients on the server's own machine, and for those with a token of the scope \
             `admin`; can be repeated safely.",
        )
        .answer(answer)
}
