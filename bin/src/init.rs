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
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use crate::commands::{EXIT_FAILED, fail};
use crate::signals::{Signal, Signals};

/// This very program, even when its file has been replaced since it was started.
const THIS_PROGRAM: &str = "/proc/self/exe";
/// Names the one process that sockets and a watchdog are for. The server gets them in place of this one.
const FOR_PROCESS: [&str; 2] = ["LISTEN_PID", "WATCHDOG_PID"];

/// What process 1 listens with.
pub(crate) struct Process1 {
    runtime: Runtime,
    deaths: tokio::signal::unix::Signal,
    signals: Signals,
}

impl Process1 {
    /// Listens to signals if this is process 1. The kernel drops those that process 1 does not handle, so that a
    /// stop asked for before this is never heard of.
    pub(crate) fn if_this_is() -> io::Result<Option<Self>> {
        if getpid() != Pid::INIT {
            return Ok(None);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let entered = runtime.enter();
        let (deaths, signals) = (signal(SignalKind::child())?, Signals::install()?);
        drop(entered);
        Ok(Some(Self { runtime, deaths, signals }))
    }

    /// Runs the server as a child until it ends, and returns its exit code; 128 and the number of the signal that
    /// killed it. When process 1 ends, the kernel kills what is left.
    pub(crate) fn run(self) -> u8 {
        let Self { runtime, deaths, signals } = self;
        let ended = runtime.block_on(watch(deaths, signals));
        ended.unwrap_or_else(|error| {
            fail(EXIT_FAILED, format_args!("process 1 cannot start the server: {error}"))
        })
    }
}

/// From the server's start to its end. A signal that came before is handed on at once: a server that does not listen
/// yet is killed by it, before it has opened anything.
async fn watch(mut deaths: tokio::signal::unix::Signal, mut signals: Signals) -> io::Result<u8> {
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
