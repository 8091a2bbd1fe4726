use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Which jobs of a file are accepted, on disk beside it: what a repeat after any end begins with.
///
/// One line for the run and one for each batch, written and synced **before** the batch is sent. So what the last
/// line says is accepted was accepted, and what it says is being sent may have been: that batch goes out again, the
/// same bytes under the same key, before anything else. A line that is not whole was not synced, and nothing was sent
/// after it.
///
/// The journal stays when all is accepted: run again, there is nothing to do.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    pub(super) run: Run,
    pub(super) progress: Progress,
}

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Run {
    /// The form of the journal.
    format: u32,
    /// Names this run in the keys of its batches: 32 hexadecimal digits.
    pub(super) id: String,
    /// Where the jobs go.
    pub(super) server: String,
}

/// Every other line: how far it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// The first so many jobs of the file are accepted.
    pub(super) accepted: u64,
    /// Of these, jobs whose unique key another had.
    pub(super) deduplicated: u64,
    /// So many after them are being sent, in one batch.
    pub(super) sending: u64,
    /// The fingerprint of the file's jobs up to the last that is accepted or being sent.
    pub(super) sha256: String,
}

/// Why there is no journal.
#[derive(Debug, thiserror::Error)]
pub(super) enum JournalError {
    #[error("cannot use the journal {}: {source}; --journal names another place for it", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} is not a journal of this program's: remove it, or name another place with --journal", .0.display())]
    Foreign(PathBuf),
    #[error("another process is submitting this file: it holds {}", .0.display())]
    Held(PathBuf),
}

const FORMAT: u32 = 1;

impl Run {
    /// A new one.
    pub(super) fn new(server: &str) -> Self {
        let id = format!("{:032x}", rand::random::<u128>());
        Self { format: FORMAT, id, server: server.to_owned() }
    }

    /// What the keys of its batches begin with.
    pub(super) fn key_prefix(&self) -> String {
        format!("file-{}-", self.id)
    }
}

impl Journal {
    /// Goes on with the journal at `path`, or begins one there. It is this process's alone until dropped.
    pub(super) fn open(path: &Path, server: &str) -> Result<Self, JournalError> {
        let failed = |source| JournalError::Io { path: path.to_owned(), source };
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let file = options.map_err(failed)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => JournalError::Held(path.to_owned()),
            TryLockError::Error(source) => failed(source),
        })?;
        let path = path.to_owned();
        match read(&file).map_err(failed)? {
            // Begun for another server, and nothing can have come of it.
            Found::Journal(run, Progress { accepted: 0, sending: 0, .. }) if run.server != server => {
                file.set_len(0).map_err(failed)?;
                Self::begin(path, file, server)
            }
            Found::Journal(run, progress) => Ok(Self { path, file, run, progress }),
            Found::Nothing => Self::begin(path, file, server),
            Found::Foreign => Err(JournalError::Foreign(path)),
        }
    }

    /// Writes the first line of an empty file.
    fn begin(path: PathBuf, mut file: File, server: &str) -> Result<Self, JournalError> {
        file.rewind().map_err(|source| JournalError::Io { path: path.clone(), source })?;
        let (run, progress) = (Run::new(server), Progress::default());
        let mut journal = Self { path, file, run, progress };
        journal.append(&journal.run.clone())?;
        sync_directory(&journal.path)
            .map_err(|source| JournalError::Io { path: journal.path.clone(), source })?;
        Ok(journal)
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Notes how far it is. When this returns, it is on disk.
    pub(super) fn note(&mut self, progress: Progress) -> Result<(), JournalError> {
        if progress != self.progress {
            self.append(&progress)?;
            self.progress = progress;
        }
        Ok(())
    }

    fn append(&mut self, line: &impl Serialize) -> Result<(), JournalError> {
        let written = serde_json::to_string(line).map_err(io::Error::from).and_then(|line| {
            self.file.write_all(format!("{line}\n").as_bytes())?;
            self.file.sync_data()
        });
        written.map_err(|source| JournalError::Io { path: self.path.clone(), source })
    }
}

enum Found {
    Nothing,
    Journal(Run, Progress),
    Foreign,
}

/// Reads the lines that are whole, and cuts off what follows them.
fn read(mut file: &File) -> io::Result<Found> {
    let mut reader = BufReader::new(file);
    let (mut run, mut progress, mut whole) = (None, Progress::default(), 0);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        if line.last() != Some(&b'\n') {
            break;
        }
        match &run {
            None => run = serde_json::from_slice(&line).ok().filter(|run: &Run| run.format == FORMAT),
            Some(_) => match serde_json::from_slice(&line) {
                Ok(noted) => progress = noted,
                Err(_) => return Ok(Found::Foreign),
            },
        }
        if run.is_none() {
            return Ok(Found::Foreign);
        }
        whole += line.len() as u64;
        line.clear();
    }
    // The first line is not synced yet: nothing was sent. Unless the file is something else.
    if run.is_none() && !line.is_empty() && !line.starts_with(b"{\"format\":") {
        return Ok(Found::Foreign);
    }
    file.set_len(whole)?;
    file.seek(SeekFrom::Start(whole))?;
    Ok(run.map_or(Found::Nothing, |run| Found::Journal(run, progress)))
}

/// Makes a new file's name as durable as its content. Where directories cannot be synced, they need not be.
fn sync_directory(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: &str = "http://127.0.0.1:8080";

    fn progress(accepted: u64, sending: u64) -> Progress {
        Progress { accepted, sending, ..Progress::default() }
    }

    #[test]
    fn what_was_noted_is_there_again_and_a_torn_line_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("jobs.steadfast");
        let mut journal = Journal::open(&path, SERVER).unwrap();
        let run = journal.run.clone();
        assert_eq!(journal.progress, Progress::default());
        journal.note(progress(0, 100)).unwrap();
        journal.note(progress(100, 126)).unwrap();
        drop(journal);
        let whole = std::fs::read(&path).unwrap();
        for cut in 1..40 {
            std::fs::write(&path, &whole[..whole.len() - cut]).unwrap();
            let mut journal = Journal::open(&path, SERVER).unwrap();
            assert_eq!((&journal.run, &journal.progress), (&run, &progress(0, 100)), "{cut}");
            journal.note(progress(100, 7)).unwrap();
            drop(journal);
            assert_eq!(Journal::open(&path, SERVER).unwrap().progress, progress(100, 7), "{cut}");
        }
    }

    #[test]
    fn only_what_was_sent_belongs_to_a_server() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("jobs.steadfast");
        let other = "http://127.0.0.1:9090";
        let mut journal = Journal::open(&path, SERVER).unwrap();
        journal.note(progress(0, 100)).unwrap();
        journal.note(progress(0, 0)).unwrap();
        drop(journal);
        let mut journal = Journal::open(&path, other).unwrap();
        assert_eq!((journal.run.server.as_str(), &journal.progress), (other, &progress(0, 0)));
        journal.note(progress(0, 100)).unwrap();
        drop(journal);
        assert_eq!(Journal::open(&path, SERVER).unwrap().run.server, other);
    }

    #[test]
    fn one_process_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("jobs.steadfast");
        let first = Journal::open(&path, SERVER).unwrap();
        assert!(matches!(Journal::open(&path, SERVER), Err(JournalError::Held(_))));
        drop(first);
        Journal::open(&path, SERVER).unwrap();
    }

    #[test]
    fn what_is_no_journal_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("jobs.steadfast");
        for foreign in ["{\"kind\":\"echo\"}\n", "notes", "{\"format\":2,\"id\":\"a\",\"server\":\"b\"}\n"] {
            std::fs::write(&path, foreign).unwrap();
            assert!(matches!(Journal::open(&path, SERVER), Err(JournalError::Foreign(_))), "{foreign}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), foreign);
        }
        std::fs::write(&path, "{\"format\":1,\"id\":\"a").unwrap();
        assert_eq!(Journal::open(&path, SERVER).unwrap().progress, Progress::default());
    }
}
