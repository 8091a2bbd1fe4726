use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::vtab::array;
use rusqlite::{Connection, OpenFlags};

use crate::{OpenError, file_system};

/// Marks a database as Steadfast's (`PRAGMA application_id`): "Stdf".
const APPLICATION_ID: i64 = 0x5374_6466;
/// Each step takes the schema from the version that is its place in the list to the next one. Steps are
/// only ever added.
const MIGRATIONS: &[&str] = &[include_str!("schema.sql")];
/// How long to wait for another program (such as `sqlite3`) that looks into the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes to which the log's file is cut when it starts anew after having grown beyond.
const LOG_BYTES_MAX: i64 = 64 << 20;

/// Opens the writer's connection and brings the schema up to date.
pub(crate) fn open_writer(path: &Path) -> Result<Connection, OpenError> {
    let sqlite = |source| OpenError::sqlite(path.to_owned(), source);
    // SQLite would take an empty database for a new one and delete its log.
    if bytes_of(path) == 0 && bytes_of(&log_of(path)) > 0 {
        return Err(OpenError::LogAlone { path: path.to_owned() });
    }
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(sqlite)?;
    if connection.is_readonly("main").map_err(sqlite)? {
        return Err(OpenError::ReadOnly { path: path.to_owned() });
    }
    connection.busy_timeout(BUSY_TIMEOUT).map_err(sqlite)?;
    // Many row numbers as one value of a statement.
    array::load_module(&connection).map_err(sqlite)?;
    keep_log(&connection, true).map_err(sqlite)?;
    check_ours(&connection, path)?;
    configure(&connection).map_err(sqlite)?;
    migrate(&mut connection).map_err(sqlite)?;
    file_system::sync_directory(path)?;
    Ok(connection)
}

/// Opens a connection that only reads.
pub(crate) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "query_only", true)?;
    // The first read opens the log, for which the process may have no file descriptor left later.
    connection.query_row("PRAGMA schema_version", [], |_| Ok(()))?;
    Ok(connection)
}

/// Whether closing this connection leaves the log as it is. It does until the whole file was believed, so
/// that a start which is refused changes nothing.
pub(crate) fn keep_log(connection: &Connection, keep: bool) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, keep).map(|_| ())
}

/// Copies the whole log into the database and empties it. `false` when a reader stood in the way.
pub(crate) fn checkpoint(connection: &Connection) -> rusqlite::Result<bool> {
    let busy: i64 = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    Ok(busy == 0)
}

/// The log of the database at `path`, which lies where a symbolic link leads.
fn log_of(path: &Path) -> PathBuf {
    let mut log = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()).into_os_string();
    log.push("-wal");
    log.into()
}

/// Bytes of a file; none if there is no such file.
fn bytes_of(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |file| file.len())
}

fn check_ours(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let read = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let sqlite = |source| OpenError::sqlite(path.to_owned(), source);
    let known = MIGRATIONS.len() as i64;
    let is_new = read("schema_version").map_err(sqlite)? == 0;
    if !is_new && read("application_id").map_err(sqlite)? != APPLICATION_ID {
        return Err(OpenError::NotOurs { path: path.to_owned() });
    }
    let found = read("user_version").map_err(sqlite)?;
    if found > known {
        return Err(OpenError::NewerSchema { path: path.to_owned(), found, known });
    }
    Ok(())
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "page_size", 4_096)?;
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
    if mode != "wal" {
        let why = format!("the file cannot have a write-ahead log: its journal mode stays {mode}");
        return Err(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN),
            Some(why),
        ));
    }
    connection.pragma_update(None, "synchronous", "full")?;
    // macOS answers fsync before the disk has the data.
    connection.pragma_update(None, "fullfsync", true)?;
    connection.pragma_update(None, "checkpoint_fullfsync", true)?;
    connection.pragma_update(None, "journal_size_limit", LOG_BYTES_MAX)?;
    connection.pragma_update(None, "temp_store", "memory")
}

fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let steps = MIGRATIONS.get(version.max(0) as usize..).unwrap_or_default();
    for step in steps {
        transaction.execute_batch(step)?;
    }
    if !steps.is_empty() {
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", MIGRATIONS.len() as i64)?;
    }
    transaction.commit()
}
