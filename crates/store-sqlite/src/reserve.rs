use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;
use tokio::time::Instant;

/// Room on the disk that new jobs never get: a file of [`RESERVE_BYTES`] beside the database, allocated but
/// never read.
///
/// When the disk is full, new jobs are refused first. What was accepted before (settlements, hand-backs,
/// claims, renewals, cancels, housekeeping) goes on, and when that finds no room either, the file is removed
/// for it. New jobs are accepted again when there is room for them beside the file.
#[derive(Debug)]
pub(crate) struct Reserve {
    path: PathBuf,
    stage: Stage,
    /// When allocating may be tried again after it failed.
    next_try: Option<Instant>,
    said_at: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The file is there, and new jobs are accepted.
    Plenty,
    /// The file is there, and the disk around it is full.
    Kept,
    /// The file is not there.
    Spent,
}

/// What the longest log needs to be copied into the database (1,000 pages and two full batches of
/// submissions, 20 MiB), after which it is written over and grows no more; the rest is for new pages.
const RESERVE_BYTES: u64 = 32 << 20;
/// Bytes that must be free beyond the reserve before new jobs are accepted again.
const HEADROOM_BYTES: u64 = 8 << 20;
/// How long to wait before allocating is tried again.
const TRY_EVERY: Duration = Duration::from_secs(1);
/// The shortest time between two log lines about the same step.
const SAY_EVERY: Duration = Duration::from_secs(10);

impl Reserve {
    /// What an earlier process left beside the database. Allocates nothing: the database may turn out to be
    /// another program's.
    pub(crate) fn find(database: &Path) -> Self {
        // The files lie where a symbolic link leads.
        let database = fs::canonicalize(database).unwrap_or_else(|_| database.to_owned());
        let mut path = database.into_os_string();
        path.push(".reserve");
        let path = PathBuf::from(path);
        let is_there = File::open(&path).is_ok_and(|file| is_allocated(&file));
        let stage = if is_there { Stage::Plenty } else { Stage::Spent };
        Self { path, stage, next_try: None, said_at: None }
    }

    /// Takes the room, if it is not taken, for a database that is open.
    pub(crate) fn fill(&mut self) {
        if self.stage == Stage::Spent && !self.take(self.free_on_disk()) {
            tracing::warn!(
                path = %self.path.display(),
                free_bytes = self.free_on_disk(),
                needed_bytes = RESERVE_BYTES + HEADROOM_BYTES,
                "the disk has no room for the reserve: new jobs are refused until it has"
            );
        }
    }

    /// Whether new jobs may be stored now.
    pub(crate) fn admits(&mut self, connection: &Connection) -> bool {
        if self.stage == Stage::Plenty {
            return true;
        }
        let (on_disk, in_file) = (self.free_on_disk(), free_in_file(connection));
        match self.stage {
            Stage::Plenty | Stage::Kept => {
                let admits = on_disk.saturating_add(in_file) >= HEADROOM_BYTES;
                if admits {
                    self.stage = Stage::Plenty;
                }
                admits
            }
            // Pages that retention has freed serve as the reserve as well.
            Stage::Spent => self.take(on_disk) || in_file >= RESERVE_BYTES + HEADROOM_BYTES,
        }
    }

    /// Whether it is there, and the disk was not full the last time that somebody asked.
    pub(crate) fn is_plenty(&self) -> bool {
        self.stage == Stage::Plenty
    }

    /// The disk is full: new jobs are refused from now on.
    pub(crate) fn refuse(&mut self) {
        if self.stage != Stage::Plenty {
            return;
        }
        self.stage = Stage::Kept;
        let now = Instant::now();
        if self.said_at.is_none_or(|at| now >= at + SAY_EVERY) {
            self.said_at = Some(now);
            tracing::warn!(
                "the disk is full: new jobs are refused until there is room, what was accepted goes on"
            );
        }
    }

    /// Gives the room to what was accepted. `false` when that was done before.
    pub(crate) fn release(&mut self) -> bool {
        if self.stage == Stage::Spent {
            return false;
        }
        self.stage = Stage::Spent;
        self.next_try = Some(Instant::now() + TRY_EVERY);
        match fs::remove_file(&self.path) {
            Ok(()) => {
                let path = self.path.display();
                tracing::warn!(%path, bytes = RESERVE_BYTES, "the disk is full: the reserve goes to what was accepted");
                true
            }
            Err(error) => {
                tracing::error!(path = %self.path.display(), %error, "cannot give the reserve away");
                false
            }
        }
    }

    /// Allocates the file, where the disk has room for it and for new jobs.
    fn take(&mut self, free: u64) -> bool {
        if free < RESERVE_BYTES + HEADROOM_BYTES || self.next_try.is_some_and(|at| Instant::now() < at) {
            return false;
        }
        match OpenOptions::new().write(true).create(true).truncate(true).open(&self.path).and_then(allocate) {
            Ok(()) => {
                tracing::info!(path = %self.path.display(), bytes = RESERVE_BYTES, "reserved room on the disk");
                (self.stage, self.next_try) = (Stage::Plenty, None);
                true
            }
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "cannot reserve room on the disk");
                // A part of it would help nobody.
                let _ = fs::remove_file(&self.path);
                self.next_try = Some(Instant::now() + TRY_EVERY);
                false
            }
        }
    }

    /// Bytes that this process may still take from the disk. Where that is not known, trying tells.
    #[cfg(target_os = "linux")]
    fn free_on_disk(&self) -> u64 {
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        let disk = rustix::fs::statvfs(directory);
        disk.map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    /// Bytes that this process may still take from the disk. Where that is not known, trying tells.
    #[cfg(not(target_os = "linux"))]
    #[expect(clippy::unused_self, reason = "as on Linux")]
    fn free_on_disk(&self) -> u64 {
        u64::MAX
    }
}

/// Bytes of the database's pages that hold nothing.
fn free_in_file(connection: &Connection) -> u64 {
    let read = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let free = read("freelist_count").and_then(|pages| Ok(pages * read("page_size")?));
    free.map_or(0, |bytes| bytes.max(0) as u64)
}

#[cfg(unix)]
fn is_allocated(file: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    file.metadata().is_ok_and(|file| file.len() >= RESERVE_BYTES && file.blocks() * 512 >= RESERVE_BYTES)
}

#[cfg(not(unix))]
fn is_allocated(file: &File) -> bool {
    file.metadata().is_ok_and(|file| file.len() >= RESERVE_BYTES)
}

fn allocate(file: File) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{FallocateFlags, fallocate};
        let allocated =
            rustix::io::retry_on_intr(|| fallocate(&file, FallocateFlags::empty(), 0, RESERVE_BYTES));
        if allocated != Err(rustix::io::Errno::OPNOTSUPP) {
            return Ok(allocated?);
        }
    }
    // Some file systems cannot allocate; zeros take the room there.
    io::copy(&mut io::Read::take(io::repeat(0), RESERVE_BYTES), &mut &file).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema;

    #[test]
    fn it_is_found_again_given_away_once_and_taken_again() {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("jobs.db");
        let connection = schema::open_writer(&database).unwrap();
        let file = directory.path().join("jobs.db.reserve");

        let mut reserve = Reserve::find(&database);
        assert!(!file.exists(), "looking allocates nothing");
        reserve.fill();
        assert!(is_allocated(&File::open(&file).unwrap()));
        let mut reserve = Reserve::find(&database);
        assert_eq!(reserve.stage, Stage::Plenty);

        reserve.refuse();
        assert_eq!(reserve.stage, Stage::Kept);
        assert!(reserve.admits(&connection), "this disk has room");
        assert!(reserve.release());
        assert!(!file.exists());
        assert!(!reserve.release(), "there is but one");
        assert!(!reserve.admits(&connection), "not at once");
        reserve.next_try = None;
        assert!(reserve.admits(&connection));
        assert!(is_allocated(&File::open(&file).unwrap()));
    }

    #[test]
    fn nothing_is_taken_from_a_disk_without_headroom() {
        let directory = tempfile::tempdir().unwrap();
        let mut reserve = Reserve::find(&directory.path().join("jobs.db"));
        assert!(!reserve.take(RESERVE_BYTES + HEADROOM_BYTES - 1));
        assert!(reserve.take(RESERVE_BYTES + HEADROOM_BYTES));
    }
}
