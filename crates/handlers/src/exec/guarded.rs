use std::ffi::OsStr;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use rustix::process::{Pid, Signal, kill_process_group};
use steadfast_queue::JobContext;
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use super::control::{End, STOP, Word, send_files};
use super::{GUARD, this_program};

/// Bytes of a guard's words that are read.
const WORDS_BYTES_MAX: u64 = 4_096;

/// A program at work under its guard. Dropped, it is killed, with everything that came of it.
pub(super) struct Guarded {
    /// When this process has nothing more to say on it the guard kills; so it does at the end of this process, however
    /// that comes.
    control: Arc<UnixStream>,
    ended: JoinHandle<Ended>,
}

/// This process's ends of the program's pipes.
pub(super) struct Pipes {
    pub(super) stdin: Sender,
    pub(super) stdout: Receiver,
    pub(super) stderr: Receiver,
    pub(super) reports: Receiver,
}

/// What there is to say of a run when nothing is left of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ended {
    /// The program began and ended.
    Program(End),
    /// It did not begin, and why.
    NotStarted(String),
    /// It was killed with everything that came of it, before it had ended.
    Killed,
    /// The guard itself ended first. The program's process group has been killed.
    GuardLost,
}

impl Guarded {
    /// Starts `command`, the program and its arguments, in this environment and directory. The guard is waited for
    /// as a part of the attempt, also when what is returned here is dropped.
    pub(super) fn start<'a>(
        command: impl IntoIterator<Item = &'a OsStr>,
        configure: impl FnOnce(&mut Command),
        context: &JobContext,
    ) -> io::Result<(Self, Pipes)> {
        let (pipes, files) = pipes()?;
        let (control, theirs) = UnixStream::pair()?;
        control.set_nonblocking(true)?;
        let mut child = spawn_guard(theirs, |guard| {
            guard.args(command);
            configure(guard);
        })?;
        let control = Arc::new(control);
        let words = Arc::clone(&control);
        let ended = context.spawn_outliving(async move {
            let waited = child.wait().await;
            end_under(waited, &words)
        });
        let guarded = Self { control, ended };
        // From here on an error drops it, by which the guard ends.
        send_files(&guarded.control, &files)?;
        Ok((guarded, pipes))
    }

    /// Asks the program to end.
    pub(super) fn stop(&self) {
        // Fails when there is nobody left to ask, which shows in `ended`.
        let _ = (&*self.control).write_all(&[STOP]);
    }

    /// Kills the program and everything that came of it.
    pub(super) fn kill(&self) {
        // The other direction stays open: the guard still says how the program has ended.
        let _ = self.control.shutdown(Shutdown::Write);
    }

    /// Waits until nothing is left of the program. May be dropped and called again until it has answered once.
    pub(super) async fn ended(&mut self) -> Ended {
        // It does not panic, and goes on to its end.
        (&mut self.ended).await.unwrap_or(Ended::GuardLost)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What has become of a program whose guard was waited for. Without a guard its process group is killed here.
fn end_under(waited: io::Result<ExitStatus>, words: &UnixStream) -> Ended {
    let mut said = Vec::new();
    // What was read before an error counts: there may be no end while another holds the guard's descriptors.
    let _ = words.take(WORDS_BYTES_MAX).read_to_end(&mut said);
    let said = String::from_utf8_lossy(&said);
    let mut group = None;
    for word in said.lines().filter_map(|line| line.parse().ok()) {
        match word {
            Word::Starts(leader) => group = Pid::from_raw(leader),
            Word::NotStarted(why) => return Ended::NotStarted(why),
            Word::Ended(end) => return Ended::Program(end),
            Word::Killed => group = None,
            Word::Ready => {}
        }
    }
    if waited.as_ref().is_ok_and(ExitStatus::success) {
        return Ended::Killed;
    }
    tracing::error!(?waited, "the guard of a program ended before it");
    if let Some(group) = group {
        // The guard waits for the group's leader only after its last word. So nobody has but the system, and only
        // just: its number is not used again so soon.
        let _ = kill_process_group(group, Signal::KILL);
    }
    Ended::GuardLost
}

/// Starts a guard, in a process group of its own: what ends this one, as Ctrl-C does, is not for it.
pub(super) fn spawn_guard(control: UnixStream, configure: impl FnOnce(&mut Command)) -> io::Result<Child> {
    let mut guard = Command::from(this_program());
    guard.arg(GUARD).env_clear().process_group(0);
    configure(&mut guard);
    guard.stdin(OwnedFd::from(control)).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
}

/// The pipes, and the program's ends of them in the order in which its guard takes them.
fn pipes() -> io::Result<(Pipes, [OwnedFd; 4])> {
    let (stdin, their_stdin) = to_program()?;
    let (stdout, their_stdout) = from_program()?;
    let (stderr, their_stderr) = from_program()?;
    let (reports, their_reports) = from_program()?;
    let files = [their_reports.into(), their_stdin.into(), their_stdout.into(), their_stderr.into()];
    Ok((Pipes { stdin, stdout, stderr, reports }, files))
}

fn to_program() -> io::Result<(Sender, PipeReader)> {
    let (theirs, ours) = io::pipe()?;
    Ok((Sender::from_owned_fd(ours.into())?, theirs))
}

fn from_program() -> io::Result<(Receiver, PipeWriter)> {
    let (ours, theirs) = io::pipe()?;
    Ok((Receiver::from_owned_fd(ours.into())?, theirs))
}
