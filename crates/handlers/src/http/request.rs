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
    let value = HeaderValue::from_str(&value).map_err(|_| "must not hold control characters")?;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(payload: &serde_json::Value) -> Result<Delivery, Vec<InvalidField>> {
        Delivery::read(&RawJson::encode(payload).unwrap())
    }

    fn pointers(payload: serde_json::Value) -> Vec<String> {
        let faults = read(&payload).map(|_| ()).unwrap_err();
        faults.into_iter().map(|fault| fault.pointer).collect()
    }

    fn body_of(payload: &str) -> (Option<String>, Option<HeaderValue>) {
        let delivery = Delivery::read(&RawJson::parse(payload).unwrap()).unwrap();
        (delivery.body, delivery.headers.get(CONTENT_TYPE).cloned())
    }

    #[test]
    fn only_a_url_is_required() {
        let delivery = read(&serde_json::json!({"url": "http://example.com/hook"})).unwrap();
        assert_eq!(delivery.method, Method::POST);
        assert!(delivery.headers.is_empty());
        assert_eq!(delivery.body, None);
    }

    #[test]
    fn a_url_is_absolute_http_short_and_without_credentials() {
        let long = format!("http://example.com/{}", "x".repeat(URL_BYTES_MAX));
        for url in [
            "",
            "/hook",
            "example.com/hook",
            "ftp://example.com/",
            "file:///etc/passwd",
            "http://",
            "http://a b/",
            "http://1.2.3.256/",
            "http://user@example.com/",
            "http://user:secret@example.com/",
            "http://:secret@example.com/",
            &long,
        ] {
            assert_eq!(pointers(serde_json::json!({ "url": url })), ["#/payload/url"], "{url}");
        }
        assert_eq!(pointers(serde_json::json!({})), ["#/payload/url"]);
        assert_eq!(pointers(serde_json::json!({"url": 7})), ["#/payload/url"]);
    }

    #[test]
    fn a_fault_in_a_url_does_not_repeat_its_password() {
        let faults = read(&serde_json::json!({"url": "http://user:swordfish@example.com/"})).unwrap_err();
        assert!(!faults[0].detail.contains("swordfish"));
    }

    #[test]
    fn methods_are_a_closed_list() {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"] {
            let delivery = read(&serde_json::json!({"url": "http://a/", "method": method})).unwrap();
            assert_eq!(delivery.method, method);
        }
        for method in ["get", "CONNECT", "TRACE", "", "GET / HTTP/1.1\r\n"] {
            let payload = serde_json::json!({"url": "http://a/", "method": method});
            assert_eq!(pointers(payload), ["#/payload/method"], "{method}");
        }
    }

    #[test]
    fn headers_that_frame_route_or_identify_are_refused() {
        for name in RESERVED_HEADERS.into_iter().chain(["Host", "Steadfast-Job-Id", "steadfast-other"]) {
            let payload = serde_json::json!({"url": "http://a/", "headers": {name: "x"}});
            assert_eq!(pointers(payload), [format!("#/payload/headers/{name}")], "{name}");
        }
    }

    #[test]
    fn headers_are_strings_with_valid_names_and_values() {
        let payload = serde_json::json!({"url": "http://a/", "headers": {
            "a b": "x", "a/b": "x", "x-cr": "a\r\nHost: b", "x-n": 7, "x-null": null, "x-ok": "é\t",
        }});
        let expected = ["a%20b", "a~1b", "x-cr", "x-n", "x-null"].map(|t| format!("#/payload/headers/{t}"));
        assert_eq!(pointers(payload), expected);
        for headers in [serde_json::json!([]), serde_json::json!("x")] {
            let payload = serde_json::json!({"url": "http://a/", "headers": headers});
            assert_eq!(pointers(payload), ["#/payload/headers"]);
        }
    }

    #[test]
    fn headers_are_bounded_and_unique() {
        let many = |n: usize| -> serde_json::Value {
            (0..n).map(|n| (format!("x-{n}"), serde_json::Value::from("v"))).collect()
        };
        assert!(read(&serde_json::json!({"url": "http://a/", "headers": many(HEADERS_MAX)})).is_ok());
        for headers in [many(HEADERS_MAX + 1), serde_json::json!({"x": "v".repeat(HEADERS_BYTES_MAX)})] {
            let payload = serde_json::json!({"url": "http://a/", "headers": headers});
            assert_eq!(pointers(payload), ["#/payload/headers"]);
        }
        let payload = serde_json::json!({"url": "http://a/", "headers": {"Accept": "a", "accept": "b"}});
        assert_eq!(pointers(payload), ["#/payload/headers/accept"]);
    }

    #[test]
    fn a_body_is_json_as_it_was_written() {
        let json = Some(HeaderValue::from_static("application/json"));
        for text in [r#"{"n": 1e999999,  "s":"\u0000"}"#, r#""text""#, "7", "false", "[]"] {
            let (body, content_type) = body_of(&format!(r#"{{"url":"http://a/","body":{text}}}"#));
            assert_eq!((body.as_deref(), content_type), (Some(text), json.clone()));
        }
        assert_eq!(body_of(r#"{"url":"http://a/","body":null}"#), (None, None));
    }

    #[test]
    fn a_string_of_another_media_type_is_sent_as_its_text() {
        let with_type = |media: &str, body: &str| {
            let headers = format!(r#"{{"Content-Type":"{media}"}}"#);
            body_of(&format!(r#"{{"url":"http://a/","headers":{headers},"body":{body}}}"#)).0
        };
        assert_eq!(with_type("text/plain", r#""a\nb""#).as_deref(), Some("a\nb"));
        assert_eq!(with_type("text/csv; charset=utf-8", r#""a;b""#).as_deref(), Some("a;b"));
        assert_eq!(with_type("Application/JSON; charset=utf-8", r#""a\nb""#).as_deref(), Some(r#""a\nb""#));
        assert_eq!(with_type("application/cloudevents+json", r#""a""#).as_deref(), Some(r#""a""#));
        assert_eq!(with_type("application/xml", r#"{"a":1}"#).as_deref(), Some(r#"{"a":1}"#));
    }

    #[test]
    fn text_that_no_encoding_can_hold_is_a_fault() {
        let text = r#"{"url":"http://a/","headers":{"content-type":"text/plain"},"body":"\ud800"}"#;
        let faults = Delivery::read(&RawJson::parse(text).unwrap()).unwrap_err();
        assert_eq!(faults[0].pointer, "#/payload/body");
    }

    #[test]
    fn what_asks_only_for_something_carries_nothing() {
        for method in ["GET", "HEAD"] {
            let payload = serde_json::json!({"url": "http://a/", "method": method, "body": {}});
            assert_eq!(pointers(payload), ["#/payload/body"]);
        }
    }

    #[test]
    fn every_fault_is_told_at_once() {
        let payload = serde_json::json!({"url": "x", "method": "x", "headers": 1, "timeout": 3});
        let expected = ["url", "method", "headers", "timeout"].map(|name| format!("#/payload/{name}"));
        assert_eq!(pointers(payload), expected);
    }
}
