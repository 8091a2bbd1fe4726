use serde::Serialize;
use steadfast_domain::{RawJson, limits};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;

/// Bytes read at once.
const CHUNK_BYTES: usize = 4_096;
/// Bytes of standard error that are kept: the last ones, as many as an error's message has room for.
const ERRORS_BYTES_MAX: usize = limits::ERROR_MESSAGE_BYTES_MAX - 64;
/// Bytes of a result around the text of its output.
const RESULT_FRAME_BYTES: usize = 64;

/// Standard output: its first bytes.
#[derive(Debug)]
pub(super) struct Output {
    kept: Vec<u8>,
    bytes_max: usize,
    truncated: bool,
}

/// Output that is no JSON document.
#[derive(Serialize)]
struct Text<'a> {
    output: &'a str,
    truncated: bool,
}

impl Output {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { kept: Vec::new(), bytes_max, truncated: false }
    }

    /// Reads to the end, whatever is kept of it: a program never waits for a reader.
    pub(super) async fn fill(&mut self, pipe: Receiver) {
        read_all(pipe, |chunk| self.take(chunk)).await;
    }

    fn take(&mut self, chunk: &[u8]) {
        let room = self.bytes_max - self.kept.len();
        self.truncated |= chunk.len() > room;
        self.kept.extend_from_slice(&chunk[..chunk.len().min(room)]);
    }

    /// The result: a whole JSON document as it is, other output as `{"output", "truncated"}` with U+FFFD for what is
    /// no UTF-8, and none without output.
    pub(super) fn into_result(self) -> Option<RawJson> {
        if self.kept.is_empty() && !self.truncated {
            return None;
        }
        let document = std::str::from_utf8(&self.kept).ok().and_then(|text| RawJson::parse(text).ok());
        if let Some(document) = document.filter(|_| !self.truncated) {
            return Some(document);
        }
        let text = String::from_utf8_lossy(&self.kept);
        let output = fitting(&text, limits::RESULT_BYTES_MAX - RESULT_FRAME_BYTES);
        let truncated = self.truncated || output.len() < text.len();
        RawJson::encode(&Text { output, truncated }).ok()
    }
}

/// The longest beginning of `text` that takes at most `bytes_max` bytes in a JSON string.
fn fitting(text: &str, bytes_max: usize) -> &str {
    let mut bytes = 0;
    for (at, char) in text.char_indices() {
        bytes += match char {
            '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
            '\0'..='\u{1f}' => 6,
            _ => char.len_utf8(),
        };
        if bytes > bytes_max {
            return &text[..at];
        }
    }
    text
}

/// Standard error: its last bytes.
#[derive(Debug, Default)]
pub(super) struct Errors {
    kept: Vec<u8>,
}

impl Errors {
    /// Reads to the end.
    pub(super) async fn fill(&mut self, pipe: Receiver) {
        read_all(pipe, |chunk| self.take(chunk)).await;
    }

    fn take(&mut self, chunk: &[u8]) {
        self.kept.extend_from_slice(chunk);
        let excess = self.kept.len().saturating_sub(ERRORS_BYTES_MAX);
        self.kept.drain(..excess);
    }

    /// Its last lines, without space around them.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.kept).trim().to_owned()
    }
}

async fn read_all(mut pipe: Receiver, mut take: impl FnMut(&[u8])) {
    let mut chunk = vec![0; CHUNK_BYTES];
    while let Ok(bytes @ 1..) = pipe.read(&mut chunk).await {
        take(&chunk[..bytes]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(bytes_max: usize, written: &[u8]) -> Option<String> {
        let mut output = Output::new(bytes_max);
        written.chunks(3).for_each(|chunk| output.take(chunk));
        output.into_result().map(|result| result.as_str().to_owned())
    }

    #[test]
    fn json_is_the_result_as_it_is() {
        assert_eq!(result(100, b" {\"n\": 1e999}\n").as_deref(), Some("{\"n\": 1e999}"));
        assert_eq!(result(100, b"").as_deref(), None);
    }

    #[test]
    fn other_output_is_text_of_its_own() {
        assert_eq!(result(100, b"done\n").as_deref(), Some(r#"{"output":"done\n","truncated":false}"#));
        assert_eq!(
            result(100, b"a\xffb").as_deref(),
            Some("{\"output\":\"a\u{fffd}b\",\"truncated\":false}")
        );
        assert_eq!(result(4, b"12345").as_deref(), Some(r#"{"output":"1234","truncated":true}"#));
        assert_eq!(result(0, b"12345").as_deref(), Some(r#"{"output":"","truncated":true}"#));
        assert_eq!(result(4, b"1234").as_deref(), Some("1234"));
    }

    #[test]
    fn every_output_has_room_in_a_result() {
        let most = limits::RESULT_BYTES_MAX;
        for byte in [b'x', b'"', b'\n', 1, 0xff] {
            let result = result(most, &vec![byte; most]).unwrap();
            assert!(result.len() <= most, "{byte}: {}", result.len());
            assert!(result.len() > most - 100, "{byte}: {}", result.len());
            assert!(result.ends_with(r#""truncated":true}"#));
        }
    }

    #[test]
    fn the_end_of_standard_error_is_kept() {
        let mut errors = Errors::default();
        errors.take(&[b'x'; 3 * ERRORS_BYTES_MAX]);
        errors.take(b"the last line\n");
        let text = errors.text();
        assert!(text.ends_with("xthe last line") && text.len() == ERRORS_BYTES_MAX - 1, "{text}");
    }
}
