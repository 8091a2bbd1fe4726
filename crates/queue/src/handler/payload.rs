//! A payload read as a type, and where it does not fit.

use serde::de::DeserializeOwned;
use serde_path_to_error::{Path, Segment};
use steadfast_domain::{InvalidField, RawJson, pointer_token};

/// What serde says of a field that is not there, before its name; it names the object as the place.
const MISSING_FIELD: &str = "missing field `";

/// The payload as a `T`, or the first place where it is not one.
///
/// What fits is read once. Where a reader has to see a value whole before it knows its type (`flatten`, untagged and
/// internally tagged enums), the place is that value.
pub(super) fn read<T: DeserializeOwned>(payload: &RawJson) -> Result<T, InvalidField> {
    payload
        .decode()
        .map_err(|error| misfit::<T>(payload).unwrap_or_else(|| fault("#/payload".into(), &error)))
}

/// Reads again what was found not to fit, now keeping track of the place.
fn misfit<T: DeserializeOwned>(payload: &RawJson) -> Option<InvalidField> {
    let mut reader = serde_json::Deserializer::from_str(payload.as_str());
    let error = serde_path_to_error::deserialize::<_, T>(&mut reader).err()?;
    Some(fault(pointer(error.path()), error.inner()))
}

fn pointer(path: &Path) -> String {
    let mut pointer = "#/payload".to_owned();
    for segment in path {
        let token = match segment {
            Segment::Seq { index } => index.to_string(),
            Segment::Map { key } => pointer_token(key),
            Segment::Enum { variant } => pointer_token(variant),
            Segment::Unknown => break,
        };
        pointer.push('/');
        pointer.push_str(&token);
    }
    pointer
}

/// The reader's words at `place`, without the line and column of a text that no client sees.
fn fault(mut place: String, error: &serde_json::Error) -> InvalidField {
    let text = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    let detail = text.strip_suffix(&position).unwrap_or(&text);
    if let Some((name, _)) = detail.strip_prefix(MISSING_FIELD).and_then(|rest| rest.split_once('`')) {
        place.push('/');
        place.push_str(&pointer_token(name));
    }
    InvalidField::new(place, detail)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Order {
        _id: u64,
        _lines: Option<Vec<Line>>,
        _notes: Option<BTreeMap<String, u8>>,
        _paid: Option<Payment>,
    }

    #[derive(Debug, Deserialize)]
    struct Line {
        _sku: String,
    }

    #[derive(Debug, Deserialize)]
    enum Payment {
        Card { _last: u16 },
        Cash,
    }

    fn told(text: &str) -> (String, String) {
        let fault = read::<Order>(&RawJson::parse(text).unwrap()).unwrap_err();
        (fault.pointer, fault.detail)
    }

    #[test]
    fn what_fits_is_read() {
        let paid = r#"{"_id":7,"_lines":[{"_sku":"a"}],"_paid":"Cash"}"#;
        let order: Order = read(&RawJson::parse(paid).unwrap()).unwrap();
        assert!(matches!(order, Order { _id: 7, _paid: Some(Payment::Cash), .. }));
    }

    #[test]
    fn a_fault_points_at_its_field_and_says_what_is_wrong() {
        for (payload, pointer, detail) in [
            ("7", "#/payload", "invalid type: integer `7`, expected struct Order"),
            ("{}", "#/payload/_id", "missing field `_id`"),
            (r#"{"_id":"7"}"#, "#/payload/_id", "invalid type: string \"7\", expected u64"),
            (r#"{"_id":1e999999}"#, "#/payload/_id", "number out of range"),
            (r#"{"_id":7,"_lines":[{"_sku":"a"},{}]}"#, "#/payload/_lines/1/_sku", "missing field `_sku`"),
            (
                r#"{"_id":7,"_notes":{"a/b é":-1}}"#,
                "#/payload/_notes/a~1b%20%C3%A9",
                "invalid value: integer `-1`, expected u8",
            ),
            (r#"{"_id":7,"_paid":{"Card":{}}}"#, "#/payload/_paid/Card/_last", "missing field `_last`"),
            (
                r#"{"_id":7,"more":1}"#,
                "#/payload/more",
                "unknown field `more`, expected one of `_id`, `_lines`, `_notes`, `_paid`",
            ),
        ] {
            assert_eq!(told(payload), (pointer.to_owned(), detail.to_owned()), "{payload}");
        }
    }
}
