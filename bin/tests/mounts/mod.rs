//! A small disk of a test's own: a tmpfs that nobody else sees and that is gone with the test.
#![allow(dead_code, reason = "each test file uses a part")]

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Where the disk of a test that runs on one is mounted.
const DISK: &str = "STEADFAST_TEST_DISK";
/// How to get a mount namespace: as root, where a user may have one of their own, and by sudo.
const WAYS: [&[&str]; 3] = [
    &["unshare", "--mount"],
    &["unshare", "--map-root-user", "--mount"],
    &["sudo", "-n", "-E", "unshare", "--mount"],
];
/// Mounts a tmpfs of size `$1` on `$2` and becomes the rest. All temporary files go there.
const MOUNT_AND_RUN: &str =
    r#"mount -t tmpfs -o "size=$1" steadfast-test "$2" && export TMPDIR="$2" && shift 2 && exec "$@""#;

/// The disk that a test has for itself.
pub(crate) struct Disk {
    path: PathBuf,
}

impl Disk {
    /// Runs the test `name` once more, as a process in a mount namespace of its own, where every temporary
    /// directory lies on a tmpfs of `size`. `None` in the process that did this, with nothing left to do.
    ///
    /// # Panics
    /// When the test fails, or when nothing here may mount a file system.
    pub(crate) fn of_its_own(name: &str, size: &str) -> Option<Self> {
        if let Some(path) = std::env::var_os(DISK) {
            return Some(Self { path: path.into() });
        }
        let mount_point = tempfile::tempdir().expect("a directory to mount on");
        let may_mount = |way: &&&[&str]| {
            let probe = in_namespace(way, size, mount_point.path()).arg("true").output();
            probe.is_ok_and(|probe| probe.status.success())
        };
        let way = WAYS.iter().find(may_mount);
        let way = way.expect("root, sudo without a password, or user namespaces, to mount a small disk with");
        let test = std::env::current_exe().expect("a test knows its own program");
        let ran = in_namespace(way, size, mount_point.path())
            .arg(test)
            .args(["--exact", name, "--nocapture"])
            .env(DISK, mount_point.path())
            .output()
            .expect("the test starts again");
        let (out, error) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        assert!(ran.status.success(), "on its own disk the test failed:\n{out}\n{error}");
        assert!(out.contains("1 passed"), "it ran: {out}");
        None
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Changes how it is mounted: `size=1g`, `ro`.
    pub(crate) fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        let done = Command::new("mount").args(["-o", &options]).arg(&self.path).output().expect("mount");
        assert!(done.status.success(), "{options}: {}", String::from_utf8_lossy(&done.stderr));
    }

    /// Fills it to the last byte, as another program would, and takes what comes free until the answer is
    /// dropped.
    pub(crate) fn keep_full(&self) -> Filling {
        let path = (0..).map(|n| self.path.join(format!("ballast-{n}"))).find(|path| !path.exists());
        let mut ballast = File::create(path.expect("a free name")).expect("a file on the disk");
        fill(&mut ballast);
        let on = Arc::new(AtomicBool::new(true));
        let goes_on = Arc::clone(&on);
        let thread = thread::spawn(move || {
            while goes_on.load(Ordering::Relaxed) {
                fill(&mut ballast);
                thread::sleep(Duration::from_millis(1));
            }
        });
        Filling { on, thread: Some(thread) }
    }
}

/// Another program that wants all of the disk, until it is dropped.
pub(crate) struct Filling {
    on: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Filling {
    fn drop(&mut self) {
        self.on.store(false, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn fill(ballast: &mut File) {
    let block = [0; 4_096];
    while ballast.write_all(&block).is_ok() {}
}

fn in_namespace(way: &[&str], size: &str, mount_point: &Path) -> Command {
    let mut command = Command::new(way[0]);
    command.args(&way[1..]).args(["sh", "-c", MOUNT_AND_RUN, "sh", size]).arg(mount_point);
    command
}
