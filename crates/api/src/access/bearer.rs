//! How a request brings its token (RFC 6750, section 2.1): in a header, and in no other way. What is part of an address
//! ends in logs.

use http::HeaderMap;
use http::header::AUTHORIZATION;

/// A longer token is none: it would only be hashed for nothing.
const TOKEN_BYTES_MAX: usize = 512;

/// What a request brings.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Presented<'a> {
    /// A token.
    Token(&'a [u8]),
    /// None.
    Nothing,
    /// Something that is no token, or more than one.
    Malformed,
}

impl<'a> Presented<'a> {
    pub(super) fn by(headers: &'a HeaderMap) -> Self {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        match (values.next(), values.next()) {
            (None, _) => Self::Nothing,
            (Some(value), None) => token_of(value.as_bytes()).map_or(Self::Malformed, Self::Token),
            (Some(_), Some(_)) => Self::Malformed,
        }
    }
}

/// The token in `Bearer TOKEN`; how the scheme is written does not matter (RFC 9110, section 11.1).
fn token_of(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked("Bearer".len())?;
    let token = rest.trim_ascii_start();
    let is_token = (1..=TOKEN_BYTES_MAX).contains(&token.len()) && token.iter().all(u8::is_ascii_graphic);
    (scheme.eq_ignore_ascii_case(b"Bearer") && token.len() < rest.len() && is_token).then_some(token)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[track_caller]
    fn assert_presents(values: &[&[u8]], presented: &Presented<'_>) {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        }
        assert_eq!(Presented::by(&headers), *presented, "{values:?}");
    }

    #[test]
    fn a_token_comes_in_one_header_after_its_scheme() {
        for value in ["Bearer sf_1", "bearer sf_1", "BEARER   sf_1"] {
            assert_presents(&[value.as_bytes()], &Presented::Token(b"sf_1"));
        }
        assert_presents(&[], &Presented::Nothing);
    }

    #[test]
    fn what_is_no_token_is_refused_as_a_wrong_one() {
        let long = format!("Bearer {}", "x".repeat(TOKEN_BYTES_MAX + 1));
        for value in ["", "Bearer", "Bearer ", "Bearersf_1", "sf_1", "Basic c2Y6MQ==", "Bearer a b", &long] {
            assert_presents(&[value.as_bytes()], &Presented::Malformed);
        }
        assert_presents(&[b"Bearer \xff"], &Presented::Malformed);
        assert_presents(&[b"Bearer sf_1", b"Bearer sf_1"], &Presented::Malformed);
    }
}
