//! The `exec` kind: runs a program that the settings name, under a guard.
//!
//! ```text
//!  payload ──request.rs──▶ arguments ──┐        ┌────────── processes of its own ───────────┐
//!                                      ▼        │                                            │
//!  kind.rs ◀── outcome.rs ◀── guarded.rs ◀─control.rs─▶ guard.rs ──launcher.rs──▶ the program ──▶ what comes of it
//!     ▲                                         └─────────────────────────────────────│──────┘
//!     └── capture.rs, reports.rs ◀── its pipes ──────────────────────────────────────┘
//! ```
//!
//! **Invariant:** a program ends before its guard does, and so does everything that came of it, whatever sessions and
//! groups it has made. The guard ends them when its socket ends: when the attempt is cut off, and when the server
//! is gone, however it went.
//!
//! Only Linux lets a process keep hold of its descendants, so elsewhere there is no such kind (ADR 0020).

mod capture;
mod control;
mod guard;
mod guarded;
mod kind;
mod launcher;
mod outcome;
mod probe;
mod reports;
mod request;

use std::env;
use std::os::unix::process::CommandExt;
use std::process::Command;

pub(crate) use self::kind::Exec;
pub use self::probe::{NoGuard, probe_guard};

/// The variable that names the descriptor which a program writes its reports to.
const REPORT_FD: &str = "STEADFAST_REPORT_FD";
/// The first argument of a process that is to be a guard.
const GUARD: &str = "exec-guard";
/// The first argument of a process that is to be a launcher.
const LAUNCHER: &str = "exec-launcher";

/// Makes this process a guard of a program, or its launcher, if it was started as one, and does not return then. The
/// `main` of every program that runs a server with `[exec.*]` settings begins with this: both are the same executable
/// again.
pub fn guard_if_asked() {
    let mut arguments = env::args_os().skip(1);
    let ended = match arguments.next() {
        Some(first) if first == GUARD => guard::run(arguments),
        Some(first) if first == LAUNCHER => launcher::run(arguments),
        _ => return,
    };
    // Why it failed it has told who started it. One that was started by hand has nobody to tell.
    std::process::exit(i32::from(ended.is_err()));
}

/// Whether this process was started as a guard, or as the launcher of one.
pub fn is_asked_to_guard() -> bool {
    env::args_os().nth(1).is_some_and(|first| first == GUARD || first == LAUNCHER)
}

/// This very program once more, under the same name, even when its file has been replaced since it was started.
fn this_program() -> Command {
    let mut program = Command::new("/proc/self/exe");
    if let Some(name) = env::args_os().next() {
        program.arg0(name);
    }
    program
}
