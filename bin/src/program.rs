//! A whole program around a server: settings, build, serve, drain, exit code, and the command line.

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;
use prometheus::Registry;

use crate::commands::{self, Command, CommandLine, EXIT_FAILED, EXIT_USAGE, fail};
#[cfg(target_os = "linux")]
use crate::init::Process1;
use crate::logging::Logging;
use crate::programs::guard_if_asked;
use crate::settings::{Loaded, SettingsArgs};
use crate::{InheritedSockets, Server};

/// The program `steadfast`, with what `build` adds to its server: the same commands, flags, variables, settings
/// file, log and exit codes.
///
/// `build` is called only by a process that is to serve, once, when its settings are known to be good and its log
/// has begun; an error it returns is said on standard error and ends the process with 1. It is not on a runtime's
/// thread.
///
/// ```no_run
/// use std::process::ExitCode;
///
/// fn main() -> ExitCode {
///     steadfast::main(|server| Ok(server))
/// }
/// ```
pub fn main(build: impl FnOnce(Server) -> Result<Server, Box<dyn Error>>) -> ExitCode {
    guard_if_asked();
    #[cfg(target_os = "linux")]
    let process_1 = match Process1::if_this_is() {
        Ok(process_1) => process_1,
        Err(error) => return fail(EXIT_FAILED, error).into(),
    };
    #[cfg(feature = "failpoints")]
    let _failpoints = fail::FailScenario::setup();

    let command = CommandLine::parse().into_command();
    #[cfg(target_os = "linux")]
    if let (Command::Serve(_), Some(process_1)) = (&command, process_1) {
        return process_1.run().into();
    }
    ExitCode::from(match command {
        Command::Serve(settings) => serve(&settings, build),
        Command::Other(command) => command.run(),
    })
}

/// Runs the server until it is told to stop, and drains it. Nothing is bound, opened or logged before the
/// settings are known to be good.
fn serve(flags: &SettingsArgs, build: impl FnOnce(Server) -> Result<Server, Box<dyn Error>>) -> u8 {
    let loaded = match load(flags) {
        Ok(loaded) => loaded,
        Err(error) => return fail(EXIT_USAGE, error),
    };
    let log = match Logging::begin(&loaded.settings) {
        Ok(log) => log,
        Err(error) => return fail(EXIT_FAILED, error),
    };
    let registry = Registry::new();
    if let Err(error) = log.register(&registry) {
        return fail(EXIT_FAILED, error);
    }

    let server = Server::builder(loaded).registry(registry);
    let ended = build(server).and_then(|server| Ok(server.run()?));

    // The log is flushed before anything else is said, and before the process ends.
    drop(log);
    match ended {
        Ok(code) => code,
        Err(error) => fail(EXIT_FAILED, error),
    }
}

/// The settings and the sockets of this process. No thread is started before: the log has one.
fn load(flags: &SettingsArgs) -> Result<Loaded, Box<dyn Error>> {
    let sockets = InheritedSockets::from_environment()?;
    Ok(commands::load(flags)?.with_sockets(sockets)?)
}
