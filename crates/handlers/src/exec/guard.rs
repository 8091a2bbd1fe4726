//! The guard: a process that starts one program, and does not end before everything that came of it has.
//!
//! It is the child subreaper of its program: a descendant whose parent ends becomes the guard's child, whatever
//! sessions and groups it has made itself. So the guard finds all of them among its own children, one generation
//! after the other, and a child that was not waited for keeps its number: no other process can be met.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitOptions, getpid, kill_process, kill_process_group,
    set_child_subreaper, wait, waitid, waitpid,
};
use tokio::io::AsyncReadExt;
use tokio::signal::unix::{self, SignalKind, signal};

use super::control::{End, FILES, STOP, Word, receive_files};
use super::launcher::Launcher;

/// Orphans may come to the guard without a signal, when their parent was not its child.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Is the guard of the program that the arguments name, to its end; without one, only says that it could be.
pub(super) fn run(arguments: impl Iterator<Item = OsString>) -> io::Result<()> {
    let guarded = guard(arguments);
    if let (Err(error), Ok(control)) = (&guarded, control()) {
        say(&control, &Word::NotStarted(error.to_string()));
    }
    guarded
}

fn guard(arguments: impl Iterator<Item = OsString>) -> io::Result<()> {
    rustix::thread::set_name(c"exec-guard")?;
    set_child_subreaper(Some(getpid()))?;
    // Without these it could not keep its promise.
    children()?;
    let mut program = arguments.peekable();
    if program.peek().is_none() {
        return writeln!(control()?, "{}", Word::Ready);
    }
    let files = receive_files(io::stdin())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(watch(control()?, program, files))
}

/// The socket to the server.
fn control() -> io::Result<UnixStream> {
    io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from)
}

/// From the program's start until nothing is left of it.
async fn watch(
    control: UnixStream,
    program: impl Iterator<Item = OsString>,
    files: [OwnedFd; FILES],
) -> io::Result<()> {
    let mut deaths = signal(SignalKind::child())?;
    let _deaf = ignore_signals()?;
    control.set_nonblocking(true)?;
    let mut heard = tokio::net::UnixStream::from_std(control.try_clone()?)?;
    let launcher = Launcher::start(program)?;
    let program = launcher.id();
    say(&control, &Word::Starts(program.as_raw_nonzero().get()));
    launcher.launch(files)?;
    let mut byte = [0];
    let last_word = loop {
        tokio::select! {
            biased;
            _ = deaths.recv() => {
                if let Some(end) = end_of(program) {
                    break Word::Ended(end);
                }
                reap_others(program);
            }
            read = heard.read(&mut byte) => match read {
                Ok(1) if byte[0] == STOP => stop(program),
                // The server has nothing more to say, or is gone.
                _ => break Word::Killed,
            }
        }
    };
    // Its leader was not waited for: the number is still the group's.
    let _ = kill_process_group(program, Signal::KILL);
    say(&control, &last_word);
    clear(&mut deaths).await;
    Ok(())
}

/// What is sent to all processes of a terminal, a service or a container is for others: a guard ends after its
/// program. Handlers, unlike ignored signals, are not passed on to the program.
fn ignore_signals() -> io::Result<Vec<unix::Signal>> {
    let kinds = [
        SignalKind::hangup(),
        SignalKind::interrupt(),
        SignalKind::quit(),
        SignalKind::terminate(),
        SignalKind::user_defined1(),
        SignalKind::user_defined2(),
    ];
    kinds.into_iter().map(signal).collect()
}

/// How the program ended, if it has; it is not waited for yet, and so keeps its number and its group's.
fn end_of(program: Pid) -> Option<End> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let status = waitid(WaitId::Pid(program), options).ok()??;
    status.exit_status().map(End::Code).or(status.terminating_signal().map(End::Signal))
}

/// Waits for orphans that have ended while the program goes on.
fn reap_others(program: Pid) {
    // Where the list cannot be read now, the next death or the end will do.
    for child in children().unwrap_or_default() {
        if child != program {
            // Nothing happens to one that still runs.
            let _ = waitpid(Some(child), WaitOptions::NOHANG);
        }
    }
}

/// Asks the program's group to end. One that is stopped could not hear it.
fn stop(group: Pid) {
    for signal in [Signal::TERM, Signal::CONT] {
        // Fails when all of it has ended, which the guard is about to see.
        let _ = kill_process_group(group, signal);
    }
}

/// Kills what is left until there is nothing, however long that takes: no error is a reason to leave it alone.
async fn clear(deaths: &mut unix::Signal) {
    while !reap_all() {
        for child in children().unwrap_or_default() {
            let _ = kill_process(child, Signal::KILL);
        }
        tokio::select! {
            _ = deaths.recv() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// Waits for all children that have ended. Whether none is left.
fn reap_all() -> bool {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some(_)) => {}
            Err(Errno::CHILD) => return true,
            _ => return false,
        }
    }
}

/// The children of this process. While they come and go some may be missing: who needs all looks again.
fn children() -> io::Result<Vec<Pid>> {
    let mut children = Vec::new();
    for thread in fs::read_dir("/proc/self/task")? {
        let listed = fs::read_to_string(thread?.path().join("children"))?;
        let numbers = listed.split_ascii_whitespace().filter_map(|number| number.parse().ok());
        children.extend(numbers.filter_map(Pid::from_raw));
    }
    Ok(children)
}

/// Nobody may be there to hear it any more.
fn say(mut control: &UnixStream, word: &Word) {
    // In one piece: a guard that is killed has said a whole word or none.
    let _ = control.write_all(format!("{word}\n").as_bytes());
}
