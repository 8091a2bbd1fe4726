use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

/// Steadfast's benchmark. Build the server first: `cargo build --release`.
#[derive(Debug, Parser)]
#[command(name = "steadfast-bench", max_term_width = 100)]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) options: Options,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(flatten)]
    Run(Scenarios),
    /// The ceiling: a bare axum handler behind the same requests. Run by the other commands.
    #[command(hide = true)]
    Bare,
}

/// What is measured. The times are those of the default options.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub(crate) enum Scenarios {
    /// Everything below but `baseline` and `watched`, one after the other (24 min; with --full 45 more)
    All {
        #[command(flatten)]
        size: Size,
    },
    /// Submits: durable, in memory and of a bare handler, with a key and with a slow disk (6 min)
    Submit,
    /// Whole cycles of jobs against submits alone, also with a slow disk (5 min)
    Cycle,
    /// A full queue emptied by the server's own workers, and by remote ones (2 min)
    Pull,
    /// One, two and ten times what the server can do (2 min)
    Overload,
    /// From SIGTERM to the end of the process, idle and busy (10 s)
    Drain,
    /// From a job's acceptance to its end on an idle server (20 s)
    Latency,
    /// Memory and wake-ups of a server with nothing to do (40 s)
    Idle,
    /// Waits of each priority in a flood of another, once on each durable store (4 min; with --full 24)
    Order {
        #[command(flatten)]
        size: Size,
    },
    /// Submits, claims and memory with a long queue (3 min)
    Backlog {
        #[command(flatten)]
        size: Size,
    },
    /// How soon a server with a long history is ready (2 min); its store stays in the directory of stores
    Start {
        #[command(flatten)]
        size: Size,
    },
    /// The store on PostgreSQL in this process against raw statements, and claims with many terminal jobs (8 min)
    Postgres {
        #[command(flatten)]
        size: Size,
    },
    /// Submits and cycles of two builds of the server, in turn (15 rounds and 64 connections: 5 min)
    Baseline {
        /// The other build's program
        program: PathBuf,
    },
    /// Submits with tokens checked, metrics scraped every second and the log on, against submits without, in turn (15 rounds
    /// and 64 connections: 75 s)
    Watched {
        /// Another build's program to do without them; by default the same
        program: Option<PathBuf>,
    },
    /// Submits and cycles of one, two and three servers on one PostgreSQL schema (9 min)
    Replicas {
        #[command(flatten)]
        size: Size,
    },
}

/// How much is stored, and how long a flood lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
pub(crate) struct Size {
    /// With 1 M jobs queued and 5 M terminal ones, instead of a tenth; with floods of eleven minutes
    #[arg(long)]
    pub(crate) full: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Times that everything is measured, in turn; a verdict needs 9
    #[arg(long, global = true, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: u32,
    /// Seconds that one measurement counts, after a warm-up of a quarter of that
    #[arg(long, global = true, default_value = "2", value_parser = seconds)]
    pub(crate) seconds: Duration,
    /// Connections of the closed loops
    #[arg(long, global = true, value_delimiter = ',', default_values_t = [64, 256])]
    pub(crate) connections: Vec<usize>,
    /// The server's program; by default the one beside this program
    #[arg(long, global = true)]
    pub(crate) server: Option<PathBuf>,
    /// Also writes everything found to this file
    #[arg(long, global = true)]
    pub(crate) json: Option<PathBuf>,
    /// Where the stores are; by default where temporary files are
    #[arg(long, global = true)]
    pub(crate) dir: Option<PathBuf>,
}

impl Options {
    /// What is not counted at the beginning of each measurement.
    pub(crate) fn warm_up(&self) -> Duration {
        self.seconds / 4
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    if (0.01..=600.0).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err("must be 0.01 to 600 seconds".to_owned())
    }
}
