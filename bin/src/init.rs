//! The program as process 1, which it is in a container that was given no init.
//!
//! Every process of the container that loses its parent becomes a child of process 1, and stays as a zombie until that
//! one has waited for it. A server that waited for *any* child would take the ends of its own programs from the
//! runtime that waits for these. So process 1 only waits, and hands signals on; the server is its child, which makes
//! it a process like any other.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Pid, WaitOptions, WaitStatus, getpid, kill_process, wait};
use tokio::signal::unix::{SignalKind, signal};

use crate::commands::{EXIT_FAILED, fail};
use crate::signals::{Signal, Signals};

/// This very program, even when its file has been replaced since it was started.
const THIS_PROGRAM: &str = "/proc/self/exe";
/// Names the one process that sockets and a watchdog are for. The server gets them in place of this one.
const FOR_PROCESS: [&str; 2] = ["LISTEN_PID", "WATCHDOG_PID"];

/// Whether this is process 1.
pub(crate) fn is_process_1() -> bool {
    getpid() == Pid::INIT
}

/// Runs the server as a child until it ends, and returns its exit code; 128 and the number of the signal that killed it.
/// When process 1 ends, the kernel kills what is left.
pub(crate) fn run() -> u8 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let ended = runtime.and_then(|runtime| runtime.block_on(watch()));
    ended
        .unwrap_or_else(|error| fail(EXIT_FAILED, format_args!("process 1 cannot start the server: {error}")))
}

/// From the server's start to its end.
async fn watch() -> io::Result<u8> {
    let mut deaths = signal(SignalKind::child())?;
    let mut signals = Signals::install()?;
    let server = start()?;
    loop {
        tokio::select! {
            biased;
            _ = deaths.recv() => {
                if let Some(code) = reap(server) {
                    return Ok(code);
                }
            }
            // It has not been waited for, so the number is still its own.
            signal = signals.next() => kill_process(server, number(signal))?,
        }
    }
}

/// Starts the server, in a process group of its own: what a terminal sends to the whole group it would else get twice,
/// and a second SIGINT means more than the first.
fn start() -> io::Result<Pid> {
    let mut arguments = std::env::args_os();
    let mut command = Command::new(THIS_PROGRAM);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    command.args(arguments).process_group(0);
    let me = getpid().to_string();
    for variable in FOR_PROCESS {
        if std::env::var(variable).is_ok_and(|process| process == me) {
            command.env_remove(variable);
        }
    }
    Ok(Pid::from_child(&command.spawn()?))
}

/// Waits for all children that have ended, since one signal may tell of several; the server's exit code if it was
/// among them.
fn reap(server: Pid) -> Option<u8> {
    let mut code = None;
    while let Ok(Some((child, status))) = wait(WaitOptions::NOHANG) {
        if child == server {
            code = Some(exit_code(status));
        }
    }
    code
}

/// As shells have it.
fn exit_code(status: WaitStatus) -> u8 {
    let code = status.exit_status().or(status.terminating_signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(EXIT_FAILED)
}

const fn number(signal: Signal) -> rustix::process::Signal {
    match signal {
        Signal::Terminate => rustix::process::Signal::TERM,
        Signal::Interrupt => rustix::process::Signal::INT,
        Signal::Quit => rustix::process::Signal::QUIT,
        Signal::HangUp => rustix::process::Signal::HUP,
    }
}
