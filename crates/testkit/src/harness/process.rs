use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use steadfast_domain::JobId;
use tokio::time::Instant;

use super::{Log, terminal};
use crate::eventually::within;

/// How a process ended.
#[derive(Debug)]
pub struct Exit {
    /// Its exit code, unless a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Everything it wrote to standard output.
    pub stdout: Log,
    /// Everything it wrote to standard error.
    pub stderr: Log,
    /// From the call that waited to its end.
    pub took: Duration,
}

impl Exit {
    /// Both streams, for the text of a failing assertion.
    pub fn output(&self) -> String {
        format!("--- stdout\n{}\n--- stderr\n{}", self.stdout.text(), self.stderr.text())
    }

    /// The drain's ledger as the log has it: a JSON document.
    ///
    /// # Panics
    /// When there is none, or more than one.
    pub fn ledger(&self) -> Value {
        let events = self.stderr.events("drain ledger");
        assert_eq!(events.len(), 1, "one ledger\n{}", self.output());
        let document = events[0]["ledger"].as_str().expect("the ledger is a text");
        serde_json::from_str(document).expect("the text is a JSON document")
    }

    /// The jobs that the ledger names under this member.
    ///
    /// # Panics
    /// As [`ledger`](Self::ledger).
    pub fn jobs_named(&self, member: &str) -> Vec<JobId> {
        let ledger = self.ledger();
        let names = ledger[member].as_array().into_iter().flatten().filter_map(Value::as_str);
        names.map(|name| name.parse().expect("jobs are named by their ids")).collect()
    }

    /// This exit, if the code is `code`.
    ///
    /// # Panics
    /// When it is another, with everything the process wrote.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!((self.code, self.signal), (Some(code), None), "the exit code\n{}", self.output());
        self
    }
}

/// A child process whose output is read as it comes. Dropping it kills it and waits for its end: no test
/// leaves a process behind.
#[derive(Debug)]
pub struct Process {
    child: Child,
    stdout: Log,
    stderr: Log,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    /// Starts `command` with both outputs read and an empty input.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(command: Command) -> Self {
        Self::start_with_input(command, Stdio::null())
    }

    /// The same with this input.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_with_input(mut command: Command, input: Stdio) -> Self {
        command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let (stdout, out_reader) = Log::follow(child.stdout.take().expect("stdout is piped"));
        let (stderr, err_reader) = Log::follow(child.stderr.take().expect("stderr is piped"));
        Self { child, stdout, stderr, readers: vec![out_reader, err_reader] }
    }

    /// The same in a process group of its own: what ends the test's group, as Ctrl-C does, is not for it.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_in_a_group(mut command: Command) -> Self {
        command.process_group(0);
        Self::start(command)
    }

    /// The same at a terminal of 120 columns. What it writes there, to either output, is in `stdout`.
    ///
    /// # Panics
    /// When it cannot be started, or there is no terminal.
    pub fn start_on_terminal(mut command: Command) -> Self {
        let (screen, terminal) = terminal::open();
        let copy = || terminal.try_clone().expect("a terminal can be opened again");
        command.stdin(copy()).stdout(copy()).stderr(copy());
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        // The screen ends when nobody holds the terminal any more: the command does, too.
        drop((command, terminal));
        let (stdout, reader) = Log::follow_screen(screen);
        Self { child, stdout, stderr: Log::default(), readers: vec![reader] }
    }

    /// What it has written to standard output.
    pub const fn stdout(&self) -> &Log {
        &self.stdout
    }

    /// What it has written to standard error.
    pub const fn stderr(&self) -> &Log {
        &self.stderr
    }

    /// Its process id, which stays its own until its end has been waited for.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal. To a process that has ended, nothing happens.
    pub fn signal(&mut self, signal: Signal) {
        if self.is_running() {
            // Its end has not been waited for, so the id cannot be another process's.
            let pid = Pid::from_child(&self.child);
            kill_process(pid, signal).expect("a child that was not waited for can be signalled");
        }
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.status().is_none()
    }

    /// Waits for its end, at most `time`.
    pub async fn exit_within(&mut self, time: Duration) -> Option<Exit> {
        let begun = Instant::now();
        let status = within(time, || std::future::ready(self.status())).await?;
        let took = begun.elapsed();
        // The pipes end with the process, and so do their readers.
        for reader in self.readers.drain(..) {
            reader.join().expect("a log reader does not panic");
        }
        Some(Exit {
            code: status.code(),
            signal: status.signal(),
            stdout: self.stdout.clone(),
            stderr: self.stderr.clone(),
            took,
        })
    }

    fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the state of a child can be read")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when its end has been waited for already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
