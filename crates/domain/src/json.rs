use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::{Invalid, limits};

/// One JSON value kept as the text the client sent, never re-encoded: numbers no `f64` can hold,
/// `\u0000` and lone surrogates come back byte for byte.
#[derive(Clone)]
pub struct RawJson(Arc<RawValue>);

impl RawJson {
    /// Checks that `text` is one JSON value (RFC 8259), at most [`limits::JSON_DEPTH_MAX`] deep.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let value: &RawValue =
            serde_json::from_str(text).map_err(|e| Invalid::new(format!("not valid JSON: {e}")))?;
        Self::from_raw_value(value)
    }

    /// Takes over a value that serde_json has read, at most [`limits::JSON_DEPTH_MAX`] deep.
    pub fn from_raw_value(value: &RawValue) -> Result<Self, Invalid> {
        if opening_brackets(value.get()) > limits::JSON_DEPTH_MAX
            && json_depth(value.get()) > limits::JSON_DEPTH_MAX
        {
            let most = limits::JSON_DEPTH_MAX;
            return Err(Invalid::new(format!(
                "nested too deeply: at most {most} arrays and objects inside one another are allowed"
            )));
        }
        Ok(Self(value.to_owned().into()))
    }

    /// Encodes a value of ours.
    pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Self, Invalid> {
        let text = serde_json::to_string(value).map_err(|e| Invalid::new(format!("not valid JSON: {e}")))?;
        Self::parse(&text)
    }

    /// Takes text out of a store, which only ever got it from a `RawJson`: an error means that it was damaged
    /// there.
    pub fn from_stored(text: &str) -> Result<Self, Invalid> {
        let value = RawValue::from_string(text.to_owned()).map_err(|e| Invalid::new(e.to_string()))?;
        Ok(Self(value.into()))
    }

    /// `{}`.
    pub fn empty_object() -> Self {
        static EMPTY: LazyLock<RawJson> = LazyLock::new(|| {
            // `{}` is JSON: nothing falls back.
            RawJson::from_stored("{}").unwrap_or_else(|_| RawJson::null())
        });
        EMPTY.clone()
    }

    /// `null`.
    pub fn null() -> Self {
        Self(RawValue::NULL.to_owned().into())
    }

    /// This value, or an error that names `what` when it has more than `bytes_max` bytes.
    pub fn within(self, what: &str, bytes_max: usize) -> Result<Self, Invalid> {
        if self.len_bytes() <= bytes_max {
            return Ok(self);
        }
        let bytes = self.len_bytes();
        Err(Invalid::new(format!("{what} has {bytes} bytes: at most {bytes_max} are allowed")))
    }

    /// The JSON text.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// Bytes of the text.
    pub fn len_bytes(&self) -> usize {
        self.as_str().len()
    }

    /// Reads the value as a `T`.
    pub fn decode<'a, T: Deserialize<'a>>(&'a self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.as_str())
    }
}

impl fmt::Debug for RawJson {
    /// Only the size: payloads do not belong in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawJson({} bytes)", self.len_bytes())
    }
}

impl PartialEq for RawJson {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for RawJson {}

impl Hash for RawJson {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl Serialize for RawJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RawJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Self::from_raw_value(&raw).map_err(serde::de::Error::custom)
    }
}

/// No value is nested more deeply than this. Quicker to find than how deeply it is.
fn opening_brackets(text: &str) -> usize {
    text.bytes().filter(|byte| matches!(byte, b'[' | b'{')).count()
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
