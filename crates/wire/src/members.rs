//! Reading JSON objects member by member, so that one pass finds every fault and says where it is. An
//! ordinary derived reader stops at the first one, in words of its own.

use std::borrow::Cow;
use std::fmt;
use std::ops::RangeInclusive;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use steadfast_domain::{Invalid, InvalidField, RawJson, Timestamp, pointer_token};

/// Faults one answer lists; further ones are not looked for.
pub const FAULTS_MAX: usize = 32;

/// Characters of a member's name that a pointer repeats.
const NAME_CHARS_SHOWN_MAX: usize = 64;

const NAME_NOT_UNICODE: &str = "has a member whose name is not valid Unicode";

/// Why a request's body is not a job or a batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misread {
    /// It is not JSON (RFC 8259).
    #[error("the body is not valid JSON at line {line}, column {column}")]
    NotJson {
        /// Lines count from 1.
        line: usize,
        /// Columns count bytes from 1; 0 is the end of the line before.
        column: usize,
    },
    /// It is JSON, but has faults: 1 to [`FAULTS_MAX`].
    #[error("{} faults, the first at {}", .0.len(), .0[0])]
    Invalid(Vec<InvalidField>),
}

/// What was found wrong so far.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<InvalidField>);

impl Faults {
    /// A fault of `name` in the object at `at`.
    pub(crate) fn add(&mut self, at: &str, name: &str, detail: impl fmt::Display) {
        self.add_at(|| format!("{at}/{}", escaped(name)), detail);
    }

    /// A fault of the value at `at` itself.
    pub(crate) fn add_here(&mut self, at: &str, detail: impl fmt::Display) {
        self.add_at(|| at.to_owned(), detail);
    }

    fn add_at(&mut self, pointer: impl FnOnce() -> String, detail: impl fmt::Display) {
        if self.0.len() < FAULTS_MAX {
            self.0.push(InvalidField::new(pointer(), detail));
        }
    }

    /// `value`, if nothing was found wrong.
    pub(crate) fn or<T>(self, value: Option<T>) -> Result<T, Misread> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => Err(Misread::Invalid(self.0)),
        }
    }
}

/// The members of one JSON object, of which only the `N` known ones are kept, as text not yet read.
pub(crate) struct Members<'a, const N: usize> {
    names: &'static [&'static str; N],
    values: [Option<&'a RawValue>; N],
    /// Pointer of the object itself.
    at: &'a str,
}

impl<'a, const N: usize> Members<'a, N> {
    /// Reads a whole body. Faults: not an object, an unknown member, a member given twice.
    pub(crate) fn of_body(
        body: &'a str,
        names: &'static [&'static str; N],
        faults: &mut Faults,
    ) -> Result<Option<Self>, Misread> {
        Self::read(body, "#", names, faults).map(Some).or_else(|_| {
            // A wrong type, or a name that is no Unicode, is noticed before the rest is read: whether all of it
            // is JSON decides.
            if let Err(e) = serde_json::from_str::<IgnoredAny>(body) {
                return Err(Misread::NotJson { line: e.line(), column: e.column() });
            }
            let is_object = body.trim_start().starts_with('{');
            faults.add_here("#", if is_object { NAME_NOT_UNICODE } else { "must be an object" });
            Ok(None)
        })
    }

    /// Reads a value inside a body at the pointer `at`, as [`Members::of_body`] does.
    pub(crate) fn of_value(
        value: &'a RawValue,
        at: &'a str,
        names: &'static [&'static str; N],
        faults: &mut Faults,
    ) -> Option<Self> {
        if !value.get().starts_with('{') {
            faults.add_here(at, format_args!("must be an object, not {}", type_of(value)));
            return None;
        }
        Self::read(value.get(), at, names, faults).map_err(|_| faults.add_here(at, NAME_NOT_UNICODE)).ok()
    }

    fn read(
        text: &'a str,
        at: &'a str,
        names: &'static [&'static str; N],
        faults: &mut Faults,
    ) -> Result<Self, serde_json::Error> {
        let mut members = Self { names, values: [None; N], at };
        let mut reader = serde_json::Deserializer::from_str(text);
        Collect { members: &mut members, faults }.deserialize(&mut reader)?;
        reader.end()?;
        Ok(members)
    }

    /// The value of a member; `None` when it is absent or JSON `null`.
    pub(crate) fn value(&self, name: &str) -> Option<&'a RawValue> {
        self.value_or_null(name).filter(|value| value.get() != "null")
    }

    /// The value of a member, JSON `null` included.
    pub(crate) fn value_or_null(&self, name: &str) -> Option<&'a RawValue> {
        self.names.iter().position(|known| *known == name).and_then(|index| self.values[index])
    }

    /// A text member, made into a `T` by its checked constructor.
    pub(crate) fn checked<T>(
        &self,
        name: &str,
        faults: &mut Faults,
        check: impl FnOnce(&str) -> Result<T, Invalid>,
    ) -> Option<T> {
        let text = match text_of(self.value(name)?) {
            Ok(text) => text,
            Err(fault) => {
                faults.add(self.at, name, fault);
                return None;
            }
        };
        check(&text).map_err(|fault| faults.add(self.at, name, fault)).ok()
    }

    /// An RFC 3339 time.
    pub(crate) fn time(&self, name: &str, faults: &mut Faults) -> Option<Timestamp> {
        self.checked(name, faults, |text| {
            Timestamp::parse_rfc3339(text).ok_or_else(|| {
                Invalid::new("must be an RFC 3339 time from 1970 to 9999, such as 2026-11-21T00:00:00Z")
            })
        })
    }

    /// A whole number within `allowed`, of `unit`.
    pub(crate) fn whole(
        &self,
        name: &str,
        unit: &str,
        allowed: RangeInclusive<u64>,
        faults: &mut Faults,
    ) -> Option<u64> {
        let value = self.value(name)?;
        match whole_of(value) {
            Some(number) if allowed.contains(&number) => Some(number),
            _ => {
                let (least, most) = (allowed.start(), allowed.end());
                faults.add(
                    self.at,
                    name,
                    format_args!("must be a whole number of {unit} from {least} to {most}"),
                );
                None
            }
        }
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&self, name: &str, faults: &mut Faults) -> Option<bool> {
        let value = self.value(name)?;
        serde_json::from_str(value.get())
            .map_err(|_| {
                faults.add(self.at, name, format_args!("must be true or false, not {}", type_of(value)))
            })
            .ok()
    }

    /// JSON of any kind but `null`, of at most `bytes_max` bytes.
    pub(crate) fn json(&self, name: &str, bytes_max: usize, faults: &mut Faults) -> Option<RawJson> {
        let json = RawJson::from_raw_value(self.value(name)?).and_then(|json| json.within("it", bytes_max));
        json.map_err(|fault| faults.add(self.at, name, fault)).ok()
    }

    /// Text of any kind.
    pub(crate) fn text(&self, name: &str, faults: &mut Faults) -> Option<String> {
        self.checked(name, faults, |text| Ok(text.to_owned()))
    }

    /// A fault when the member is not there.
    pub(crate) fn required(&self, name: &str, faults: &mut Faults) {
        if self.value(name).is_none() {
            faults.add(self.at, name, "is required");
        }
    }

    /// Any number an `f64` can hold.
    pub(crate) fn number(&self, name: &str, faults: &mut Faults) -> Option<f64> {
        let value = self.value(name)?;
        serde_json::from_str::<f64>(value.get())
            .map_err(|_| faults.add(self.at, name, "must be a number of ordinary size"))
            .ok()
    }
}

/// The elements of a JSON array, at most `elements_max`; `None`, with a fault, when there are more or it is
/// not an array.
pub(crate) fn elements<'a>(
    value: &'a RawValue,
    at: &str,
    elements_max: usize,
    faults: &mut Faults,
) -> Option<Vec<&'a RawValue>> {
    match serde_json::Deserializer::from_str(value.get()).deserialize_seq(Elements { elements_max }) {
        Ok((elements, 0)) => Some(elements),
        Ok((_, more)) => {
            let count = elements_max + more;
            faults.add_here(at, format_args!("has {count} elements: at most {elements_max} are allowed"));
            None
        }
        Err(_) => {
            faults.add_here(at, format_args!("must be an array, not {}", type_of(value)));
            None
        }
    }
}

/// The members of a JSON object whose names are free, in their order, at most `members_max`; `None`, with a
/// fault, when there are more or it is not an object.
pub(crate) fn entries<'a>(
    value: &'a RawValue,
    at: &str,
    members_max: usize,
    faults: &mut Faults,
) -> Option<Vec<(Cow<'a, str>, &'a RawValue)>> {
    if !value.get().starts_with('{') {
        faults.add_here(at, format_args!("must be an object, not {}", type_of(value)));
        return None;
    }
    match serde_json::Deserializer::from_str(value.get()).deserialize_map(Entries { members_max }) {
        Ok((entries, 0)) => Some(entries),
        Ok((_, more)) => {
            let count = members_max + more;
            faults.add_here(at, format_args!("has {count} members: at most {members_max} are allowed"));
            None
        }
        Err(_) => {
            faults.add_here(at, NAME_NOT_UNICODE);
            None
        }
    }
}

/// The text of a JSON string.
pub(crate) fn text_of(value: &RawValue) -> Result<Cow<'_, str>, Invalid> {
    if !value.get().starts_with('"') {
        return Err(Invalid::new(format!("must be a string, not {}", type_of(value))));
    }
    serde_json::from_str::<Text<'_>>(value.get())
        .map(|text| text.0)
        .map_err(|_| Invalid::new("is not valid Unicode: half of a surrogate pair stands alone"))
}

/// A number without a fraction, however it is written: to JSON, `7.0` and `70e-1` are whole numbers too.
fn whole_of(value: &RawValue) -> Option<u64> {
    const EXACT_MAX: f64 = (1u64 << f64::MANTISSA_DIGITS) as f64;
    serde_json::from_str::<u64>(value.get()).ok().or_else(|| {
        let number = serde_json::from_str::<f64>(value.get()).ok()?;
        (number.fract() == 0.0 && (0.0..EXACT_MAX).contains(&number)).then_some(number as u64)
    })
}

/// A string that is borrowed where it holds no escapes.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// A name as a token of a pointer, cut to what is worth reading.
fn escaped(name: &str) -> String {
    let cut = name.char_indices().nth(NAME_CHARS_SHOWN_MAX).map_or(name.len(), |(end, _)| end);
    pointer_token(&name[..cut])
}

/// The JSON type of a value, with its article. Its text was found valid, so the first byte decides.
fn type_of(value: &RawValue) -> &'static str {
    match value.get().as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

struct Collect<'m, 'a, const N: usize> {
    members: &'m mut Members<'a, N>,
    faults: &'m mut Faults,
}

impl<'de, const N: usize> DeserializeSeed<'de> for Collect<'_, 'de, N> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, const N: usize> Visitor<'de> for Collect<'_, 'de, N> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { members, faults } = self;
        while let Some(Text(name)) = map.next_key::<Text<'de>>()? {
            let value = map.next_value::<&'de RawValue>()?;
            match members.names.iter().position(|known| *known == name) {
                Some(index) if members.values[index].is_none() => members.values[index] = Some(value),
                Some(_) => faults.add(members.at, &name, "is given twice"),
                None => {
                    let known = members.names.join(", ");
                    faults.add(members.at, &name, format_args!("is not a known field: {known}"));
                }
            }
        }
        Ok(())
    }
}

struct Elements {
    elements_max: usize,
}

impl<'de> Visitor<'de> for Elements {
    type Value = (Vec<&'de RawValue>, usize);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while elements.len() < self.elements_max {
            match seq.next_element()? {
                Some(element) => elements.push(element),
                None => return Ok((elements, 0)),
            }
        }
        let mut more = 0;
        while seq.next_element::<IgnoredAny>()?.is_some() {
            more += 1;
        }
        Ok((elements, more))
    }
}

struct Entries {
    members_max: usize,
}

impl<'de> Visitor<'de> for Entries {
    type Value = (Vec<(Cow<'de, str>, &'de RawValue)>, usize);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while entries.len() < self.members_max {
            match map.next_entry::<Text<'de>, &'de RawValue>()? {
                Some((name, value)) => entries.push((name.0, value)),
                None => return Ok((entries, 0)),
            }
        }
        let mut more = 0;
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
            more += 1;
        }
        Ok((entries, more))
    }
}
