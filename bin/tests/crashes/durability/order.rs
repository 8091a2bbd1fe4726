//! The order that makes an answer true: the log has the job's whole transaction, a sync of the log begins
//! and returns 0, and only then the answer is written.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use super::trace::Call;

/// What the trace of a server says about its database and its answers.
#[derive(Debug, Default)]
pub(crate) struct Order {
    /// Transactions in the order of the log.
    commits: Vec<Commit>,
    syncs: Vec<Sync>,
    /// The answer to each job's submit: the line at which its first byte was about to be sent.
    answers: BTreeMap<String, usize>,
}

#[derive(Debug)]
struct Commit {
    /// The line after which the log has all of it.
    written: usize,
    /// Marks in its pages.
    marks: Vec<String>,
}

/// A sync that returned 0.
#[derive(Debug)]
struct Sync {
    begun: usize,
    ended: usize,
}

/// Why an answer was not true when it was written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Violation {
    /// The job is in no transaction of the log.
    NotInTheLog { job: String },
    /// No answer on a socket names it.
    NotAnswered { job: String },
    /// No sync lies between the job's transaction and its answer.
    AnsweredBeforeTheSync { job: String },
}

/// What every job's payload has, and how many characters of it are its own.
pub(crate) const MARK: &str = "mark-";
const MARK_CHARS: usize = MARK.len() + 6;
const ID_CHARS: usize = 36;
/// A page in the log comes after a header that says in its second word whether the page is the
/// transaction's last (<https://www.sqlite.org/fileformat2.html#walformat>).
const FRAME_HEADER_BYTES: i64 = 24;
const LAST_PAGE: std::ops::Range<usize> = 4..8;

impl Order {
    /// Reads the trace of a server on this database.
    pub(crate) fn of(calls: &[Call], database: &Path) -> Self {
        let log = format!("{}-wal", database.display());
        let mut order = Self::default();
        let mut marks = Vec::new();
        let mut last_page = false;
        for call in calls {
            match call.name.as_str() {
                "pwrite64" if call.file() == log => {
                    marks.extend(words_after(&call.arguments, MARK, 0, MARK_CHARS));
                    if call.result == Some(FRAME_HEADER_BYTES) {
                        last_page = call.bytes()[LAST_PAGE].iter().any(|byte| *byte != 0);
                    } else if last_page && let Some(written) = call.ended {
                        last_page = false;
                        order.commits.push(Commit { written, marks: std::mem::take(&mut marks) });
                    }
                }
                "fdatasync" | "fsync" if call.file() == log && call.result == Some(0) => {
                    let ended = call.ended.expect("a call with a result has ended");
                    order.syncs.push(Sync { begun: call.begun, ended });
                }
                "write" | "writev" | "sendto" | "sendmsg" if call.file().starts_with("socket:") => {
                    for id in words_after(&call.arguments, r#"{\"id\":\""#, r#"{\"id\":\""#.len(), ID_CHARS) {
                        order.answers.entry(id).or_insert(call.begun);
                    }
                }
                _ => {}
            }
        }
        order
    }

    /// Transactions with a job that the checker looks for.
    pub(crate) fn marked_commits(&self) -> usize {
        self.commits.iter().filter(|commit| !commit.marks.is_empty()).count()
    }

    /// Holds the answers to these jobs' submits against the log: ids and marks.
    pub(crate) fn check(&self, jobs: &[(String, String)]) -> Vec<Violation> {
        let mut written = BTreeMap::new();
        for commit in &self.commits {
            for mark in &commit.marks {
                // Later transactions write the page again, with other jobs.
                written.entry(mark.as_str()).or_insert(commit.written);
            }
        }
        jobs.iter()
            .filter_map(|(job, mark)| self.violation(job, written.get(mark.as_str()).copied()))
            .collect()
    }

    fn violation(&self, job: &str, written: Option<usize>) -> Option<Violation> {
        let job = job.to_owned();
        let Some(answered) = self.answers.get(&job) else { return Some(Violation::NotAnswered { job }) };
        let Some(written) = written else { return Some(Violation::NotInTheLog { job }) };
        (!self.synced_between(written, *answered)).then_some(Violation::AnsweredBeforeTheSync { job })
    }

    fn synced_between(&self, written: usize, answered: usize) -> bool {
        self.syncs.iter().any(|sync| sync.begun > written && sync.ended < answered)
    }

    /// Whether a transaction was written and synced between two lines.
    pub(crate) fn committed_between(&self, asked: usize, answered: usize) -> bool {
        let commits = self.commits.iter().map(|commit| commit.written);
        commits.filter(|written| *written > asked).any(|written| self.synced_between(written, answered))
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotInTheLog { job } => write!(f, "{job} is not in the log"),
            Self::NotAnswered { job } => write!(f, "no answer names {job}"),
            Self::AnsweredBeforeTheSync { job } => write!(f, "{job} was answered before it was synced"),
        }
    }
}

/// From each place where `text` has `sign`, so many characters after the first `skip`.
fn words_after(text: &str, sign: &str, skip: usize, chars: usize) -> Vec<String> {
    let places = text.match_indices(sign).map(|(at, _)| at + skip);
    places.filter_map(|at| text.get(at..at + chars)).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::super::trace::parse;
    use super::*;

    const ID: &str = "01a1fe18-bd0b-7000-877d-407f4cc7f6df";
    const HEADER: &str = r#"8 pwrite64(5</d/x.db-wal>, "\0\0\0\2\0\0\0\0abcdefghijklmnop", 24, 32) = 24"#;
    const LAST_HEADER: &str =
        r#"8 pwrite64(5</d/x.db-wal>, "\0\0\0\3\0\0\0\12abcdefghijklmnop", 24, 96) = 24"#;
    const PAGE: &str = r#"8 pwrite64(5</d/x.db-wal>, "\r\0{\"mark\":\"mark-000001\"}", 4096, 56) = 4096"#;
    const OTHER_PAGE: &str = r#"8 pwrite64(5</d/x.db-wal>, "\r\0", 4096, 120) = 4096"#;
    const SYNC: &str = "8 fdatasync(5</d/x.db-wal>) = 0";
    const SYNC_BEGINS: &str = "8 fdatasync(5</d/x.db-wal> <unfinished ...>";
    const SYNC_ENDS: &str = "8 <... fdatasync resumed>) = 0";
    const FAILED_SYNC: &str = "8 fdatasync(5</d/x.db-wal>) = -1 EIO (Input/output error)";
    const OTHER_SYNC: &str = "8 fdatasync(6</d/x.db>) = 0";
    const ANSWER: &str = r#"9 writev(7<socket:[1]>, [{iov_base="HTTP/1.1 202 Accepted\r\n\r\n", iov_len=25}, {iov_base="{\"id\":\"01a1fe18-bd0b-7000-877d-407f4cc7f6df\"}", iov_len=45}], 2) = 70"#;

    #[track_caller]
    fn assert_found(lines: &[&str], expected: Option<fn(String) -> Violation>) {
        let order = Order::of(&parse(&lines.join("\n")), Path::new("/d/x.db"));
        let found = order.check(&[(ID.to_owned(), "mark-000001".to_owned())]);
        let expected: Vec<Violation> =
            expected.map(|violation| violation(ID.to_owned())).into_iter().collect();
        assert_eq!(found, expected, "{lines:#?}");
    }

    #[test]
    fn an_answer_after_the_sync_is_true() {
        assert_found(&[HEADER, PAGE, LAST_HEADER, OTHER_PAGE, SYNC, ANSWER], None);
        assert_found(&[LAST_HEADER, PAGE, SYNC_BEGINS, SYNC_ENDS, ANSWER, LAST_HEADER, PAGE], None);
    }

    #[test]
    fn an_answer_before_the_end_of_the_sync_is_found() {
        let early: Option<fn(String) -> Violation> = Some(|job| Violation::AnsweredBeforeTheSync { job });
        assert_found(&[LAST_HEADER, PAGE, ANSWER], early);
        assert_found(&[LAST_HEADER, PAGE, ANSWER, SYNC], early);
        assert_found(&[LAST_HEADER, PAGE, SYNC_BEGINS, ANSWER, SYNC_ENDS], early);
        assert_found(&[LAST_HEADER, PAGE, FAILED_SYNC, ANSWER], early);
        assert_found(&[LAST_HEADER, PAGE, OTHER_SYNC, ANSWER], early);
    }

    #[test]
    fn a_sync_before_the_end_of_the_transaction_does_not_count() {
        let early: Option<fn(String) -> Violation> = Some(|job| Violation::AnsweredBeforeTheSync { job });
        assert_found(&[HEADER, PAGE, SYNC, LAST_HEADER, OTHER_PAGE, ANSWER], early);
        assert_found(&[SYNC_BEGINS, LAST_HEADER, PAGE, SYNC_ENDS, ANSWER], early);
    }

    #[test]
    fn what_is_missing_is_found() {
        assert_found(&[LAST_HEADER, PAGE, SYNC], Some(|job| Violation::NotAnswered { job }));
        assert_found(&[LAST_HEADER, OTHER_PAGE, SYNC, ANSWER], Some(|job| Violation::NotInTheLog { job }));
        assert_found(&[HEADER, PAGE, SYNC, ANSWER], Some(|job| Violation::NotInTheLog { job }));
    }
}
