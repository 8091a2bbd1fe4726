use std::fmt;
use std::io::{self, BufRead, Read};

use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use steadfast_domain::limits;
use steadfast_wire::{Misread, read_job};

/// Bytes of the longest line: with what a batch puts around it, the largest request a server takes.
const LINE_BYTES_MAX: usize = limits::BATCH_BYTES_MAX - 64;

/// The jobs of a file, one document a line, read one at a time. Blank lines count as lines and are no jobs.
pub(super) struct Documents<R> {
    source: R,
    line: u64,
    bytes: Vec<u8>,
}

/// One job as its line has it, without the white space around.
#[derive(Debug)]
pub(super) struct Document {
    /// The line's number, from 1.
    pub(super) line: u64,
    pub(super) text: Box<RawValue>,
}

impl Document {
    /// Bytes of its text.
    pub(super) fn len_bytes(&self) -> usize {
        self.text.get().len()
    }
}

/// Why there is no next document.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    /// The line is not a job.
    #[error("{0}")]
    Line(BadLine),
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    File(#[from] io::Error),
}

/// A line that no server would take.
#[derive(Debug)]
pub(super) struct BadLine {
    line: u64,
    faults: Vec<String>,
}

impl<R: BufRead> Documents<R> {
    pub(super) const fn new(source: R) -> Self {
        Self { source, line: 0, bytes: Vec::new() }
    }

    /// The next job; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Document>, Unreadable> {
        loop {
            self.bytes.clear();
            let most = LINE_BYTES_MAX as u64 + 1;
            if self.source.by_ref().take(most).read_until(b'\n', &mut self.bytes)? == 0 {
                return Ok(None);
            }
            self.line += 1;
            if self.bytes.len() > LINE_BYTES_MAX {
                self.skip_rest()?;
                return Err(self.bad(format!("has more than {LINE_BYTES_MAX} bytes")));
            }
            let Ok(text) = std::str::from_utf8(&self.bytes) else {
                return Err(self.bad("is not valid UTF-8".to_owned()));
            };
            let text = text.trim_matches([' ', '\t', '\r', '\n']);
            if !text.is_empty() {
                return self.document(text).map(Some);
            }
        }
    }

    fn document(&self, text: &str) -> Result<Document, Unreadable> {
        let line = self.line;
        if let Err(misread) = read_job(text) {
            let faults = match misread {
                Misread::NotJson { column, .. } => vec![format!("not valid JSON at column {column}")],
                Misread::Invalid(faults) => faults.iter().map(ToString::to_string).collect(),
            };
            return Err(Unreadable::Line(BadLine { line, faults }));
        }
        let text = RawValue::from_string(text.to_owned());
        Ok(Document { line, text: text.map_err(|error| self.bad(error.to_string()))? })
    }

    /// Reads up to the end of a line that is too long, and keeps nothing of it.
    fn skip_rest(&mut self) -> io::Result<()> {
        while self.bytes.last().is_some_and(|byte| *byte != b'\n') {
            self.bytes.clear();
            self.source.by_ref().take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut self.bytes)?;
        }
        Ok(())
    }

    fn bad(&self, fault: String) -> Unreadable {
        Unreadable::Line(BadLine { line: self.line, faults: vec![fault] })
    }
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.faults.join("; "))
    }
}

/// What the first jobs of a file come to: the same for the same jobs in the same order, however the lines end.
#[derive(Debug, Clone, Default)]
pub(super) struct Fingerprint(Sha256);

impl Fingerprint {
    pub(super) fn add(&mut self, document: &Document) {
        self.0.update(document.text.get());
        self.0.update(b"\n");
    }

    /// In hexadecimal digits.
    pub(super) fn text(&self) -> String {
        self.0.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(file: &str) -> Vec<Result<(u64, String), String>> {
        let mut documents = Documents::new(file.as_bytes());
        let next = || match documents.next() {
            Ok(document) => document.map(|Document { line, text }| Ok((line, text.get().to_owned()))),
            Err(error) => Some(Err(error.to_string())),
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn a_line_is_a_job_and_blank_lines_are_none() {
        let (a, b) = (r#"{"kind":"echo"}"#, r#"{"kind":"echo","payload":[1, 2]}"#);
        let found = all(&format!("\n{a}\r\n  \n\t{b}"));
        assert_eq!(found, [Ok((2, a.to_owned())), Ok((4, b.to_owned()))]);
        assert_eq!(all(""), []);
    }

    #[test]
    fn a_bad_line_is_named_with_its_faults_and_the_next_is_read() {
        let found = all("{\"kind\":\"echo\"\n{\"kind\":7,\"colour\":1}\n{\"kind\":\"echo\"}\n");
        assert_eq!(found[0], Err("line 1: not valid JSON at column 14".to_owned()));
        let faults = found[1].clone().unwrap_err();
        assert!(faults.starts_with("line 2: #/colour: ") && faults.contains("#/kind: "), "{faults}");
        assert!(found[2].is_ok());
        let mut documents = Documents::new(&b"\xff\n{\"kind\":\"echo\"}"[..]);
        assert_eq!(documents.next().unwrap_err().to_string(), "line 1: is not valid UTF-8");
        assert!(documents.next().unwrap().is_some());
    }

    #[test]
    fn a_line_without_end_is_not_kept() {
        let long = format!("{}\n{}\n", "x".repeat(2 * LINE_BYTES_MAX), r#"{"kind":"echo"}"#);
        let mut documents = Documents::new(long.as_bytes());
        assert!(documents.next().unwrap_err().to_string().starts_with("line 1: has more than"));
        assert!(documents.bytes.capacity() <= 2 * LINE_BYTES_MAX);
        assert_eq!(documents.next().unwrap().unwrap().line, 2);
    }

    #[test]
    fn a_fingerprint_is_of_jobs_and_not_of_line_ends() {
        let print = |file: &str| {
            let (mut documents, mut print) = (Documents::new(file.as_bytes()), Fingerprint::default());
            while let Some(document) = documents.next().unwrap() {
                print.add(&document);
            }
            print.text()
        };
        let unix = "{\"kind\":\"echo\"}\n{\"kind\":\"sleep\"}\n";
        assert_eq!(print(unix), print(&format!("\r\n{}", unix.replace('\n', "\r\n"))));
        assert_ne!(print(unix), print("{\"kind\":\"sleep\"}\n{\"kind\":\"echo\"}\n"));
        assert_eq!(print(unix).len(), 64);
    }
}
