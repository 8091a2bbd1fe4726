//! A test program that is started again to act as the server: for kinds of its own, and for crashes.

use clap::Parser;
use steadfast::Server;
use steadfast::logging::Logging;
use steadfast::settings::{Loaded, SettingsArgs};
use steadfast_testkit::harness::acting_arguments;

#[derive(Parser)]
#[command(no_binary_name = true)]
struct CommandLine {
    #[command(flatten)]
    settings: SettingsArgs,
}

/// Serves as the server's program does, with what `build` adds, and ends the process. Run as a test it
/// returns at once.
pub(crate) fn serve_if_asked(build: impl FnOnce(Server) -> Server) {
    let Some(arguments) = acting_arguments() else { return };
    let settings = CommandLine::parse_from(arguments).settings;
    let loaded = Loaded::from_sources(&settings, |_| None).expect("the test's settings are good");
    let log = Logging::begin(&loaded.settings).expect("a log");
    let code = build(Server::builder(loaded)).run().expect("the server starts");
    drop(log);
    std::process::exit(i32::from(code));
}
