use std::error::Error as _;
use std::fmt::Display;
use std::io;

use steadfast_client::{Error, SetupError};
use steadfast_wire::{ErrorCode, Problem};

use super::human;

/// The server refused, or could not do what was asked, or a job did not complete.
pub(crate) const EXIT_FAILED: u8 = 1;
/// The command line or a setting is wrong: what clap exits with, too.
pub(crate) const EXIT_USAGE: u8 = 2;
/// No server answers: `EX_UNAVAILABLE` of sysexits.h.
const EXIT_UNREACHABLE: u8 = 69;
/// Ctrl-C: 128 and the number of SIGINT, as shells have it.
const EXIT_INTERRUPTED: u8 = 130;

/// Why a command does not end with 0.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    code: u8,
    /// For standard error; nothing when there is nobody to read it, or all has been said.
    said: Option<String>,
}

impl Failure {
    /// What was typed cannot be done.
    pub(crate) fn usage(why: impl Display) -> Self {
        Self { code: EXIT_USAGE, said: Some(why.to_string()) }
    }

    /// It was tried, and did not come out well.
    pub(crate) fn failed(why: impl Display) -> Self {
        Self { code: EXIT_FAILED, said: Some(why.to_string()) }
    }

    /// Ctrl-C.
    pub(crate) fn interrupted(why: impl Display) -> Self {
        Self { code: EXIT_INTERRUPTED, said: Some(why.to_string()) }
    }

    /// Standard output took no more. Whoever closed it, as `head` does, has what they wanted.
    pub(crate) fn output(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self { code: 0, said: None },
            _ => Self::failed(format_args!("cannot write to standard output: {error}")),
        }
    }

    /// The same with more to say.
    pub(crate) fn and(self, more: impl Display) -> Self {
        Self { said: Some(format!("{}\n{more}", self.said.unwrap_or_default())), ..self }
    }

    /// Says it on standard error and returns the exit code.
    pub(crate) fn report(self) -> u8 {
        match self.said {
            Some(said) => fail(self.code, said),
            None => self.code,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match &error {
            Error::Unreachable { .. } | Error::Untrusted { .. } | Error::Interrupted { .. } => {
                Self { code: EXIT_UNREACHABLE, said: Some(with_causes(&error)) }
            }
            Error::Refused(problem) => Self::failed(with_members(&error, problem)),
            Error::NotEncodable(_) | Error::Unexpected { .. } => Self::failed(with_causes(&error)),
        }
    }
}

impl From<SetupError> for Failure {
    fn from(error: SetupError) -> Self {
        Self::usage(match &error {
            SetupError::InvalidServer(_) => format!("--server: {error}"),
            SetupError::InvalidToken => format!("STEADFAST_TOKEN: {error}"),
            SetupError::NoAuthorities(_) => format!("SSL_CERT_FILE: {error}"),
            SetupError::Tls(_) | SetupError::Http(_) => error.to_string(),
        })
    }
}

/// Says on standard error why a command ends with `code`.
#[expect(clippy::print_stderr, reason = "the command line speaks to whoever typed it")]
pub(crate) fn fail(code: u8, error: impl Display) -> u8 {
    eprintln!("steadfast: {error}");
    code
}

/// An error and what caused it, on one line.
fn with_causes(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    human::clean(&text)
}

/// A refusal and what else its problem document tells a person.
fn with_members(error: &Error, problem: &Problem) -> String {
    let mut text = human::clean(&error.to_string());
    for fault in &problem.errors {
        text = format!("{text}\n  {}: {}", human::clean(&fault.pointer), human::clean(&fault.detail));
    }
    if let Some(after) = error.retry_after() {
        text = format!("{text}\n  it asks to be tried again in {}", human::duration(after));
    }
    if error.code() == Some(ErrorCode::Internal) {
        text = format!("{text}\n  trace id {}", human::clean(&problem.trace_id));
    }
    text
}
