use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::failure::Failure;

/// How a command prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// One JSON document a line.
    Json,
}

#[derive(Debug, Default, Args)]
pub(crate) struct OutputArgs {
    /// How to print; by default text on a terminal, else json: one document a line
    #[arg(long, value_name = "FORMAT")]
    output: Option<Format>,
}

impl OutputArgs {
    /// What was asked for, or what suits the reader of standard output.
    pub(crate) fn format(&self) -> Format {
        self.output.unwrap_or_else(|| if io::stdout().is_terminal() { Format::Text } else { Format::Json })
    }
}

/// Prints to standard output, as it is.
pub(crate) fn print(text: impl Display) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = write!(out, "{text}").and_then(|()| out.flush());
    written.map_err(|error| Failure::output(&error))
}

/// Prints one document on a line of its own.
pub(crate) fn print_json(document: &impl Serialize) -> Result<(), Failure> {
    let line = serde_json::to_string(document).map_err(Failure::failed)?;
    print(format_args!("{line}\n"))
}
