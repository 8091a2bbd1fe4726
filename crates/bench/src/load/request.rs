use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// Hexadecimal digits of a key: 128 bits.
const KEY_DIGITS: usize = 32;
const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// One request as the bytes that are written, ready before the measurement begins. Each connection has a
/// clone of its own.
#[derive(Debug)]
pub(crate) struct Request {
    bytes: Vec<u8>,
    key: Option<Range<usize>>,
    random: u64,
}

impl Request {
    /// `POST path` with a JSON body.
    pub(crate) fn post(path: &str, body: &str) -> Self {
        Self::rendered(path, "", body)
    }

    /// The same with an `Idempotency-Key`, a new random one each time it is sent.
    pub(crate) fn post_keyed(path: &str, body: &str) -> Self {
        let blank = "0".repeat(KEY_DIGITS);
        let mut request = Self::rendered(path, &format!("Idempotency-Key: \"{blank}\"\r\n"), body);
        let text = String::from_utf8_lossy(&request.bytes);
        request.key = text.find(&blank).map(|at| at..at + KEY_DIGITS);
        request
    }

    /// The same, answered only when the job has ended.
    pub(crate) fn post_waiting(path: &str, body: &str) -> Self {
        Self::rendered(path, "Prefer: wait=10\r\n", body)
    }

    /// `GET path`.
    pub(crate) fn get(path: &str) -> Self {
        let bytes = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
        Self { bytes: bytes.into_bytes(), key: None, random: seed() }
    }

    /// The same with this bearer token, if there is one.
    pub(crate) fn with_token(mut self, token: Option<&str>) -> Self {
        let head = self.bytes.iter().position(|byte| *byte == b'\n').map_or(0, |line| line + 1);
        let field = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        self.key = self.key.map(|key| key.start + field.len()..key.end + field.len());
        self.bytes.splice(head..head, field.into_bytes());
        self
    }

    fn rendered(path: &str, fields: &str, body: &str) -> Self {
        let length = body.len();
        let bytes = format!(
            "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n{fields}\
             Content-Length: {length}\r\n\r\n{body}"
        );
        Self { bytes: bytes.into_bytes(), key: None, random: seed() }
    }

    /// The bytes to send now.
    pub(crate) fn next(&mut self) -> &[u8] {
        if let Some(key) = self.key.clone() {
            for digits in self.bytes[key].chunks_exact_mut(16) {
                let mut bits = split_mix(&mut self.random);
                for digit in digits {
                    *digit = DIGITS[(bits & 0xf) as usize];
                    bits >>= 4;
                }
            }
        }
        &self.bytes
    }
}

impl Clone for Request {
    fn clone(&self) -> Self {
        Self { bytes: self.bytes.clone(), key: self.key.clone(), random: seed() }
    }
}

/// Another sequence for each request of each run: the keys of a run before may still be stored.
fn seed() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let run = uuid::Uuid::now_v7().as_u64_pair();
    let mut state = run.0 ^ run.1.rotate_left(17) ^ NEXT.fetch_add(0x5851_f42d_4c95_7f2d, Ordering::Relaxed);
    split_mix(&mut state)
}

/// One step of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut bits = *state;
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_send_of_a_keyed_request_has_another_key() {
        let mut requests = [Request::post_keyed("/v1/jobs", "{}"), Request::post_keyed("/v1/jobs", "{}")];
        let mut sent = BTreeSet::new();
        for _ in 0..100 {
            for request in &mut requests {
                let text = String::from_utf8(request.next().to_vec()).unwrap();
                let (_, key) = text.split_once("Idempotency-Key: \"").unwrap();
                assert!(key.as_bytes()[..KEY_DIGITS].iter().all(u8::is_ascii_hexdigit), "{text}");
                assert!(key[KEY_DIGITS..].starts_with("\"\r\n"), "{text}");
                assert!(text.ends_with("Content-Length: 2\r\n\r\n{}"), "{text}");
                sent.insert(text);
            }
        }
        assert_eq!(sent.len(), 200);
    }

    #[test]
    fn a_token_is_a_field_of_its_own_and_leaves_the_key_where_it_belongs() {
        let mut request = Request::post_keyed("/v1/jobs", "{}").with_token(Some("sf_1"));
        let text = String::from_utf8(request.next().to_vec()).unwrap();
        assert!(text.starts_with("POST /v1/jobs HTTP/1.1\r\nAuthorization: Bearer sf_1\r\nHost: "), "{text}");
        let (_, key) = text.split_once("Idempotency-Key: \"").unwrap();
        assert!(key.as_bytes()[..KEY_DIGITS].iter().all(u8::is_ascii_hexdigit), "{text}");
        assert_eq!(Request::get("/").next(), Request::get("/").with_token(None).next());
    }

    #[test]
    fn a_request_without_a_key_is_the_same_each_time() {
        let mut request = Request::post("/v1/jobs", "{\"kind\":\"echo\"}");
        let first = request.next().to_vec();
        assert_eq!(request.next(), first);
        assert!(first.starts_with(b"POST /v1/jobs HTTP/1.1\r\n"));
    }
}
