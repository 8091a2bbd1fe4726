use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use steadfast_domain::Invalid;

/// One argument of a program: text, in which `{field}` stands for a field of the job's payload. `{{` and `}}` are
/// braces.
///
/// A field never begins an option: where it is the first of an argument its value may not begin with `-`, and
/// after nothing but dashes no field may stand at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    written: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(String),
}

/// Fields that every payload may have: no argument can take them.
pub(crate) const PROGRAM: &str = "program";
pub(crate) const INPUT: &str = "input";

impl Argument {
    /// The fields it takes.
    pub(crate) fn fields(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Field(name) => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }

    /// The argument with these values in place of its fields; a field without one counts as empty. An error is
    /// the field that would make an option of it.
    pub(crate) fn fill(&self, values: &BTreeMap<&str, String>) -> Result<String, &str> {
        let mut filled = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => filled.push_str(text),
                Part::Field(name) => {
                    let value = values.get(name.as_str()).map_or("", String::as_str);
                    if filled.is_empty() && value.starts_with('-') {
                        return Err(name);
                    }
                    filled.push_str(value);
                }
            }
        }
        Ok(filled)
    }
}

impl FromStr for Argument {
    type Err = Invalid;

    fn from_str(written: &str) -> Result<Self, Invalid> {
        let parts = parts(written)?;
        let begins_an_option = match parts.first() {
            Some(Part::Text(text)) => parts.len() > 1 && text.bytes().all(|byte| byte == b'-'),
            Some(Part::Field(_)) | None => false,
        };
        if begins_an_option {
            return Err(Invalid::new("a field cannot be the name of an option"));
        }
        Ok(Self { written: written.to_owned(), parts })
    }
}

impl fmt::Display for Argument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

/// Neighbouring text is one part.
fn parts(written: &str) -> Result<Vec<Part>, Invalid> {
    let (mut parts, mut text) = (Vec::new(), String::new());
    let mut rest = written;
    while let Some(next) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("{{").or_else(|| rest.strip_prefix("}}")) {
            text.push(next);
            rest = after;
        } else if let Some(inside) = rest.strip_prefix('{') {
            let field = inside.split_once('}').filter(|(name, _)| is_field(name));
            let (name, after) = field.ok_or_else(|| {
                Invalid::new(
                    "in braces stands the name of a field: letters, digits, '_' and '-', but not `program` or \
                     `input`; braces themselves are written {{ and }}",
                )
            })?;
            if !text.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut text)));
            }
            parts.push(Part::Field(name.to_owned()));
            rest = after;
        } else if next == '}' || next == '\0' {
            return Err(Invalid::new("a closing brace is written }}, and NUL cannot be written"));
        } else {
            text.push(next);
            rest = &rest[next.len_utf8()..];
        }
    }
    if !text.is_empty() {
        parts.push(Part::Text(text));
    }
    Ok(parts)
}

fn is_field(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    !name.is_empty() && name.bytes().all(plain) && name != PROGRAM && name != INPUT
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(written: &str, values: &[(&'static str, &str)]) -> Result<String, String> {
        let values = values.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        let argument: Argument = written.parse().unwrap();
        assert_eq!(argument.to_string(), written);
        argument.fill(&values).map_err(str::to_owned)
    }

    #[test]
    fn fields_stand_anywhere_and_braces_are_doubled() {
        for (written, expected) in [
            ("", ""),
            ("--quiet", "--quiet"),
            ("{w}", "7"),
            ("{w}x{h}", "7x9"),
            ("--size={w}x{h}!", "--size=7x9!"),
            ("-o{w}", "-o7"),
            ("{{{w}}}", "{7}"),
            ("a}}b{{c", "a}b{c"),
            ("é{w}é", "é7é"),
        ] {
            assert_eq!(filled(written, &[("w", "7"), ("h", "9")]).as_deref(), Ok(expected), "{written}");
        }
        let argument: Argument = "{w}-{h}{w}".parse().unwrap();
        assert_eq!(argument.fields().collect::<Vec<_>>(), ["w", "h", "w"]);
    }

    #[test]
    fn no_value_becomes_an_option() {
        assert_eq!(filled("{file}", &[("file", "--delete")]), Err("file".to_owned()));
        assert_eq!(filled("{a}{b}", &[("a", ""), ("b", "-x")]), Err("b".to_owned()));
        assert_eq!(filled("{a}{b}", &[("a", "1"), ("b", "-x")]).as_deref(), Ok("1-x"));
        assert_eq!(filled("./{file}", &[("file", "-x")]).as_deref(), Ok("./-x"));
        for written in ["-{option}", "--{option}", "-{a}{b}"] {
            assert!(written.parse::<Argument>().is_err(), "{written}");
        }
    }

    #[test]
    fn what_is_no_field_is_refused() {
        for written in ["{", "}", "{}", "{a", "a}", "{a b}", "{a.b}", "{program}", "{input}", "{{a}", "a\0"] {
            assert!(written.parse::<Argument>().is_err(), "{written}");
        }
    }
}
