//! The launcher: the process that becomes the program when the guard has told which one it is.
//!
//! A guard that started its program first and then told its number could be killed in between, and nobody would know
//! what to kill. So it starts this executable once more, which says that it is there, waits for the program's
//! descriptors, and gets them after the guard has told its number. Without them a launcher ends, and no program has
//! begun.

use std::convert::Infallible;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use rustix::process::{Pid, Signal, set_parent_process_death_signal};

use super::control::{FILES, receive_files, send_files};
use super::{LAUNCHER, REPORT_FD, this_program};

/// Says that a launcher will end with its guard. What it says afterwards is why no program has begun.
const HERE: u8 = b'.';
/// The launcher's own descriptor has this number or a larger one. The small ones are left to that for reports: some
/// shells know only those of one digit.
const TWO_DIGITS: RawFd = 10;

/// A launcher that waits.
pub(super) struct Launcher {
    process: Child,
    /// The descriptors go over it, and what the launcher says comes back.
    hold: UnixStream,
}

impl Launcher {
    /// Starts one for the program that the arguments name, the leader of a process group of its own.
    pub(super) fn start(program: impl Iterator<Item = OsString>) -> io::Result<Self> {
        let (hold, theirs) = UnixStream::pair()?;
        let mut launcher = this_program();
        launcher.arg(LAUNCHER).args(program).stdin(OwnedFd::from(theirs)).process_group(0);
        Ok(Self { process: launcher.spawn()?, hold })
    }

    /// The process, which becomes the program and keeps its number and its group.
    pub(super) fn id(&self) -> Pid {
        Pid::from_child(&self.process)
    }

    /// Lets the program begin, once it is sure to end with this process.
    pub(super) fn launch(mut self, files: [OwnedFd; FILES]) -> io::Result<()> {
        let ended = |_| io::Error::other("its launcher ended before it");
        self.hold.read_exact(&mut [HERE]).map_err(ended)?;
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
    // Closed as the program begins, unlike standard input.
    let mut guard = UnixStream::from(fcntl_dupfd_cloexec(io::stdin(), TWO_DIGITS)?);
    guard.write_all(&[HERE])?;
    let Err(error) = become_program(arguments, &guard);
    write!(guard, "{error}")
}

/// Waits for the descriptors, and executes the program in the place of this process.
fn become_program(
    mut arguments: impl Iterator<Item = OsString>,
    guard: &UnixStream,
) -> io::Result<Infallible> {
    let [reports, stdin, stdout, stderr] = receive_files(guard)?;
    let program = arguments.next().ok_or_else(|| io::Error::other("no program is named"))?;
    fcntl_setfd(&reports, FdFlags::empty())?;
    let mut command = Command::new(program);
    command.args(arguments).env(REPORT_FD, reports.as_raw_fd().to_string());
    Err(command.stdin(stdin).stdout(stdout).stderr(stderr).exec())
}
