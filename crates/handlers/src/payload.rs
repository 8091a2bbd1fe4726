use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde_json::value::RawValue;
pub(crate) use steadfast_domain::pointer_token;
use steadfast_domain::{InvalidField, RawJson};

/// The fields of a payload that is an object, taken one by one, and every fault found on the way.
///
/// One reader serves the check at submit and the run, so that what was accepted can be run.
pub(crate) struct Fields<'a> {
    left: BTreeMap<String, &'a RawValue>,
    faults: Vec<InvalidField>,
}

impl<'a> Fields<'a> {
    /// The fields of `payload`; a fault at `#/payload` when it is not an object. Of a repeated name
    /// the last value counts.
    pub(crate) fn of(payload: &'a RawJson) -> Result<Self, Vec<InvalidField>> {
        match payload.decode() {
            Ok(left) => Ok(Self { left, faults: Vec::new() }),
            Err(_) => Err(vec![InvalidField::new("#/payload", "must be an object")]),
        }
    }

    /// The text of field `name`, if it is there and not null.
    pub(crate) fn take_raw(&mut self, name: &str) -> Option<&'a RawValue> {
        self.left.remove(name).filter(|value| value.get() != "null")
    }

    /// Field `name` as a `T`, if it is there, not null and what `expected` says: a fault otherwise.
    pub(crate) fn take<T: Deserialize<'a>>(&mut self, name: &str, expected: &str) -> Option<T> {
        let value = self.take_raw(name)?;
        let read = serde_json::from_str(value.get()).ok();
        if read.is_none() {
            self.fault(name, format_args!("must be {expected}"));
        }
        read
    }

    /// Like [`take`](Self::take), and a fault when the field is missing or null.
    pub(crate) fn require<T: Deserialize<'a>>(&mut self, name: &str, expected: &str) -> Option<T> {
        if self.left.get(name).is_none_or(|value| value.get() == "null") {
            self.left.remove(name);
            self.fault(name, format_args!("is missing: must be {expected}"));
            return None;
        }
        self.take(name, expected)
    }

    /// Notes a fault of the field at `path`, such as `url` or, with [`pointer_token`], `headers/Accept`.
    pub(crate) fn fault(&mut self, path: impl fmt::Display, detail: impl fmt::Display) {
        self.faults.push(InvalidField::new(format!("#/payload/{path}"), detail));
    }

    /// Notes a fault of the payload as a whole.
    pub(crate) fn fault_of_all(&mut self, detail: impl fmt::Display) {
        self.faults.push(InvalidField::new("#/payload", detail));
    }

    /// Every fault noted, whatever fields are left.
    pub(crate) fn into_faults(self) -> Vec<InvalidField> {
        self.faults
    }

    /// What was `read` of them, or every fault noted, with one more for each field that nobody took.
    /// `None` is for a required field that noted its own fault.
    pub(crate) fn finish<T>(mut self, read: Option<T>) -> Result<T, Vec<InvalidField>> {
        for name in std::mem::take(&mut self.left).into_keys() {
            self.fault(pointer_token(&name), "is not a known field");
        }
        read.filter(|_| self.faults.is_empty()).ok_or(self.faults)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pointers(faults: &[InvalidField]) -> Vec<&str> {
        faults.iter().map(|fault| fault.pointer.as_str()).collect()
    }

    #[test]
    fn what_is_not_an_object_is_one_fault() {
        for text in ["null", "[]", "1", "\"x\"", r#"{"\ud800":1}"#] {
            let payload = RawJson::parse(text).unwrap();
            let faults = Fields::of(&payload).map(|_| ()).unwrap_err();
            assert_eq!(pointers(&faults), ["#/payload"], "{text}");
        }
    }

    #[test]
    fn every_fault_is_told_and_null_is_absent() {
        let payload = RawJson::parse(r#"{"a":null,"b":"x","c":null,"d/~ é":1,"n":7}"#).unwrap();
        let mut fields = Fields::of(&payload).unwrap();
        assert_eq!(fields.take::<u64>("a", "a number"), None);
        assert_eq!(fields.take::<u64>("b", "a number"), None);
        assert_eq!(fields.require::<u64>("c", "a number"), None);
        assert_eq!(fields.require::<u64>("n", "a number"), Some(7));
        let faults = fields.finish(Some(())).unwrap_err();
        assert_eq!(pointers(&faults), ["#/payload/b", "#/payload/c", "#/payload/d~1~0%20%C3%A9"]);
        assert_eq!(faults[0].detail, "must be a number");
    }
}
