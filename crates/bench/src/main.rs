//! Steadfast's benchmark: it starts real servers, loads them over HTTP and says what they did.
//!
//! ```text
//!   scenario ──▶ Contestant ──▶ Running (a real process)      load ──▶ Measured
//!      │                                                                  │
//!      └── rounds: each contestant once in each, in turn ◀────────────────┘
//!                 paired ratios ──▶ report: Markdown, JSON
//! ```
//!
//! A figure is a ratio of two measurements of one round, or a time: the machine is never quiet enough for
//! anything else. docs/BENCHMARKS.md says what each row means.

mod bare;
mod contestant;
mod error;
mod in_process;
mod load;
mod machine;
mod options;
mod process;
mod report;
mod rounds;
mod scenario;
mod slow_sync;

use std::process::ExitCode;

use clap::Parser;

use crate::options::{Command, CommandLine};

// One thread: the load generator shares the machine with what it measures.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let CommandLine { command, options } = CommandLine::parse();
    let done = match command {
        Command::Bare => bare::serve().await,
        Command::Run(scenarios) => scenario::run(&scenarios, &options).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::say(&format!("not measured: {error}"));
            ExitCode::FAILURE
        }
    }
}
