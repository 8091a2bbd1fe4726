//! The program `steadfast`: settings, build, serve, drain, exit code.

mod commands;

use std::process::ExitCode;

use clap::Parser;
use commands::{Command, CommandLine, EXIT_FAILED, EXIT_USAGE, fail};
use prometheus::Registry;
use steadfast::Server;
use steadfast::logging::Logging;
use steadfast::settings::SettingsArgs;

/// A submit allocates some fifty times, in one thread, and frees in another (docs/BENCHMARKS.md, "Profile").
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    #[cfg(feature = "failpoints")]
    let _failpoints = fail::FailScenario::setup();

    ExitCode::from(match CommandLine::parse().command() {
        Command::Serve(settings) => serve(&settings),
        Command::Check(settings) => commands::check(&settings),
        Command::Drain(args) => commands::drain(&args),
        Command::Openapi => commands::openapi(),
    })
}

/// Runs the server until it is told to stop, and drains it. Nothing is bound, opened or logged before the
/// settings are known to be good.
fn serve(flags: &SettingsArgs) -> u8 {
    let loaded = match commands::load(flags) {
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

    let ended = Server::builder(loaded).registry(registry).run();

    // The log is flushed before anything else is said, and before the process ends.
    drop(log);
    match ended {
        Ok(code) => code,
        Err(error) => fail(EXIT_FAILED, error),
    }
}
