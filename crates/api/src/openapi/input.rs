use serde_json::{Value, json};

/// A parameter of an operation: a part of its path, of its query, or a header.
pub(crate) struct Parameter(Value);

impl Parameter {
    pub(crate) fn path(name: &str, schema: Value, description: &str) -> Self {
        Self(json!({
            "name": name, "in": "path", "required": true, "schema": schema, "description": description,
        }))
    }

    pub(crate) fn query(name: &str, schema: Value, description: &str) -> Self {
        Self(json!({ "name": name, "in": "query", "schema": schema, "description": description }))
    }

    pub(crate) fn header(name: &str, schema: Value, description: &str) -> Self {
        Self(json!({ "name": name, "in": "header", "schema": schema, "description": description }))
    }

    pub(super) fn into_json(self) -> Value {
        self.0
    }
}

/// The JSON body of a request.
pub(crate) struct Body(Value);

impl Body {
    /// A body with examples, each with its name.
    pub(crate) fn new(schema: Value, description: &str, examples: &[(&str, Value)]) -> Self {
        let examples: serde_json::Map<_, _> =
            examples.iter().map(|(name, value)| ((*name).to_owned(), json!({ "value": value }))).collect();
        Self(json!({
            "required": true,
            "description": description,
            "content": { "application/json": { "schema": schema, "examples": examples } },
        }))
    }

    pub(super) fn into_json(self) -> Value {
        self.0
    }
}
