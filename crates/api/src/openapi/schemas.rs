use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value};

/// Where the document keeps schemas that have a name.
const COMPONENTS: &str = "/components/schemas";

/// The schemas of the document, made from the types that are read and written.
pub(crate) struct Schemas {
    requests: SchemaGenerator,
    answers: SchemaGenerator,
}

impl Schemas {
    pub(super) fn new() -> Self {
        let settings = || {
            let mut settings = SchemaSettings::draft2020_12();
            settings.definitions_path = COMPONENTS.into();
            settings.with_transform(RecursiveTransform(without_sizes))
        };
        Self {
            requests: settings().for_deserialize().into_generator(),
            answers: settings().for_serialize().into_generator(),
        }
    }

    /// The schema of what a request brings, or a reference to it.
    pub(crate) fn request<T: JsonSchema>(&mut self) -> Value {
        Value::from(self.requests.subschema_for::<T>())
    }

    /// The schema of what an answer brings, or a reference to it.
    pub(crate) fn answer<T: JsonSchema>(&mut self) -> Value {
        Value::from(self.answers.subschema_for::<T>())
    }

    /// Every schema with a name.
    pub(super) fn into_components(mut self) -> Map<String, Value> {
        let mut components = self.requests.take_definitions(true);
        components.extend(self.answers.take_definitions(true));
        components
    }
}

/// How Rust keeps a number is nobody else's business; its bounds are there.
fn without_sizes(schema: &mut Schema) {
    let is_size = |format: &Value| format.as_str().is_some_and(|format| format.starts_with("uint"));
    if schema.get("format").is_some_and(is_size) {
        schema.remove("format");
    }
}
