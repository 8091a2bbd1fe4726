use std::fs;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rusqlite::Connection;
use tokio::time::Instant;

use crate::error::{Fault, is_damage};

/// Whether the store works, as far as its last transactions and a look at the file can tell.
#[derive(Debug)]
pub(crate) struct Health {
    path: PathBuf,
    identity: Option<Identity>,
    /// Whether the last transaction failed, other than for a full disk.
    trouble: bool,
    damage: Damage,
    /// When a failure was last logged, and how many were not since.
    said_at: Option<Instant>,
    unsaid: u64,
}

/// The shortest time between two log lines about failed transactions: a full disk fails every submit.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// What was found to be wrong with the file itself, by whoever reads or writes it. From then on nothing is
/// written, since that could destroy what can still be saved; and a damaged file may answer one question
/// and not the next, so only a start that finds it whole ends this.
#[derive(Debug, Clone)]
pub(crate) struct Damage {
    path: PathBuf,
    found: Arc<OnceLock<String>>,
}

impl Damage {
    /// None is known of the file at `path`.
    pub(crate) fn none(path: PathBuf) -> Self {
        Self { path, found: Arc::default() }
    }

    /// Looks whether `error` is a sign of it.
    pub(crate) fn look_for(&self, error: &rusqlite::Error) {
        if is_damage(error) && self.found.get().is_none() {
            let what = format!(
                "{} is damaged ({error}): nothing is written to it any more; \
                 stop the server and restore it from a backup",
                self.path.display()
            );
            tracing::error!(error = what, "the database is damaged");
            self.found.get_or_init(|| what);
        }
    }

    /// What is wrong, if anything is.
    pub(crate) fn found(&self) -> Option<&str> {
        self.found.get().map(String::as_str)
    }
}

/// What tells one file from another at the same path.
type Identity = (u64, u64);

impl Health {
    /// Of the database that was just opened at `path`.
    pub(crate) fn new(path: PathBuf, damage: Damage) -> Self {
        let identity = identity(&path);
        Self { path, identity, trouble: false, damage, said_at: None, unsaid: 0 }
    }

    /// A transaction was committed.
    pub(crate) fn works(&mut self) {
        self.trouble = false;
    }

    /// A transaction failed. A full disk does not count: reads go on, and space may return.
    pub(crate) fn failed(&mut self, fault: Fault, error: &rusqlite::Error) {
        self.say(fault, error);
        self.damage.look_for(error);
        self.trouble |= matches!(fault, Fault::Unavailable | Fault::Doubt);
    }

    /// What is wrong with the file itself, if anything is.
    pub(crate) fn damage(&self) -> Option<&str> {
        self.damage.found()
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
        if let Some(damage) = self.damage() {
            return Err(damage.to_owned());
        }
        if !self.trouble {
            return Ok(());
        }
        let probe = connection.execute_batch("BEGIN IMMEDIATE; UPDATE meta SET epoch = epoch; ROLLBACK");
        if !connection.is_autocommit() {
            // The probe's own error says more than a failed rollback would.
            let _ = connection.execute_batch("ROLLBACK");
        }
        probe.map_err(|error| error.to_string())?;
        self.trouble = false;
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
        let path = PathBuf::from("jobs.db");
        let mut health = Health::new(path.clone(), Damage::none(path));
        let full = || rusqlite::Error::InvalidQuery;
        (0..5).for_each(|_| health.failed(Fault::Full, &full()));
        assert_eq!(health.unsaid, 4);
        tokio::time::advance(SAY_EVERY).await;
        health.failed(Fault::Full, &full());
        assert_eq!(health.unsaid, 0);
    }
}
