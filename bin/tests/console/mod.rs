//! The commands of a document, run as a reader would run them, and what they print held against what it says.
//!
//! In a block marked `console`, lines that begin with `$ ` are commands for bash, and the lines up to the
//! next one are what it prints. Ids, times and the values of some headers are masked on both sides, and
//! `…` stands for anything within its line. A block whose mark is followed by a file's name (`rust src/main.rs`) is
//! that file, written where the commands before it have led. Other blocks are not run.

mod tests;

use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, kill_process_group};
use steadfast_testkit::harness::{Process, Signal};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_steadfast");

/// Runs the commands in one shell, begun by `bash` in `dir` with the built program on its path.
///
/// # Panics
/// When they do not end `within` this time, one fails, or prints something else than what is said.
pub(crate) async fn assert_prints(mut bash: Command, dir: &Path, steps: &[Step], within: Duration) {
    bash.current_dir(dir);
    let printed = run(bash, steps, within).await;
    for (step, printed) in steps.iter().zip(&printed) {
        if let Some(difference) = difference(&step.expected, printed) {
            panic!("$ {}\n{difference}\n--- printed\n{}", step.command, printed.join("\n"));
        }
    }
}

/// One command and the lines it is said to print.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) command: String,
    pub(crate) expected: Vec<String>,
}

/// What is to be run, in the document's order.
pub(crate) fn steps_of(document: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut lines = document.lines();
    while let Some(mark) = lines.by_ref().find_map(|line| line.strip_prefix("```")) {
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        match mark.split_once(' ') {
            None if mark == "console" => steps.extend(commands(&block)),
            Some((_, file)) if !file.contains(' ') => steps.push(Step::writes(file, &block)),
            _ => {}
        }
    }
    steps
}

fn commands(block: &[&str]) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in block {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => steps.push(Step { command: command.to_owned(), expected: Vec::new() }),
            // A line that ends in a backslash goes on in the next.
            (None, Some(step)) if step.command.ends_with('\\') => {
                step.command.push('\n');
                step.command.push_str(line);
            }
            (None, Some(step)) => step.expected.push((*line).to_owned()),
            (None, None) => panic!("a console block begins with a command: {line}"),
        }
    }
    steps
}

impl Step {
    fn writes(file: &str, lines: &[&str]) -> Self {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let command =
            format!("mkdir -p \"$(dirname {file})\" && cat > {file} <<'END OF FILE'\n{text}END OF FILE");
        Self { command, expected: Vec::new() }
    }
}

/// Ends the output of each command, followed by its exit code.
const MARK: &str = "--- exit code ";

/// What each command printed to standard output; the rest (curl's progress) is not an answer.
async fn run(mut bash: Command, steps: &[Step], within: Duration) -> Vec<Vec<String>> {
    let script: String =
        steps.iter().map(|step| format!("{}\nprintf '\\n{MARK}%s\\n' $?\n", step.command)).collect();
    bash.args(["-o", "pipefail", "-c", &script]).env("PATH", path_with_program()).process_group(0);
    let mut shell = Shell(Process::start(bash));
    let exit = shell.0.exit_within(within).await;
    let printed = exit.unwrap_or_else(|| panic!("does not end:\n{}", shell.0.stdout().text())).expect_code(0);

    let mut outputs = Vec::new();
    let mut lines = Vec::new();
    for line in printed.stdout.text().lines() {
        match line.strip_prefix(MARK) {
            Some(code) => {
                let command = &steps[outputs.len()].command;
                assert_eq!(code, "0", "the exit code of $ {command}\n{}", printed.output());
                outputs.push(std::mem::take(&mut lines));
            }
            None => lines.push(line.trim_end().to_owned()),
        }
    }
    outputs
}

/// A shell and what it left in the background, which ends with it, however the test goes.
struct Shell(Process);

impl Drop for Shell {
    fn drop(&mut self) {
        let group = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        // Fails when nothing is left of the group, as it should be.
        let _ = group.map(|group| kill_process_group(group, Signal::KILL));
    }
}

/// The search path with the built program's directory in front: the README says `steadfast`.
fn path_with_program() -> OsString {
    let mut dirs = vec![Path::new(PROGRAM).parent().expect("a directory").to_owned()];
    dirs.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    env::join_paths(dirs).expect("no separator in a directory's name")
}

/// The first line in which two outputs differ once both are masked.
fn difference(expected: &[String], printed: &[String]) -> Option<String> {
    let expected: Vec<&String> = expected.iter().filter(|line| !line.is_empty()).collect();
    let printed: Vec<&String> = printed.iter().filter(|line| !line.is_empty()).collect();
    if expected.len() != printed.len() {
        return Some(format!("{} lines are expected, {} were printed", expected.len(), printed.len()));
    }
    expected.iter().zip(&printed).find_map(|(expected, printed)| {
        let (wanted, found) = (mask(expected), mask(printed));
        (!matches(&wanted, &found)).then(|| format!("expected {wanted}\nprinted  {found}"))
    })
}

/// Whether `text` is `pattern` with something in place of every `…`.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut last = None;
    for part in parts {
        if let Some(between) = last.replace(part) {
            let Some(at) = str::find(rest, between) else { return false };
            rest = &rest[at + str::len(between)..];
        }
    }
    last.map_or(rest.is_empty(), |last| rest.ends_with(last))
}

/// The line with ids, times, and what differs from one run to the next replaced by a word.
fn mask(line: &str) -> String {
    let name = line.split_once(':').map(|(name, _)| name.to_ascii_lowercase());
    if let Some(name @ ("date" | "retry-after")) = name.as_deref() {
        return format!("{name}: <masked>");
    }
    let mut masked = String::new();
    let mut rest = line;
    while let Some(start) = rest.find(|c: char| c.is_ascii_hexdigit()) {
        let (before, token) = rest.split_at(start);
        let end =
            token.find(|c: char| !c.is_ascii_alphanumeric() && !"-:.+".contains(c)).unwrap_or(token.len());
        let (token, after) = token.split_at(end);
        masked.push_str(before);
        masked.push_str(if is_uuid(token) {
            "<id>"
        } else if is_time(token) {
            "<time>"
        } else if is_trace(token) {
            "<trace>"
        } else {
            token
        });
        rest = after;
    }
    masked.push_str(rest);
    mask_number_after(&masked, "\"retry_after_ms\":")
}

/// The text with the number behind `name` masked.
fn mask_number_after(text: &str, name: &str) -> String {
    let Some(at) = text.find(name) else { return text.to_owned() };
    let (before, after) = text.split_at(at + name.len());
    let digits = after.trim_start_matches(|c: char| c.is_ascii_digit());
    if digits.len() == after.len() { text.to_owned() } else { format!("{before}<ms>{digits}") }
}

/// `01993c1e-0000-7000-8000-000000000000`, or as the documents shorten it.
fn is_uuid(token: &str) -> bool {
    token.len() == 36
        && token.char_indices().all(|(i, c)| match i {
            8 | 13 | 18 | 23 => c == '-',
            _ => c.is_ascii_hexdigit(),
        })
}

/// `2026-11-21T00:00:00.000Z`, with or without the fraction.
fn is_time(token: &str) -> bool {
    let bytes = token.as_bytes();
    bytes.len() >= 20
        && bytes.ends_with(b"Z")
        && bytes[..19].iter().enumerate().all(|(i, byte)| match i {
            4 | 7 => *byte == b'-',
            10 => *byte == b'T',
            13 | 16 => *byte == b':',
            _ => byte.is_ascii_digit(),
        })
}

/// 32 hexadecimal digits.
fn is_trace(token: &str) -> bool {
    token.len() == 32 && token.chars().all(|c| c.is_ascii_hexdigit())
}
