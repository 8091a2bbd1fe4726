//! The command line: one file for each command.

mod cancel;
mod check;
mod completions;
mod demo;
mod drain;
mod failure;
mod get;
mod human;
mod job_text;
mod list;
mod man;
mod openapi;
mod output;
mod progress;
mod queues;
mod retry;
mod session;
mod submit;
mod table;
mod token;
mod watch;

use std::env;

use clap::{Parser, Subcommand};

use crate::settings::{Loaded, SettingsArgs, SettingsError};

pub(crate) use failure::{EXIT_FAILED, EXIT_USAGE, fail};

const AFTER_HELP: &str = "\
Commands that speak to a server take its address from --server or STEADFAST_SERVER and a bearer token from \
STEADFAST_TOKEN. They print text on a terminal and else JSON, one document a line.

Exit codes: 0 done, 1 refused or not completed, 2 usage, 69 no server answers.

Examples:
  steadfast --store sqlite:///var/lib/steadfast/jobs.db
  steadfast submit echo '{\"hello\":\"world\"}' --wait
  steadfast help submit";

/// A job server that refuses early, accepts durably and stops without losing anything.
///
/// Without a command it serves.
#[derive(Debug, Parser)]
#[command(name = "steadfast", version, args_conflicts_with_subcommands = true, after_help = AFTER_HELP)]
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
    #[command(flatten)]
    Other(OtherCommand),
}

/// What the program does beside serving.
#[derive(Debug, Subcommand)]
pub(crate) enum OtherCommand {
    /// Submit a job, or a file of jobs
    Submit(Box<submit::SubmitArgs>),
    /// Show a job
    Get(get::GetArgs),
    /// List jobs, newest first
    List(list::ListArgs),
    /// Follow a job to its end
    Watch(watch::WatchArgs),
    /// Cancel a job, or ask it to stop if it runs
    Cancel(cancel::CancelArgs),
    /// Take a dead or cancelled job back to its queue
    Retry(retry::RetryArgs),
    /// Show the queues, or pause and resume one
    Queues(queues::QueuesArgs),
    /// Ask a running server to drain, as SIGTERM does
    Drain(drain::DrainArgs),
    /// Validate the settings and print them with the shutdown budget
    Check(check::CheckArgs),
    /// Make a token and its entry for the server's token file
    Token(token::TokenArgs),
    /// Show on a server of its own that a flood and a stop lose nothing
    Demo(demo::DemoArgs),
    /// Print the OpenAPI document of the HTTP API
    Openapi,
    /// Print a script that completes command lines
    Completions(completions::CompletionsArgs),
    /// Print a manual page
    Man(man::ManArgs),
}

impl CommandLine {
    /// What is to be done.
    pub(crate) fn into_command(self) -> Command {
        self.command.unwrap_or(Command::Serve(self.serve))
    }
}

impl OtherCommand {
    /// Does it; the exit code.
    pub(crate) fn run(&self) -> u8 {
        let done = match self {
            Self::Submit(args) => submit::run(args),
            Self::Get(args) => get::run(args),
            Self::List(args) => list::run(args),
            Self::Watch(args) => watch::run(args),
            Self::Cancel(args) => cancel::run(args),
            Self::Retry(args) => retry::run(args),
            Self::Queues(args) => queues::run(args),
            Self::Drain(args) => drain::run(args),
            Self::Check(args) => check::run(args),
            Self::Token(args) => token::run(args),
            Self::Demo(args) => demo::run(args),
            Self::Openapi => openapi::run(),
            Self::Completions(args) => completions::run(args),
            Self::Man(args) => man::run(args),
        };
        done.map_or_else(failure::Failure::report, |()| 0)
    }
}

/// The settings of this process: its flags, its environment and its file.
pub(crate) fn load(flags: &SettingsArgs) -> Result<Loaded, SettingsError> {
    Loaded::from_sources(flags, |name| env::var_os(name))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// The words of a command line as a shell makes them, up to a pipe or a redirection.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
        for char in line.chars() {
            match char {
                '\'' => quoted = !quoted,
                '|' | '>' if !quoted => break,
                ' ' if !quoted => words.push(std::mem::take(&mut word)),
                _ => word.push(char),
            }
        }
        words.push(word);
        words.retain(|word| !word.is_empty());
        words
    }

    #[test]
    fn every_example_of_the_help_is_a_command_line() {
        let mut program = CommandLine::command();
        program.build();
        for command in program.get_subcommands().chain([&program]) {
            let name = command.get_name();
            if ["serve", "openapi", "help"].contains(&name) {
                continue;
            }
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples: Vec<&str> = help
                .lines()
                .skip_while(|line| *line != "Examples:")
                .skip(1)
                .filter_map(|line| Some(&line[line.find("steadfast ")?..]))
                .collect();
            let own = |example: &&str| name == "steadfast" || words(example)[1] == name;
            assert!(examples.iter().any(own), "{name} has no example");
            for example in examples {
                let words = words(example);
                let parsed = CommandLine::try_parse_from(&words);
                let help = words.get(1).is_some_and(|word| word == "help");
                assert!(parsed.is_ok() || help, "{example}: {}", parsed.unwrap_err());
            }
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }
}
