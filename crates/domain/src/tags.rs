use std::collections::BTreeMap;

use crate::{Invalid, limits};

/// A job's labels, by which lists are filtered: at most 16, sorted by key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tags(BTreeMap<String, String>);

impl Tags {
    /// Checks the limits: 16 tags, keys of 1 to 64 and values of at most 256 bytes, no control characters.
    pub fn new(tags: BTreeMap<String, String>) -> Result<Self, Invalid> {
        if tags.len() > limits::TAGS_MAX {
            let (count, most) = (tags.len(), limits::TAGS_MAX);
            return Err(Invalid::new(format!("{count} tags are too many: at most {most} are allowed")));
        }
        for (key, value) in &tags {
            if key.is_empty() || key.len() > limits::TAG_KEY_BYTES_MAX || key.chars().any(char::is_control) {
                return Err(Invalid::value("tag key", key, "1 to 64 bytes without control characters"));
            }
            if value.len() > limits::TAG_VALUE_BYTES_MAX || value.chars().any(char::is_control) {
                return Err(Invalid::value(
                    "tag value",
                    value,
                    "at most 256 bytes without control characters",
                ));
            }
        }
        Ok(Self(tags))
    }

    /// The tags by key.
    pub fn as_map(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    /// Whether a tag has exactly this key and value.
    pub fn has(&self, key: &str, value: &str) -> bool {
        self.0.get(key).is_some_and(|v| v == value)
    }
}
