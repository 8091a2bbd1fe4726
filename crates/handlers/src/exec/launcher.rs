//! The launcher: the process that becomes the program when the guard has told which one it is.
//!
//! A guard that started its program first and then told its number could be killed in between, and nobody would know
//! what to kill. So it starts this executable once more, which waits for the program's descriptors, and hands
//! them over after it has told the number. Without them a launcher ends, and no program has begun.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Pid, Signal, set_parent_process_death_signal};

use super::REPORT_FD;
use super::control::{FILES, LAUNCHER, THIS_PROGRAM, receive_files, send_files};

/// A launcher that waits.
pub(super) struct Launcher {
    process: Child,
    /// The descriptors go over it, and why the program could not be started comes back.
    hold: UnixStream,
}

impl Launcher {
    /// Starts one for the program that the arguments name, the leader of a process group of its own.
    pub(super) fn start(program: impl Iterator<Item = OsString>) -> io::Result<Self> {
        let (hold, theirs) = UnixStream::pair()?;
        let mut launcher = Command::new(THIS_PROGRAM);
        launcher.arg(LAUNCHER).args(program).stdin(OwnedFd::from(theirs)).process_group(0);
        // The program's output is in the descriptors; until then there is nothing to print.
        Ok(Self { process: launcher.spawn()?, hold })
    }

    /// The process, which becomes the program and keeps its number and its group.
    pub(super) fn id(&self) -> Pid {
        Pid::from_child(&self.process)
    }

    /// Lets the program begin. What ends the launcher before it does is how the program ended.
    pub(super) fn launch(mut self, files: [OwnedFd; FILES]) -> io::Result<()> {
        send_files(&self.hold, &files)?;
        let mut why = String::new();
        // The other end is closed as the program begins.
        self.hold.read_to_string(&mut why)?;
        if why.is_empty() {
            return Ok(());
        }
        self.process.wait()?;
        Err(io::Error::other(why))
    }
}

/// Becomes the program that the arguments name; returns when that cannot be, and has told why.
pub(super) fn run(arguments: impl Iterator<Item = OsString>) -> io::Result<()> {
    // Whatever is killed together with the guard, and be it the server: the program does not go on alone.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // Before anything else is opened: the descriptor for reports gets a small number, and some shells know only
    // those of one digit.
    let files = receive_files(io::stdin())?;
    // Closed as the program begins, unlike standard input.
    let mut guard = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let error = replace_this(arguments, files);
    write!(guard, "{error}")
}

/// Executes the program in the place of this process. Why that could not be.
fn replace_this(mut arguments: impl Iterator<Item = OsString>, files: [OwnedFd; FILES]) -> io::Error {
    let [reports, stdin, stdout, stderr] = files;
    let Some(program) = arguments.next() else {
        return io::Error::other("no program is named");
    };
    if let Err(error) = fcntl_setfd(&reports, FdFlags::empty()) {
        return error.into();
    }
    let mut command = Command::new(program);
    command.args(arguments).env(REPORT_FD, reports.as_raw_fd().to_string());
    command.stdin(stdin).stdout(stdout).stderr(stderr).exec()
}
