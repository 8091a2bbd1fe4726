//! The machine's PostgreSQL programs, and the user they run as.

use std::env;
use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where Debian puts each version's programs, most of which it keeps out of `PATH`.
const DEBIAN: &str = "/usr/lib/postgresql";
/// What a cluster needs, all from one version.
const NEEDED: [&str; 3] = ["initdb", "postgres", "psql"];
/// PostgreSQL refuses to run as root. The first of these that exists runs it then.
const UNPRIVILEGED: [&str; 2] = ["postgres", "nobody"];

/// One version's programs.
#[derive(Debug, Clone)]
pub(super) struct Programs {
    dir: PathBuf,
    run_as: Option<User>,
}

#[derive(Debug, Clone, Copy)]
struct User {
    id: u32,
    group: u32,
}

impl Programs {
    /// Those in `PATH`, or else Debian's newest.
    ///
    /// # Panics
    /// When there are none.
    pub(super) fn find() -> Self {
        let path = env::var_os("PATH").unwrap_or_default();
        let dir = env::split_paths(&path).find(|dir| has_all(dir)).or_else(newest_of_debian);
        let Some(dir) = dir else {
            panic!("these tests need PostgreSQL's programs {NEEDED:?}: apt-get install postgresql")
        };
        Self { dir, run_as: rustix::process::geteuid().is_root().then(unprivileged) }
    }

    /// A program in the cluster's directory, as the user that runs the cluster, with an environment that
    /// says only where programs are and that messages are English.
    pub(super) fn command(&self, program: &str, cluster: &Path) -> Command {
        let mut command = Command::new(self.dir.join(program));
        command.current_dir(cluster).env_clear().env("LC_ALL", "C");
        if let Some(path) = env::var_os("PATH") {
            command.env("PATH", path);
        }
        if let Some(user) = self.run_as {
            command.uid(user.id).gid(user.group);
        }
        command
    }

    /// Gives a file or directory to the user that runs the cluster.
    pub(super) fn hand_over(&self, path: &Path) {
        if let Some(user) = self.run_as {
            chown(path, Some(user.id), Some(user.group)).expect("root may give its files away");
        }
    }
}

fn has_all(dir: &Path) -> bool {
    NEEDED.iter().all(|program| dir.join(program).is_file())
}

fn newest_of_debian() -> Option<PathBuf> {
    let versions = fs::read_dir(DEBIAN).ok()?.flatten();
    let numbered = versions.filter_map(|entry| {
        let version: u32 = entry.file_name().to_str()?.parse().ok()?;
        Some((version, entry.path().join("bin")))
    });
    numbered.filter(|(_, dir)| has_all(dir)).max().map(|(_, dir)| dir)
}

fn unprivileged() -> User {
    let users = fs::read_to_string("/etc/passwd").expect("the list of users can be read");
    UNPRIVILEGED
        .iter()
        .find_map(|name| users.lines().find_map(|line| user(line, name)))
        .unwrap_or_else(|| panic!("PostgreSQL does not run as root, and there is none of {UNPRIVILEGED:?}"))
}

/// The user of this name, from its line `name:password:id:group:…`.
fn user(line: &str, name: &str) -> Option<User> {
    let mut fields = line.split(':');
    if fields.next()? != name {
        return None;
    }
    let (id, group) = (fields.nth(1)?, fields.next()?);
    Some(User { id: id.parse().ok()?, group: group.parse().ok()? })
}
