use std::ffi::c_int;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use rusqlite::Connection;
use rusqlite::hooks::Wal;

/// The write-ahead log of the writer's connection: how long it is, and when it goes into the database.
///
/// SQLite would copy it within a commit and keep quiet about a sync that fails there. The log's next sync,
/// in the next commit, would then succeed and prove nothing, since the kernel has marked the lost pages
/// clean. So the writer copies it between commits, when its callers have their answers, and hears of it.
#[derive(Debug)]
pub(crate) struct Log {
    pages: Arc<AtomicI32>,
}

/// Pages after which the log is copied into the database. More make the longest copies longer.
const PAGES_MAX: i32 = 1_000;

impl Log {
    /// Takes SQLite's own copying out of its commits.
    pub(crate) fn take_over(connection: &mut Connection) -> rusqlite::Result<Self> {
        let pages = Arc::new(AtomicI32::new(0));
        let seen = Arc::clone(&pages);
        connection.wal_hook(Some(move |_: &mut Wal, pages: c_int| {
            seen.store(pages, Ordering::Relaxed);
            Ok(())
        }))?;
        Ok(Self { pages })
    }

    /// Copies the log into the database when it has become long, as far as readers let it; the log then
    /// begins anew with the next commit.
    pub(crate) fn shorten(&self, connection: &Connection) -> rusqlite::Result<()> {
        if self.pages.load(Ordering::Relaxed) < PAGES_MAX {
            return Ok(());
        }
        connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
        self.pages.store(0, Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema;

    #[test]
    fn the_log_is_copied_when_it_is_long_and_only_then() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("jobs.db");
        let mut connection = schema::open_writer(&path).unwrap();
        let log = Log::take_over(&mut connection).unwrap();
        let database_bytes = || std::fs::metadata(&path).unwrap().len();
        let before = database_bytes();
        connection.execute_batch("CREATE TABLE long (bytes BLOB)").unwrap();
        log.shorten(&connection).unwrap();
        assert_eq!(database_bytes(), before, "a short log stays");
        let page = vec![0_u8; 4_000];
        for _ in 0..PAGES_MAX {
            connection.execute("INSERT INTO long VALUES (?1)", [&page]).unwrap();
        }
        assert_eq!(database_bytes(), before, "no commit copies it");
        log.shorten(&connection).unwrap();
        assert!(database_bytes() > before);
        assert_eq!(log.pages.load(Ordering::Relaxed), 0);
    }
}
