use std::fmt;

/// A value that breaks a limit, with what would be allowed.
///
/// The text is safe to show to a client: it repeats at most the first 64 characters of the value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(String);

/// Characters of a rejected value that an error message repeats.
const SHOWN_CHARS_MAX: usize = 64;

impl Invalid {
    /// An error with this sentence; `detail` says what is wrong and what is allowed.
    pub fn new(detail: impl Into<String>) -> Self {
        Self(detail.into())
    }

    /// `what "value" is not allowed: allowed`.
    pub(crate) fn value(what: &str, value: &str, allowed: impl fmt::Display) -> Self {
        let mut shown: String = value.chars().take(SHOWN_CHARS_MAX).collect();
        if shown.len() < value.len() {
            shown.push('…');
        }
        Self(format!("{what} {shown:?} is not allowed: {allowed}"))
    }
}

/// An [`Invalid`] value together with the JSON Pointer (RFC 6901) of the field that holds it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{pointer}: {detail}")]
pub struct InvalidField {
    /// Where: a URI fragment such as `#/retry/max_attempts`.
    pub pointer: String,
    /// What is wrong and what is allowed.
    pub detail: String,
}

impl InvalidField {
    /// A fault at `pointer`, a URI fragment such as `#/payload/url`.
    pub fn new(pointer: impl Into<String>, detail: impl fmt::Display) -> Self {
        Self { pointer: pointer.into(), detail: detail.to_string() }
    }
}

/// `name` as one reference token of a JSON Pointer within a URI fragment (RFC 6901, sections 3 and 6), of the
/// characters that a fragment may hold as they are only those that names are usually made of.
pub fn pointer_token(name: &str) -> String {
    let mut token = String::with_capacity(name.len());
    for char in name.chars() {
        match char {
            '~' => token.push_str("~0"),
            '/' => token.push_str("~1"),
            'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '.' | '_' => token.push(char),
            _ => {
                let mut utf8 = [0; 4];
                for byte in char.encode_utf8(&mut utf8).bytes() {
                    token.push_str(&format!("%{byte:02X}"));
                }
            }
        }
    }
    token
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_token_holds_any_name() {
        assert_eq!(pointer_token("max_attempts"), "max_attempts");
        assert_eq!(pointer_token("d/~ \u{e9}"), "d~1~0%20%C3%A9");
    }
}
