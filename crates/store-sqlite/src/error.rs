use std::io;
use std::path::PathBuf;

use rusqlite::{ErrorCode, ffi};
use steadfast_domain::JobId;
use steadfast_queue::store::StoreError;

/// Why a database file was not opened. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error(
        "{path} is in use by another process{}: stop that one first, or give this one a file of its own",
        .pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
    )]
    Locked {
        /// The database file.
        path: PathBuf,
        /// Who holds it, as far as its lock file says.
        pid: Option<u32>,
    },
    /// A later version of the program wrote it.
    #[error(
        "{path} has schema version {found}, and this program knows versions up to {known}: \
         start the version that wrote it, or a later one"
    )]
    NewerSchema {
        /// The database file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest version this program knows.
        known: i64,
    },
    /// It holds something else.
    #[error("{path} is a database of another application: name another file")]
    NotOurs {
        /// The database file.
        path: PathBuf,
    },
    /// It is damaged, or no database at all.
    #[error(
        "{path} is not a database or is damaged ({source}): restore it from a backup, or name another file"
    )]
    Corrupt {
        /// The database file.
        path: PathBuf,
        /// What SQLite found.
        #[source]
        source: rusqlite::Error,
    },
    /// There is a log, but no database that it belongs to.
    #[error(
        "{path} is missing or empty, but its write-ahead log {path}-wal is not: restore both from one backup, \
         or move the log away to start anew"
    )]
    LogAlone {
        /// The database file.
        path: PathBuf,
    },
    /// There is no room to open it.
    #[error("the disk of {path} is full: make room, then start again; nothing that was accepted is lost")]
    Full {
        /// The database file.
        path: PathBuf,
    },
    /// It cannot be written.
    #[error("{path} is read-only: make the file and its directory writable for this user")]
    ReadOnly {
        /// The database file.
        path: PathBuf,
    },
    /// Its file system cannot carry the shared memory and locks of a write-ahead log.
    #[error("{path} lies on a network file system ({kind}): use a local disk, or the PostgreSQL store")]
    NetworkFileSystem {
        /// The database file.
        path: PathBuf,
        /// The file system's name.
        kind: &'static str,
    },
    /// The operating system refused.
    #[error("cannot {doing} {path}: {source}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// SQLite refused.
    #[error("cannot open {path}: {source}")]
    Sqlite {
        /// The database file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: rusqlite::Error,
    },
}

impl OpenError {
    pub(crate) fn sqlite(path: PathBuf, source: rusqlite::Error) -> Self {
        match source.sqlite_error_code() {
            _ if is_damage(&source) => Self::Corrupt { path, source },
            Some(ErrorCode::ReadOnly) => Self::ReadOnly { path },
            Some(ErrorCode::DiskFull) => Self::Full { path },
            // The index of the log is given its room at once; only a full disk stops that.
            _ if extended_code(&source) == Some(ffi::SQLITE_IOERR_SHMSIZE) => Self::Full { path },
            _ => Self::Sqlite { path, source },
        }
    }

    /// Whether room would help.
    pub(crate) const fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. })
    }
}

/// Whether the file itself is wrong: no tree of pages, or a value in it that was never written there.
pub(crate) fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType, Utf8Error};
    matches!(
        error,
        FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..) | Utf8Error(..)
    ) || matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

fn extended_code(error: &rusqlite::Error) -> Option<i32> {
    error.sqlite_error().map(|error| error.extended_code)
}

/// Why a transaction failed, and so what its callers are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Something in its data was not accepted: whatever shares the transaction may go on without it.
    Data,
    /// No disk. Nothing happened.
    Full,
    /// Nothing happened.
    Unavailable,
    /// The commit or its sync failed: what is on the disk is not known.
    Doubt,
}

impl Fault {
    /// Of a statement inside a transaction, which has then not begun to commit.
    pub(crate) fn of_statement(error: &rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch) => Self::Data,
            _ => Self::Unavailable,
        }
    }

    /// Of a commit. A full disk fails the write of the log before the frame that would make the
    /// transaction count is whole, and a busy one was never begun; after anything else the log may hold it.
    pub(crate) fn of_commit(error: &rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Unavailable,
            _ => Self::Doubt,
        }
    }

    /// What a caller is told; `ids` are the jobs that exist if a doubtful transaction happened.
    pub(crate) fn to_store_error(self, cause: &str, ids: Vec<JobId>) -> StoreError {
        match self {
            Self::Full => StoreError::Full,
            Self::Doubt => StoreError::Unknown { ids },
            Self::Data | Self::Unavailable => StoreError::Unavailable(cause.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(code: i32) -> rusqlite::Error {
        rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)
    }

    #[test]
    fn what_failed_decides_what_callers_are_told() {
        assert_eq!(Fault::of_statement(&failure(ffi::SQLITE_FULL)), Fault::Full);
        assert_eq!(Fault::of_statement(&failure(ffi::SQLITE_TOOBIG)), Fault::Data);
        assert_eq!(Fault::of_statement(&failure(ffi::SQLITE_IOERR_READ)), Fault::Unavailable);
        assert_eq!(Fault::of_statement(&failure(ffi::SQLITE_CORRUPT)), Fault::Unavailable);
        assert_eq!(Fault::of_commit(&failure(ffi::SQLITE_FULL)), Fault::Full);
        assert_eq!(Fault::of_commit(&failure(ffi::SQLITE_BUSY)), Fault::Unavailable);
        for code in [ffi::SQLITE_IOERR_FSYNC, ffi::SQLITE_IOERR_WRITE, ffi::SQLITE_IOERR_DIR_FSYNC] {
            assert_eq!(Fault::of_commit(&failure(code)), Fault::Doubt);
        }
    }

    #[test]
    fn a_read_only_file_is_said_to_be() {
        let error = OpenError::sqlite("jobs.db".into(), failure(ffi::SQLITE_READONLY_DIRECTORY));
        assert_eq!(
            error.to_string(),
            "jobs.db is read-only: make the file and its directory writable for this user"
        );
    }
}
