use std::collections::BTreeMap;

use http::Method;
use serde_json::{Map, Value, json};
use steadfast_wire::ErrorCode;

use super::answer::Answer;
use super::input::{Body, Parameter};
use super::refusals;
use super::schemas::Schemas;
use super::security;
use crate::access::Needs;

/// Describes a route of one method.
pub(crate) type About = fn(&mut Schemas) -> Operation;

/// What one method of a route takes and answers.
pub(crate) struct Operation {
    tag: Tag,
    id: &'static str,
    summary: &'static str,
    description: Option<&'static str>,
    parameters: Vec<Parameter>,
    body: Option<Body>,
    answers: Vec<Answer>,
    codes: Vec<ErrorCode>,
}

/// The groups operations are shown in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tag {
    Jobs,
    Leases,
    Queues,
    Server,
    Documents,
}

impl Operation {
    /// An operation that any fault of the server may answer.
    pub(crate) fn new(tag: Tag, id: &'static str, summary: &'static str) -> Self {
        Self {
            tag,
            id,
            summary,
            description: None,
            parameters: Vec::new(),
            body: None,
            answers: Vec::new(),
            codes: vec![ErrorCode::Internal],
        }
    }

    /// What the summary leaves out.
    pub(crate) fn description(self, description: &'static str) -> Self {
        Self { description: Some(description), ..self }
    }

    pub(crate) fn parameter(mut self, parameter: Parameter) -> Self {
        self.parameters.push(parameter);
        self
    }

    pub(crate) fn body(self, body: Body) -> Self {
        Self { body: Some(body), ..self }
    }

    pub(crate) fn answer(mut self, answer: Answer) -> Self {
        self.answers.push(answer);
        self
    }

    /// With which codes it may refuse.
    pub(crate) fn refuses(mut self, codes: &[ErrorCode]) -> Self {
        self.codes.extend_from_slice(codes);
        self
    }

    pub(super) fn into_json(self, method: &Method, needs: Needs, schemas: &mut Schemas) -> Value {
        let mut responses: BTreeMap<String, Value> = BTreeMap::new();
        for answer in self.answers {
            responses.insert(answer.status.as_str().to_owned(), answer.into_json());
        }
        let mut codes = self.codes;
        if !method.is_safe() {
            // Of foreign pages, before the route is reached.
            codes.push(ErrorCode::Forbidden);
        }
        if needs.scope().is_some() {
            codes.extend([ErrorCode::Unauthenticated, ErrorCode::Forbidden]);
        }
        responses.extend(refusals::responses(&codes, !method.is_safe(), schemas));

        let mut operation = Map::from_iter([
            ("operationId".to_owned(), self.id.into()),
            ("tags".to_owned(), json!([self.tag.name()])),
            ("summary".to_owned(), self.summary.into()),
            ("responses".to_owned(), json!(responses)),
            ("security".to_owned(), security::of(needs)),
        ]);
        if let Some(description) = self.description {
            operation.insert("description".to_owned(), description.into());
        }
        if !self.parameters.is_empty() {
            let parameters = self.parameters.into_iter().map(Parameter::into_json).collect();
            operation.insert("parameters".to_owned(), parameters);
        }
        if let Some(body) = self.body {
            operation.insert("requestBody".to_owned(), body.into_json());
        }
        operation.into()
    }
}

impl Tag {
    pub(super) const ALL: [Self; 5] = [Self::Jobs, Self::Leases, Self::Queues, Self::Server, Self::Documents];

    const fn name(self) -> &'static str {
        match self {
            Self::Jobs => "jobs",
            Self::Leases => "leases",
            Self::Queues => "queues",
            Self::Server => "server",
            Self::Documents => "documents",
        }
    }

    pub(super) fn to_json(self) -> Value {
        let description = match self {
            Self::Jobs => "Submit jobs, look at them, follow and steer them.",
            Self::Leases => "For remote workers: take jobs, keep them, and say how they ended.",
            Self::Queues => "How full the queues are, and whether they run.",
            Self::Server => "The server's own life: health, readiness, figures, and its drain.",
            Self::Documents => "What explains the rest.",
        };
        json!({ "name": self.name(), "description": description })
    }
}
