use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::{Invalid, limits};

/// One JSON value kept as the text the client sent, never re-encoded: numbers no `f64` can hold,
/// `\u0000` and lone surrogates come back byte for byte.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RawJson(Arc<str>);

impl RawJson {
    /// Checks that `text` is one JSON value (RFC 8259), at most [`limits::JSON_DEPTH_MAX`] deep.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let value: &RawValue =
            serde_json::from_str(text).map_err(|e| Invalid::new(format!("not valid JSON: {e}")))?;
        Self::from_raw_value(value)
    }

    /// Takes over a value that serde_json has read, at most [`limits::JSON_DEPTH_MAX`] deep.
    pub fn from_raw_value(value: &RawValue) -> Result<Self, Invalid> {
        if json_depth(value.get()) > limits::JSON_DEPTH_MAX {
            let most = limits::JSON_DEPTH_MAX;
            return Err(Invalid::new(format!(
                "nested too deeply: at most {most} arrays and objects inside one another are allowed"
            )));
        }
        Ok(Self(value.get().into()))
    }

    /// Encodes a value of ours.
    pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Self, Invalid> {
        let text = serde_json::to_string(value).map_err(|e| Invalid::new(format!("not valid JSON: {e}")))?;
        Self::parse(&text)
    }

    /// Takes text out of a store that only ever got it from a `RawJson`; nothing is checked.
    pub fn from_stored(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// `{}`.
    pub fn empty_object() -> Self {
        Self("{}".into())
    }

    /// This value, or an error that names `what` when it has more than `bytes_max` bytes.
    pub fn within(self, what: &str, bytes_max: usize) -> Result<Self, Invalid> {
        if self.0.len() <= bytes_max {
            return Ok(self);
        }
        let bytes = self.0.len();
        Err(Invalid::new(format!("{what} has {bytes} bytes: at most {bytes_max} are allowed")))
    }

    /// The JSON text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Bytes of the text.
    pub fn len_bytes(&self) -> usize {
        self.0.len()
    }

    /// Reads the value as a `T`.
    pub fn decode<'a, T: Deserialize<'a>>(&'a self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.0)
    }
}

impl fmt::Debug for RawJson {
    /// Only the size: payloads do not belong in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawJson({} bytes)", self.0.len())
    }
}

impl Serialize for RawJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RawJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Self::from_raw_value(&raw).map_err(serde::de::Error::custom)
    }
}

/// The deepest nesting of arrays and objects in valid JSON. A scan of the text, since a recursive
/// reader would spend its stack on what this is to refuse.
fn json_depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0usize, 0usize);
    let (mut in_string, mut escaped) = (false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth -= 1,
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_survives_byte_for_byte() {
        for text in [r#"{"a":1e999999}"#, r#""\u0000 \ud800""#, "123456789012345678901234567890", "null"] {
            let json = RawJson::parse(text).unwrap();
            assert_eq!(serde_json::to_string(&json).unwrap(), text);
        }
    }

    #[test]
    fn depth_counts_brackets_outside_strings_only() {
        let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(RawJson::parse(&deep(limits::JSON_DEPTH_MAX)).is_ok());
        assert!(RawJson::parse(&deep(limits::JSON_DEPTH_MAX + 1)).is_err());
        assert!(RawJson::parse(&deep(100_000)).is_err());
        assert!(RawJson::parse(&format!(r#"{{"a":"{}\"["}}"#, "[{".repeat(200))).is_ok());
    }

    #[test]
    fn what_is_not_one_value_is_refused() {
        for text in ["", "{", "1 2", "{\"a\":}", "nul", "\"\n\""] {
            assert!(RawJson::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn debug_text_holds_no_payload() {
        let json = RawJson::parse(r#"{"secret":"swordfish"}"#).unwrap();
        assert_eq!(format!("{json:?}"), "RawJson(22 bytes)");
    }
}
