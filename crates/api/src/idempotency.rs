use http::HeaderMap;
use sha2::{Digest, Sha256};
use steadfast_domain::{IdempotencyToken, Tenant};
use steadfast_queue::store::{IdempotencyKey, KeyScope};

use crate::problem::Refused;

const HEADER: &str = "idempotency-key";

/// The request's `Idempotency-Key`, if it has one, with the SHA-256 of its body.
///
/// The value is a structured-field String (RFC 9651, section 3.3.3), whose quotes and backslashes are taken
/// off, or the key itself.
pub(crate) fn key_of(
    headers: &HeaderMap,
    tenant: &Tenant,
    scope: KeyScope,
    body: &[u8],
) -> Result<Option<IdempotencyKey>, Refused> {
    let mut values = headers.get_all(HEADER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = String::from_utf8_lossy(value.as_bytes());
    let token = match (unquoted(text.trim()), values.next()) {
        (Some(token), None) => IdempotencyToken::new(&token).ok(),
        _ => None,
    };
    let Some(token) = token else {
        return Err(Refused::parameter(
            "Idempotency-Key",
            &text,
            "one key of 1 to 255 visible ASCII characters",
        ));
    };
    let fingerprint = Sha256::digest(body).into();
    Ok(Some(IdempotencyKey { tenant: tenant.clone(), scope, token, fingerprint }))
}

/// The text of a structured-field String, or a bare key as it is; `None` when a quoted one is not closed.
fn unquoted(text: &str) -> Option<String> {
    let Some(quoted) = text.strip_prefix('"') else { return Some(text.to_owned()) };
    let mut key = String::with_capacity(quoted.len());
    let mut chars = quoted.chars();
    loop {
        match chars.next()? {
            '"' => break,
            '\\' => match chars.next()? {
                escaped @ ('"' | '\\') => key.push(escaped),
                _ => return None,
            },
            char => key.push(char),
        }
    }
    chars.as_str().is_empty().then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn token(value: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, HeaderValue::from_str(value).unwrap());
        let key = key_of(&headers, &Tenant::default(), KeyScope::Submit, b"{}").ok()?;
        key.map(|key| key.token.as_str().to_owned())
    }

    #[test]
    fn quoted_and_bare_keys_are_one() {
        assert_eq!(token("order-7").as_deref(), Some("order-7"));
        assert_eq!(token("\"order-7\"").as_deref(), Some("order-7"));
        assert_eq!(token(r#""a\"b\\c""#).as_deref(), Some(r#"a"b\c"#));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for bad in ["", "\"", "\"a", "\"a\"b", r#""a\x""#, "two words", "\"\"", &"k".repeat(256)] {
            assert_eq!(token(bad), None, "{bad}");
        }
    }

    #[test]
    fn two_keys_are_none() {
        let mut headers = HeaderMap::new();
        headers.append(HEADER, HeaderValue::from_static("a"));
        headers.append(HEADER, HeaderValue::from_static("b"));
        assert!(key_of(&headers, &Tenant::default(), KeyScope::Submit, b"").is_err());
        assert!(
            key_of(&HeaderMap::new(), &Tenant::default(), KeyScope::Submit, b"")
                .is_ok_and(|key| key.is_none())
        );
    }
}
