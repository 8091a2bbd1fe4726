use std::path::Path;

use crate::OpenError;

/// Refuses to keep a write-ahead log where its shared memory or its locks do not work: on network file
/// systems (<https://www.sqlite.org/wal.html>, "All processes using a database must be on the same host").
/// Where it is not known, as behind FUSE, a warning must do.
#[cfg(target_os = "linux")]
pub(crate) fn check(database: &Path) -> Result<(), OpenError> {
    let directory = database.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let kind = rustix::fs::statfs(directory).map_err(|source| OpenError::Io {
        doing: "look at the directory of",
        path: database.to_owned(),
        source: source.into(),
    })?;
    // The low 32 bits are the magic number, whatever the platform's type for it.
    match kind_of(kind.f_type as u32) {
        Kind::Local => Ok(()),
        Kind::Network(kind) => Err(OpenError::NetworkFileSystem { path: database.to_owned(), kind }),
        Kind::Unclear(kind) => {
            tracing::warn!(path = %database.display(), file_system = kind, "the database lies on a file system that may not keep its promises");
            Ok(())
        }
    }
}

/// Makes the names of the database and its log last: a job in a file that no directory names is lost.
/// SQLite syncs the directory, too, but starts to serve when that fails.
#[cfg(unix)]
pub(crate) fn sync_directory(database: &Path) -> Result<(), OpenError> {
    use std::fs::{self, File};
    use std::io::ErrorKind;

    // The files lie where a symbolic link leads.
    let synced = fs::canonicalize(database)
        .and_then(|database| File::open(database.parent().unwrap_or(Path::new("/"))))
        .and_then(|directory| directory.sync_all());
    match synced {
        // Some file systems have no sync for a directory.
        Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => Ok(()),
        synced => synced.map_err(|source| OpenError::Io {
            doing: "sync the directory of",
            path: database.to_owned(),
            source,
        }),
    }
}

/// Windows keeps the names by itself.
#[cfg(not(unix))]
pub(crate) fn sync_directory(_database: &Path) -> Result<(), OpenError> {
    Ok(())
}

/// Elsewhere SQLite's own checks must do.
#[cfg(not(target_os = "linux"))]
pub(crate) fn check(_database: &Path) -> Result<(), OpenError> {
    Ok(())
}

#[cfg(target_os = "linux")]
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Local,
    Network(&'static str),
    Unclear(&'static str),
}

/// By the magic numbers of `statfs(2)`.
#[cfg(target_os = "linux")]
fn kind_of(magic: u32) -> Kind {
    match magic {
        0x6969 => Kind::Network("NFS"),
        0x517b | 0xfe53_4d42 => Kind::Network("SMB"),
        0xff53_4d42 => Kind::Network("CIFS"),
        0x564c => Kind::Network("NCP"),
        0x5346_414f | 0x6b41_4653 => Kind::Network("AFS"),
        0x7375_7245 => Kind::Network("Coda"),
        0x00c3_6400 => Kind::Network("Ceph"),
        0x0102_1997 => Kind::Unclear("9p"),
        0x6573_5546 => Kind::Unclear("FUSE"),
        _ => Kind::Local,
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_refused_and_local_ones_are_not() {
        assert_eq!(kind_of(0x6969), Kind::Network("NFS"));
        assert_eq!(kind_of(0xff53_4d42), Kind::Network("CIFS"));
        assert_eq!(kind_of(0x6573_5546), Kind::Unclear("FUSE"));
        assert_eq!(kind_of(0xef53), Kind::Local, "ext4");
    }
}
