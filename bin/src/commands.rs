//! The command line: one file for each command.

mod check;
mod drain;
mod openapi;

use std::env;
use std::fmt::Display;

use crate::settings::{Loaded, SettingsArgs, SettingsError};
use clap::{Parser, Subcommand};

pub(crate) use check::run as check;
use drain::DrainArgs;
pub(crate) use drain::run as drain;
pub(crate) use openapi::run as openapi;

/// The server refused, or could not do what was asked.
pub(crate) const EXIT_FAILED: u8 = 1;
/// The command line or a setting is wrong: what clap exits with, too.
pub(crate) const EXIT_USAGE: u8 = 2;
/// No server answers: `EX_UNAVAILABLE` of sysexits.h.
const EXIT_UNREACHABLE: u8 = 69;

/// A job server that refuses early, accepts durably and stops without losing anything.
///
/// Without a command it serves.
#[derive(Debug, Parser)]
#[command(name = "steadfast", version, args_conflicts_with_subcommands = true)]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: SettingsArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the server
    Serve(SettingsArgs),
    /// Validate the settings and print them with the shutdown budget
    Check(SettingsArgs),
    /// Ask a running server to drain
    Drain(DrainArgs),
    /// Print the OpenAPI document of the HTTP API
    Openapi,
}

impl CommandLine {
    /// What is to be done.
    pub(crate) fn command(self) -> Command {
        self.command.unwrap_or(Command::Serve(self.serve))
    }
}

/// The settings of this process: its flags, its environment and its file.
pub(crate) fn load(flags: &SettingsArgs) -> Result<Loaded, SettingsError> {
    Loaded::from_sources(flags, |name| env::var_os(name))
}

/// Says on standard error why a command ends with `code`.
#[expect(clippy::print_stderr, reason = "the command line speaks to whoever typed it")]
pub(crate) fn fail(code: u8, error: impl Display) -> u8 {
    eprintln!("steadfast: {error}");
    code
}
