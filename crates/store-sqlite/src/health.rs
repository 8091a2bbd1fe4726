use std::fs;
use std::mem;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode};
use tokio::time::Instant;

use crate::error::Fault;

/// Whether the store works, as far as its last transactions and a look at the file can tell.
#[derive(Debug)]
pub(crate) struct Health {
    path: PathBuf,
    identity: Option<Identity>,
    /// What the last transaction failed of.
    trouble: Option<Trouble>,
    /// When a failure was last logged, and how many were not since.
    said_at: Option<Instant>,
    unsaid: u64,
}

/// The shortest time between two log lines about failed transactions: a full disk fails every submit.
const SAY_EVERY: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct Trouble {
    cause: String,
    /// A damaged file may answer one question and not the next: only a start that finds it whole ends this.
    corrupt: bool,
}

/// What tells one file from another at the same path.
type Identity = (u64, u64);

impl Health {
    /// Of the database that was just opened at `path`.
    pub(crate) fn new(path: PathBuf) -> Self {
        let identity = identity(&path);
        Self { path, identity, trouble: None, said_at: None, unsaid: 0 }
    }

    /// A transaction was committed.
    pub(crate) fn works(&mut self) {
        if !self.trouble.as_ref().is_some_and(|trouble| trouble.corrupt) {
            self.trouble = None;
        }
    }

    /// A transaction failed. A full disk does not count: reads go on, and space may return.
    pub(crate) fn failed(&mut self, fault: Fault, error: &rusqlite::Error) {
        self.say(fault, error);
        let corrupt =
            matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase));
        if matches!(fault, Fault::Unavailable | Fault::Doubt) && self.trouble.is_none() {
            self.trouble = Some(Trouble { cause: error.to_string(), corrupt });
        }
    }

    fn say(&mut self, fault: Fault, error: &rusqlite::Error) {
        let now = Instant::now();
        if self.said_at.is_some_and(|at| now < at + SAY_EVERY) {
            self.unsaid += 1;
            return;
        }
        self.said_at = Some(now);
        let unsaid = mem::take(&mut self.unsaid);
        tracing::warn!(%error, ?fault, unsaid, "a transaction of the store failed");
    }

    /// Says what is wrong. After a failed transaction it tries to write, without a commit; it also sees
    /// whether somebody has taken the file away from under its descriptor (the file is only looked at:
    /// opening it would drop SQLite's locks).
    pub(crate) fn check(&mut self, connection: &Connection) -> Result<(), String> {
        if self.identity.is_some() && identity(&self.path) != self.identity {
            return Err(format!("{} was removed or replaced while it was open", self.path.display()));
        }
        match &self.trouble {
            None => return Ok(()),
            Some(trouble) if trouble.corrupt => return Err(trouble.cause.clone()),
            Some(_) => {}
        }
        let probe = connection.execute_batch("BEGIN IMMEDIATE; UPDATE meta SET epoch = epoch; ROLLBACK");
        if !connection.is_autocommit() {
            // The probe's own error says more than a failed rollback would.
            let _ = connection.execute_batch("ROLLBACK");
        }
        probe.map_err(|error| error.to_string())?;
        self.trouble = None;
        Ok(())
    }
}

#[cfg(unix)]
fn identity(path: &Path) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

#[cfg(not(unix))]
fn identity(path: &Path) -> Option<Identity> {
    // Windows does not let an open database be removed.
    fs::metadata(path).ok().map(|_| (0, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_full_disk_is_logged_now_and_then_and_not_for_each_submit() {
        let mut health = Health::new(PathBuf::from("jobs.db"));
        let full = || rusqlite::Error::InvalidQuery;
        (0..5).for_each(|_| health.failed(Fault::Full, &full()));
        assert_eq!(health.unsaid, 4);
        tokio::time::advance(SAY_EVERY).await;
        health.failed(Fault::Full, &full());
        assert_eq!(health.unsaid, 0);
    }
}
