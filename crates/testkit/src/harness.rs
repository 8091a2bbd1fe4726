//! The real server as a process: started on a free port with a data directory of its own, stopped by
//! signals, started again on what it left.

mod log;
mod process;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

pub use log::Log;
pub use process::{Exit, Process};
pub use rustix::process::Signal;
use serde_json::Value;
use steadfast_client::Client;
use tempfile::TempDir;

use crate::eventually::eventually;

/// How long a server may take to end before the test fails: more than any budget a test sets.
const EXIT_WITHIN: Duration = Duration::from_secs(60);

/// A server to be: `given_server(env!("CARGO_BIN_EXE_steadfast")).capacity(7).start().await`. Without
/// further words it listens on a free port of the loopback address and stores into a new SQLite file.
pub fn given_server(program: impl Into<PathBuf>) -> Given {
    Given {
        program: program.into(),
        leading: vec!["serve".into()],
        store: Keep::Sqlite,
        arguments: Vec::new(),
        environment: Vec::new(),
        settings: None,
    }
}

/// Which store a server uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// One file in the server's data directory.
    Sqlite,
    /// `memory:`.
    Memory,
}

/// What a server is started with.
#[derive(Debug, Clone)]
pub struct Given {
    program: PathBuf,
    leading: Vec<OsString>,
    store: Keep,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    settings: Option<String>,
}

impl Given {
    /// Which store.
    pub fn store(self, store: Keep) -> Self {
        Self { store, ..self }
    }

    /// At most so many jobs that are not terminal.
    pub fn capacity(self, jobs: usize) -> Self {
        self.flag("--capacity", jobs.to_string())
    }

    /// At most so many bytes of their payloads.
    pub fn capacity_bytes(self, bytes: usize) -> Self {
        self.flag("--capacity-bytes", bytes.to_string())
    }

    /// So many jobs at once.
    pub fn concurrency(self, jobs: usize) -> Self {
        self.flag("--concurrency", jobs.to_string())
    }

    /// One flag and its value.
    pub fn flag(mut self, flag: &str, value: impl Into<OsString>) -> Self {
        self.arguments.extend([flag.into(), value.into()]);
        self
    }

    /// One environment variable. Of the test's own environment the server gets none but `PATH`.
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// The text of its settings file.
    pub fn settings(self, toml: &str) -> Self {
        Self { settings: Some(toml.to_owned()), ..self }
    }

    /// Starts the program with these arguments in place of `serve` and every flag: for a test that is
    /// itself the server's program.
    pub fn run_as(self, arguments: &[&str]) -> Self {
        Self { leading: arguments.iter().map(OsString::from).collect(), arguments: Vec::new(), ..self }
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// When it ends before that, with what it wrote.
    pub async fn start(self) -> Server {
        let dir = TempDir::new().expect("a directory for the server's data");
        let mut process = self.launch(dir.path());
        let address = listening(&mut process).await;
        let server = Server { given: self, dir, client: client_of(address), process, address };
        server.until_ready().await;
        server
    }

    /// Starts it in `dir`, listening on a free port, without waiting for anything.
    pub fn launch(&self, dir: &Path) -> Process {
        let mut command = self.command(dir);
        command.args(["--listen", "127.0.0.1:0", "--log-format", "json"]);
        command.arg("--store").arg(match self.store {
            Keep::Sqlite => format!("sqlite://{}", database_in(dir).display()),
            Keep::Memory => "memory:".to_owned(),
        });
        if let Some(settings) = &self.settings {
            let path = dir.join("steadfast.toml");
            std::fs::write(&path, settings).expect("a settings file can be written");
            command.arg("--config").arg(path);
        }
        Process::start(command)
    }

    fn command(&self, dir: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.current_dir(dir).env_clear();
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.args(&self.leading).args(&self.arguments);
        command
    }
}

/// A server and its data directory, which outlives any one process. Dropping it kills the process, waits
/// for its end and removes the directory.
#[derive(Debug)]
pub struct Server {
    // Dropped in this order: the process is gone before its directory.
    process: Process,
    given: Given,
    dir: TempDir,
    address: SocketAddr,
    client: Client,
}

impl Server {
    /// A client of it.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Where it listens. Another port after every start.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its data directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Its database file.
    pub fn database(&self) -> PathBuf {
        database_in(self.dir())
    }

    /// Its process.
    pub const fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Its log: what it writes to standard error.
    pub const fn log(&self) -> &Log {
        self.process.stderr()
    }

    /// What it is started with, for another process beside it.
    pub const fn given(&self) -> &Given {
        &self.given
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it goes on for a minute: then it is a stop that hangs.
    pub async fn exit(&mut self) -> Exit {
        let exit = self.process.exit_within(EXIT_WITHIN).await;
        exit.unwrap_or_else(|| panic!("still running after {EXIT_WITHIN:?}\n{}", self.output()))
    }

    /// SIGTERM, and waits for the end.
    pub async fn stop(&mut self) -> Exit {
        self.signal(Signal::TERM);
        self.exit().await
    }

    /// SIGKILL, and waits for the end.
    pub async fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.exit().await;
    }

    /// Starts it again on the same data, once the process before has ended, and waits until it is ready.
    pub async fn start_again(&mut self) {
        self.start_again_with(|given| given).await;
    }

    /// The same with other settings.
    pub async fn start_again_with(&mut self, change: impl FnOnce(Given) -> Given) {
        assert!(!self.process.is_running(), "the process before still runs");
        self.given = change(self.given.clone());
        self.process = self.given.launch(self.dir.path());
        self.address = listening(&mut self.process).await;
        self.client = client_of(self.address);
        self.until_ready().await;
    }

    /// Waits for an event in its log and returns its fields.
    pub async fn until_logged(&self, message: &str) -> Value {
        let what = format!("{message:?} in the log\n{}", self.output());
        eventually(&what, || std::future::ready(self.log().events(message).pop())).await
    }

    /// Everything it has written, for the text of a failing assertion.
    pub fn output(&self) -> String {
        format!("--- stdout\n{}\n--- stderr\n{}", self.process.stdout().text(), self.process.stderr().text())
    }

    async fn until_ready(&self) {
        let what = format!("ready\n{}", self.output());
        eventually(&what, || async { self.client.ready().await.is_ok().then_some(()) }).await;
    }
}

fn database_in(dir: &Path) -> PathBuf {
    dir.join("steadfast.db")
}

fn client_of(address: SocketAddr) -> Client {
    Client::new(&format!("http://{address}")).expect("a socket address makes a valid server address")
}

/// The address that a starting server logs.
async fn listening(process: &mut Process) -> SocketAddr {
    let found = eventually("an event that says where the server listens", || {
        let running = process.is_running();
        let address = process.stderr().events("listening").first().map(|event| event["address"].clone());
        std::future::ready(if address.is_some() || !running { Some(address) } else { None })
    });
    let Some(address) = found.await else {
        panic!("the server ended as it started\n{}", process.stderr().text());
    };
    address.as_str().and_then(|text| text.parse().ok()).expect("the event's field address is one")
}
