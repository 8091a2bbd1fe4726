use std::collections::BTreeMap;

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;

/// What is said of this process with everything it exports: the settings' words and, where they say nothing of it, which
/// program it is, which run of it, and by which library it speaks.
pub(super) fn of(settings: &BTreeMap<String, String>) -> Resource {
    let run = uuid::Builder::from_random_bytes(rand::random()).into_uuid().to_string();
    let own = [
        ("service.instance.id", run.as_str()),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("telemetry.sdk.language", "rust"),
        ("telemetry.sdk.name", "opentelemetry"),
        ("telemetry.sdk.version", SDK_VERSION),
    ];
    let mut attributes: BTreeMap<&str, &str> = own.into();
    attributes.extend(settings.iter().map(|(key, value)| (key.as_str(), value.as_str())));
    let attributes = attributes.into_iter().map(|(key, value)| attribute(key, value)).collect();
    Resource { attributes, ..Resource::default() }
}

/// The minor version that `Cargo.toml` asks for.
const SDK_VERSION: &str = "0.33";

/// An attribute that is a text.
pub(super) fn attribute(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_have_the_last_word() {
        let settings = [("service.version", "own"), ("service.name", "jobs")];
        let settings = settings.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let resource = of(&settings);
        assert!(resource.attributes.contains(&attribute("service.version", "own")));
        assert!(resource.attributes.contains(&attribute("service.name", "jobs")));
        assert_eq!(resource.attributes.len(), 6);
    }
}
