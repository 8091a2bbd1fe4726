use http::{HeaderName, StatusCode};
use serde_json::{Map, Value, json};

/// What an operation answers when it does what was asked.
pub(crate) struct Answer {
    pub(super) status: StatusCode,
    description: &'static str,
    content: Option<(&'static str, Map<String, Value>)>,
    headers: Map<String, Value>,
    links: Map<String, Value>,
}

impl Answer {
    /// An answer without a body.
    pub(crate) fn empty(status: StatusCode, description: &'static str) -> Self {
        Self { status, description, content: None, headers: Map::new(), links: Map::new() }
    }

    /// A JSON answer.
    pub(crate) fn json(status: StatusCode, description: &'static str, schema: Value) -> Self {
        Self::of(status, description, "application/json", schema)
    }

    /// An answer of another media type.
    pub(crate) fn of(
        status: StatusCode,
        description: &'static str,
        media_type: &'static str,
        schema: Value,
    ) -> Self {
        let content = Some((media_type, Map::from_iter([("schema".to_owned(), schema)])));
        Self { content, ..Self::empty(status, description) }
    }

    /// The same, with an example.
    pub(crate) fn example(mut self, example: Value) -> Self {
        if let Some((_, content)) = &mut self.content {
            content.insert("example".to_owned(), example);
        }
        self
    }

    /// The same, with a header that is always there.
    pub(crate) fn header(self, name: HeaderName, schema: Value, description: &str) -> Self {
        self.with_header(name, schema, description, true)
    }

    /// The same, with a header that may be there.
    pub(crate) fn optional_header(self, name: HeaderName, schema: Value, description: &str) -> Self {
        self.with_header(name, schema, description, false)
    }

    fn with_header(mut self, name: HeaderName, schema: Value, description: &str, required: bool) -> Self {
        let header = json!({ "required": required, "schema": schema, "description": description });
        self.headers.insert(name.as_str().to_owned(), header);
        self
    }

    /// The same, with an operation that goes on from here: `value`, a runtime expression of OpenAPI, is its
    /// parameter.
    pub(crate) fn link(
        mut self,
        operation_id: &str,
        parameter: &str,
        value: &str,
        description: &str,
    ) -> Self {
        let link = json!({
            "operationId": operation_id, "parameters": { parameter: value }, "description": description,
        });
        self.links.insert(operation_id.to_owned(), link);
        self
    }

    pub(super) fn into_json(self) -> Value {
        let mut answer = json!({ "description": self.description });
        if let Some((media_type, content)) = self.content {
            answer["content"] = json!({ media_type: content });
        }
        if !self.headers.is_empty() {
            answer["headers"] = self.headers.into();
        }
        if !self.links.is_empty() {
            answer["links"] = self.links.into();
        }
        answer
    }
}
