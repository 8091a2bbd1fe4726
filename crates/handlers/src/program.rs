//! What the settings say of a program that jobs may run. How it is run is in `exec.rs`.

mod argument;

use std::collections::BTreeMap;
use std::path::PathBuf;

use steadfast_domain::{ProgramName, limits};

pub use argument::Argument;
#[cfg(target_os = "linux")]
pub(crate) use argument::{INPUT, PROGRAM};

/// A program that jobs of kind `exec` may name, and all that a job cannot choose of its run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// What jobs call it.
    pub name: ProgramName,
    /// The file that is run.
    pub command: PathBuf,
    /// What it gets as arguments.
    pub arguments: Vec<Argument>,
    /// Variables with these values.
    pub environment: BTreeMap<String, String>,
    /// Variables that it gets as the server has them, as far as it does. No other is passed on.
    pub inherit: Vec<String>,
    /// Where it runs.
    pub directory: PathBuf,
    /// Bytes of its standard output that are kept: the first ones.
    pub output_bytes_max: usize,
    /// Exit codes that mean the job is done.
    pub completed_codes: Vec<u8>,
    /// Exit codes that every further attempt would end with, too. After any other the job is tried again.
    pub permanent_codes: Vec<u8>,
}

impl Program {
    /// A program without arguments in a clean environment: only `PATH` is passed on.
    ///
    /// A code that says nothing more is worth another attempt, since most programs end with 1 for all that
    /// fails. Those that are not: 64 and 65 of sysexits.h (wrong usage, wrong input), and 100, by which programs
    /// that deliver mail say "permanent".
    pub fn new(name: ProgramName, command: PathBuf) -> Self {
        Self {
            name,
            command,
            arguments: Vec::new(),
            environment: BTreeMap::new(),
            inherit: vec!["PATH".to_owned()],
            directory: "/".into(),
            output_bytes_max: limits::RESULT_BYTES_MAX,
            completed_codes: vec![0],
            permanent_codes: vec![64, 65, 100],
        }
    }
}
