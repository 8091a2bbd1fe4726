use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, Write};
use std::path::{Path, PathBuf};

use crate::OpenError;

/// Keeps every other process off the database while it lives.
///
/// The lock lies on a file of its own, `<database>.lock`: POSIX drops all of a process's locks on a file
/// when it closes any descriptor of it, so nothing but SQLite may ever open the database itself. The file
/// stays when the lock is released, since removing it would race with the next holder.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of the database at `path`, or says who has it.
    pub(crate) fn take(path: &Path) -> Result<Self, OpenError> {
        let lock_path = lock_path(path);
        let failed = |doing| {
            let path = lock_path.clone();
            move |source| OpenError::Io { doing, path, source }
        };
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&lock_path).map_err(
                |source| match source.kind() {
                    ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => {
                        OpenError::ReadOnly { path: path.to_owned() }
                    }
                    ErrorKind::StorageFull => OpenError::Full { path: path.to_owned() },
                    _ => failed("open the lock file")(source),
                },
            )?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::Locked { path: path.to_owned(), pid: holder(&mut file) });
            }
            Err(TryLockError::Error(source)) => return Err(failed("lock")(source)),
        }
        let noted = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| write!(file, "{}", std::process::id()));
        if let Err(error) = noted {
            // Only the text of another process's refusal suffers.
            tracing::debug!(%error, "the lock file does not say who holds it");
        }
        Ok(Self { _file: file })
    }
}

fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
