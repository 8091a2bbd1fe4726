//! Programs as jobs: the kind `exec`, and the guards that its programs run under.

use steadfast_queue::Handlers;

use crate::settings::ProgramSettings;

/// Files that the server has open for each program that runs: four pipes, the guard's socket and its process.
const FILES_PER_PROGRAM: usize = 6;

/// Makes this process a guard of a program, or what becomes the program, if it was started as one, and does not return
/// then; nothing otherwise.
///
/// A guard is the executable of the server, started again. So the `main` of a program that runs a [`Server`](crate::Server)
/// begins with this, before it reads or opens anything; [`main`](crate::main()) does so by itself. A server with
/// `[exec.*]` settings tries it when it starts, and refuses to start without.
pub fn guard_if_asked() {
    #[cfg(target_os = "linux")]
    steadfast_handlers::guard_if_asked();
}

/// Files that one attempt may hold open, whatever its kind.
pub(crate) const fn files_per_attempt(programs: &[ProgramSettings]) -> usize {
    if programs.is_empty() { 1 } else { FILES_PER_PROGRAM }
}

/// Tries a guard, if there are programs that will need one.
///
/// # Errors
/// When a guard cannot work here, or when this process was itself started to be one and serves instead: that must not
/// start another in its turn.
#[cfg(target_os = "linux")]
pub(crate) async fn try_guard(programs: &[ProgramSettings]) -> Result<(), steadfast_handlers::NoGuard> {
    if steadfast_handlers::is_asked_to_guard() {
        return Err(steadfast_handlers::NoGuard::NotAsked);
    }
    if programs.is_empty() { Ok(()) } else { steadfast_handlers::probe_guard().await }
}

/// Adds the kind `exec`, if there are programs.
#[cfg(target_os = "linux")]
pub(crate) fn add(handlers: Handlers, programs: &[ProgramSettings]) -> Handlers {
    if programs.is_empty() {
        return handlers;
    }
    let programs = programs.iter().map(|program| program.0.clone()).collect();
    steadfast_handlers::with_programs(handlers, programs)
}

/// The settings have no programs here.
#[cfg(not(target_os = "linux"))]
pub(crate) async fn try_guard(_programs: &[ProgramSettings]) -> Result<(), std::io::Error> {
    Ok(())
}

/// The settings have no programs here.
#[cfg(not(target_os = "linux"))]
pub(crate) fn add(handlers: Handlers, _programs: &[ProgramSettings]) -> Handlers {
    handlers
}
