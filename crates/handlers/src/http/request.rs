use std::collections::BTreeMap;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use serde_json::value::RawValue;
use steadfast_domain::{InvalidField, RawJson};

use crate::payload::{Fields, pointer_token};

/// Bytes of a URL; RFC 9110 section 4.1 asks everyone to support 8,000.
const URL_BYTES_MAX: usize = 8_000;
/// Headers a payload may give.
const HEADERS_MAX: usize = 64;
/// Bytes of their names and values together.
const HEADERS_BYTES_MAX: usize = 16 * 1024;

const METHODS: [Method; 6] =
    [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::HEAD];

/// Headers that a payload may not give: they belong to the connection (RFC 9110 section 7.6.1), frame the
/// message, or are this server's own, as is every name that begins with [`OWN_PREFIX`].
const RESERVED_HEADERS: [&str; 13] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "idempotency-key",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "traceparent",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

const OWN_PREFIX: &str = "steadfast-";

/// What a payload asks to be delivered, checked.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Delivery {
    /// `url`: absolute, http or https, at most 8,000 bytes, without user name and password: those
    /// belong into an `Authorization` header. A fragment is not sent.
    pub(super) url: Url,
    /// `method`: GET, POST (if not given), PUT, PATCH, DELETE or HEAD.
    pub(super) method: Method,
    /// `headers`: an object of strings, at most 64 and 16 KiB, none of them
    /// the connection's or the server's own.
    pub(super) headers: HeaderMap,
    /// `body`: any JSON value but null, sent as it was written, as `application/json` unless a
    /// `content-type` header is given. A string together with a `content-type` that is not JSON is sent
    /// as its bare text. GET and HEAD have none.
    pub(super) body: Option<String>,
}

impl Delivery {
    /// Reads a payload, or tells everything that is wrong with it.
    pub(super) fn read(payload: &RawJson) -> Result<Self, Vec<InvalidField>> {
        let mut fields = Fields::of(payload)?;
        let url = read_url(&mut fields);
        let method = read_method(&mut fields);
        let mut headers = read_headers(&mut fields);
        let body = read_body(&mut fields, &method, &mut headers);
        fields.finish(url.map(|url| Self { url, method, headers, body }))
    }
}

fn read_url(fields: &mut Fields<'_>) -> Option<Url> {
    let text: String = fields.require("url", "an absolute http or https URL")?;
    let fault = if text.len() > URL_BYTES_MAX {
        format!("has {} bytes: at most {URL_BYTES_MAX} are allowed", text.len())
    } else {
        match Url::parse(&text) {
            Err(error) => format!("is not an absolute URL: {error}"),
            Ok(url) if !matches!(url.scheme(), "http" | "https") => "must be http or https".to_owned(),
            Ok(url) if !url.username().is_empty() || url.password().is_some() => {
                "must not hold a user name or password: send an Authorization header instead".to_owned()
            }
            Ok(url) => return Some(url),
        }
    };
    fields.fault("url", fault);
    None
}

fn read_method(fields: &mut Fields<'_>) -> Method {
    const EXPECTED: &str = "one of GET, POST, PUT, PATCH, DELETE and HEAD";
    let Some(name) = fields.take::<String>("method", EXPECTED) else { return Method::POST };
    let known = METHODS.into_iter().find(|method| method.as_str() == name);
    known.unwrap_or_else(|| {
        fields.fault("method", format_args!("must be {EXPECTED}"));
        Method::POST
    })
}

fn read_headers(fields: &mut Fields<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let given: BTreeMap<String, &RawValue> =
        fields.take("headers", "an object of strings").unwrap_or_default();
    let bytes: usize = given.iter().map(|(name, value)| name.len() + value.get().len()).sum();
    if given.len() > HEADERS_MAX || bytes > HEADERS_BYTES_MAX {
        let most = format!("at most {HEADERS_MAX} of {HEADERS_BYTES_MAX} bytes together are allowed");
        fields
            .fault("headers", format_args!("{} headers of {bytes} bytes are too many: {most}", given.len()));
        return headers;
    }
    for (text, value) in given {
        match read_header(&text, value) {
            Err(fault) => fields.fault(format_args!("headers/{}", pointer_token(&text)), fault),
            Ok((name, value)) => {
                if headers.insert(name, value).is_some() {
                    let path = format!("headers/{}", pointer_token(&text));
                    fields.fault(path, "is given twice: names differ in more than their case");
                }
            }
        }
    }
    headers
}

fn read_header(name: &str, value: &RawValue) -> Result<(HeaderName, HeaderValue), &'static str> {
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| "is not a header name")?;
    if RESERVED_HEADERS.contains(&name.as_str()) || name.as_str().starts_with(OWN_PREFIX) {
        return Err("is set by the server");
    }
    let value: String = serde_json::from_str(value.get()).map_err(|_| "must be a string")?;
    let value =
        HeaderValue::from_str(&value).map_err(|_| "must be visible ASCII characters, spaces and tabs")?;
    Ok((name, value))
}

fn read_body(fields: &mut Fields<'_>, method: &Method, headers: &mut HeaderMap) -> Option<String> {
    let body = fields.take_raw("body")?;
    if matches!(*method, Method::GET | Method::HEAD) {
        fields.fault("body", format_args!("a {method} request has none"));
        return None;
    }
    let json = headers.get(CONTENT_TYPE).is_none_or(is_json);
    headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
    if json || !body.get().starts_with('"') {
        return Some(body.get().to_owned());
    }
    let text = serde_json::from_str(body.get()).ok();
    if text.is_none() {
        fields.fault("body", "must be a string of whole Unicode characters to be sent as text");
    }
    text
}

/// Whether a media type is JSON: `application/json`, `text/json` or anything `+json` (RFC 6839).
fn is_json(content_type: &HeaderValue) -> bool {
    let essence = content_type.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    let essence = essence.trim().to_ascii_lowercase();
    essence.ends_with("/json") || essence.ends_with("+json")
}
