use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use serde::Serialize;
use steadfast_domain::RawJson;
use steadfast_queue::{Failure, Finish, StopReason};

use super::failure::Endpoint;

/// Bytes of an answer's body that a result keeps.
const BODY_BYTES_MAX: usize = 16 * 1024;
/// How long reading them may take: the verdict is known before.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a header's value that a result keeps; longer ones are left out whole, since half a URL or date
/// is worse than none. With these bounds a result stays below `limits::RESULT_BYTES_MAX`.
const HEADER_BYTES_MAX: usize = 1_024;

/// Headers worth keeping: what the body is, and by what the endpoint knows this delivery.
const KEPT_HEADERS: [&str; 9] = [
    "content-language",
    "content-type",
    "date",
    "etag",
    "last-modified",
    "location",
    "request-id",
    "x-correlation-id",
    "x-request-id",
];

/// What a status means for the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Delivered,
    Retry,
    Permanent,
}

fn verdict(status: StatusCode) -> Verdict {
    match status.as_u16() {
        200..=299 => Verdict::Delivered,
        408 | 425 | 429 | 500..=599 => Verdict::Retry,
        _ => Verdict::Permanent,
    }
}

/// The result of a delivered job.
#[derive(Debug, Serialize)]
struct Report {
    status: u16,
    headers: BTreeMap<&'static str, String>,
    body: String,
    /// `utf-8` when `body` is the text itself, `base64` when it encodes the bytes.
    body_encoding: &'static str,
    /// Whether there was more.
    body_truncated: bool,
}

/// Turns an answer into the attempt's end. Once the head is here the verdict stands: that the attempt is
/// to stop, or that the body breaks off, only shortens the body in the report.
pub(super) async fn judge(
    endpoint: &Endpoint,
    response: Response,
    stopped: impl Future<Output = StopReason>,
) -> Result<Finish, Failure> {
    let status = response.status();
    let message = || format!("{endpoint} answered {status}");
    match verdict(status) {
        Verdict::Delivered => Ok(report(response, stopped).await),
        Verdict::Retry => {
            let failure = Failure::retryable("http_status", message());
            Err(match retry_after(response.headers(), SystemTime::now()) {
                Some(delay) => failure.after(delay),
                None => failure,
            })
        }
        Verdict::Permanent if status.is_redirection() => {
            Err(Failure::permanent("http_status", format!("{}: redirects are not followed", message())))
        }
        Verdict::Permanent => Err(Failure::permanent("http_status", message())),
    }
}

async fn report(mut response: Response, stopped: impl Future<Output = StopReason>) -> Finish {
    let headers = kept_headers(response.headers());
    let mut bytes = Vec::new();
    let whole = tokio::select! {
        biased;
        whole = read_body(&mut response, &mut bytes) => whole,
        _ = stopped => false,
        () = tokio::time::sleep(BODY_TIMEOUT) => false,
    };
    let (body, body_encoding) = body_text(bytes, whole);
    let status = response.status().as_u16();
    let report = Report { status, headers, body, body_encoding, body_truncated: !whole };
    // A delivered job is not failed for its report.
    Finish::Completed(RawJson::encode(&report).ok())
}

/// Reads the body up to its bound; whether that was all of it. What came before it ended, or before
/// this future was dropped, is in `bytes`.
async fn read_body(response: &mut Response, bytes: &mut Vec<u8>) -> bool {
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => {
                let room = BODY_BYTES_MAX - bytes.len();
                bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
                if chunk.len() > room {
                    return false;
                }
            }
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

/// The body as text where it is UTF-8 without control characters other than white space: those would each
/// take six bytes of the result.
fn body_text(mut bytes: Vec<u8>, whole: bool) -> (String, &'static str) {
    if let Err(error) = std::str::from_utf8(&bytes)
        && !whole
        && error.error_len().is_none()
    {
        // The cut went through a character.
        bytes.truncate(error.valid_up_to());
    }
    let plain = |text: &str| !text.bytes().any(|b| b.is_ascii_control() && !b.is_ascii_whitespace());
    match String::from_utf8(bytes) {
        Ok(text) if plain(&text) => (text, "utf-8"),
        Ok(text) => (STANDARD.encode(text), "base64"),
        Err(error) => (STANDARD.encode(error.as_bytes()), "base64"),
    }
}

fn kept_headers(headers: &HeaderMap) -> BTreeMap<&'static str, String> {
    let short = |name| headers.get(name)?.to_str().ok().filter(|value| value.len() <= HEADER_BYTES_MAX);
    KEPT_HEADERS.into_iter().filter_map(|name| Some((name, short(name)?.to_owned()))).collect()
}

/// The wait that `Retry-After` asks for (RFC 9110 section 10.2.3): seconds or a date. `None` when it is
/// absent, unreadable or past.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        // More digits than a u64 holds is for ever.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    httpdate::parse_http_date(text).ok()?.duration_since(now).ok()
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;
    use steadfast_domain::limits;

    use super::*;

    #[test]
    fn every_status_has_its_verdict() {
        for code in 100..=999 {
            let expected = match code {
                200..=299 => Verdict::Delivered,
                408 | 425 | 429 | 500..=599 => Verdict::Retry,
                _ => Verdict::Permanent,
            };
            assert_eq!(verdict(StatusCode::from_u16(code).unwrap()), expected, "{code}");
        }
    }

    #[test]
    fn a_wait_is_asked_for_in_seconds_or_as_a_date() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        let asked = |text: &'static str| {
            retry_after(&HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(text))]), now)
        };
        let seconds = |n| Some(Duration::from_secs(n));
        assert_eq!(asked("120"), seconds(120));
        assert_eq!(asked(" 0 "), seconds(0));
        assert_eq!(asked("99999999999999999999999"), seconds(u64::MAX));
        assert_eq!(asked("Sun, 06 Nov 1994 08:50:37 GMT"), seconds(60));
        assert_eq!(asked("Sunday, 06-Nov-94 08:50:37 GMT"), seconds(60));
        assert_eq!(asked("Sun Nov  6 08:50:37 1994"), seconds(60));
        for text in ["", "-1", "1.5", "soon", "Sun, 06 Nov 1994 08:48:37 GMT"] {
            assert_eq!(asked(text), None, "{text}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }

    #[test]
    fn a_body_is_text_where_it_reads_as_text() {
        let text = |bytes: &[u8], whole| body_text(bytes.to_vec(), whole);
        assert_eq!(text("é\r\n\t".as_bytes(), true), ("é\r\n\t".to_owned(), "utf-8"));
        assert_eq!(text(b"", true), (String::new(), "utf-8"));
        assert_eq!(text(&[0xff, 0xfe], true), ("//4=".to_owned(), "base64"));
        assert_eq!(text(b"a\0b", true), ("YQBi".to_owned(), "base64"));
        let half = &"né".as_bytes()[..2];
        assert_eq!(text(half, false), ("n".to_owned(), "utf-8"), "a cut character is left out");
        assert_eq!(text(half, true), ("bsM=".to_owned(), "base64"), "a broken one is not");
    }

    #[test]
    fn the_largest_report_is_a_result() {
        let value = HeaderValue::from_str(&"\"".repeat(HEADER_BYTES_MAX)).unwrap();
        let headers: HeaderMap = KEPT_HEADERS
            .into_iter()
            .map(|name| (name.parse::<reqwest::header::HeaderName>().unwrap(), value.clone()))
            .collect();
        for bytes in [vec![b'"'; BODY_BYTES_MAX], vec![0; BODY_BYTES_MAX]] {
            let (body, body_encoding) = body_text(bytes, false);
            let headers = kept_headers(&headers);
            assert_eq!(headers.len(), KEPT_HEADERS.len());
            let report = Report { status: 200, headers, body, body_encoding, body_truncated: true };
            assert!(RawJson::encode(&report).unwrap().len_bytes() <= limits::RESULT_BYTES_MAX);
        }
    }

    #[test]
    fn a_header_too_long_to_keep_is_left_out_whole() {
        let long = HeaderValue::from_str(&"x".repeat(HEADER_BYTES_MAX + 1)).unwrap();
        let headers = HeaderMap::from_iter([
            (reqwest::header::LOCATION, long),
            (reqwest::header::ETAG, HeaderValue::from_static("\"v1\"")),
            (reqwest::header::SET_COOKIE, HeaderValue::from_static("secret")),
        ]);
        assert_eq!(kept_headers(&headers), BTreeMap::from([("etag", "\"v1\"".to_owned())]));
    }
}
