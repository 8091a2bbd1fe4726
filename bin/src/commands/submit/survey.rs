use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use super::Failure;
use super::documents::{Documents, Fingerprint, Unreadable};
use super::journal::Journal;

/// Bad lines that are named.
const BAD_LINES_MAX: usize = 10;

/// Reads a whole file before anything of it is sent: each line must be a job, and what was accepted before must be
/// there as it was. How many jobs it has.
pub(super) fn survey(path: &Path, journal: &Journal) -> Result<u64, Failure> {
    let file = File::open(path).map_err(|error| super::file::unreadable(path, error))?;
    let mut documents = Documents::new(BufReader::new(file));
    let (mut jobs, mut bad) = (0, Vec::new());
    let (mut fingerprint, known) = (Fingerprint::default(), &journal.progress);
    let sent = known.accepted + known.sending;
    let mut changed = sent > 0;
    loop {
        match documents.next() {
            Ok(Some(document)) => {
                jobs += 1;
                if jobs <= sent {
                    fingerprint.add(&document);
                }
                if jobs == sent {
                    changed = fingerprint.text() != known.sha256;
                }
            }
            Ok(None) => break,
            Err(Unreadable::Line(line)) => {
                bad.push(line.to_string());
                if bad.len() == BAD_LINES_MAX {
                    break;
                }
            }
            Err(error) => return Err(super::file::unreadable(path, error)),
        }
    }
    if !bad.is_empty() {
        let (path, bad) = (path.display(), bad.join("\n  "));
        return Err(Failure::usage(format_args!(
            "{path} has lines that are no jobs, nothing is sent:\n  {bad}"
        )));
    }
    if changed {
        let (path, journal) = (path.display(), journal.path().display());
        return Err(Failure::usage(format_args!(
            "the first {sent} jobs of {path} are not those that were submitted before: restore them to go on, or \
             remove {journal} to submit the file as a new one"
        )));
    }
    Ok(jobs)
}
