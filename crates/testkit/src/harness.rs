//! The real server as a process: started on a free port with a data directory of its own, stopped by
//! signals, started again on what it left.

mod kernel;
mod log;
mod process;
mod terminal;
mod token;

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

pub use kernel::{Memory, may_open};
pub use log::Log;
pub use process::{Exit, Process};
pub use rustix::process::Signal;
use serde_json::{Value, json};
use steadfast_client::Client;
use steadfast_domain::limits::WAIT_MAX;
use tempfile::TempDir;
pub use token::{ALL_SCOPES, token_entry};
use tokio::task::JoinSet;

use crate::eventually::eventually;
use crate::history::History;

/// How long a server may take to end before the test fails: more than any budget a test sets.
const EXIT_WITHIN: Duration = Duration::from_secs(60);
/// Carries the arguments of a server that a test acts as, one a line.
const ACTING_ARGUMENTS: &str = "STEADFAST_TEST_ACTING_ARGUMENTS";
/// Hands its input over as the one socket that `sd_listen_fds(3)` speaks of, and becomes the command that follows.
const HAND_OVER: [&str; 3] =
    ["sh", "-c", r#"exec 3<&0 </dev/null; export LISTEN_FDS=1 LISTEN_PID=$$; exec "$0" "$@""#];

/// A server to be: `given_server(env!("CARGO_BIN_EXE_steadfast")).capacity(7).start().await`. Without
/// further words it listens on a free port of the loopback address and stores into a new SQLite file.
pub fn given_server(program: impl Into<PathBuf>) -> Given {
    Given {
        program: program.into(),
        under: Vec::new(),
        acting: None,
        store: Keep::Sqlite,
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        arguments: Vec::new(),
        environment: Vec::new(),
        settings: None,
        socket: None,
    }
}

/// Which store a server uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keep {
    /// One file in the server's data directory.
    Sqlite,
    /// `memory:`.
    Memory,
    /// The store with this URL: see [`Cluster::new_schema`](crate::postgres::Cluster::new_schema).
    Postgres(String),
}

/// What a server is started with.
#[derive(Debug, Clone)]
pub struct Given {
    program: PathBuf,
    under: Vec<OsString>,
    acting: Option<&'static str>,
    store: Keep,
    listen: SocketAddr,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    settings: Option<String>,
    socket: Option<Arc<OwnedFd>>,
}

impl Given {
    /// Which store.
    pub fn store(self, store: Keep) -> Self {
        Self { store, ..self }
    }

    /// Where it listens, every time it is started, instead of on a port that is new each time.
    pub fn listen(self, address: SocketAddr) -> Self {
        Self { listen: address, ..self }
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

    /// Hands this socket over to it, every time it is started, as systemd does for a service with a socket unit.
    pub fn hand_over(self, socket: impl Into<OwnedFd>) -> Self {
        Self { socket: Some(Arc::new(socket.into())), ..self }
    }

    /// Starts not the server's program but this test program, whose test `test` acts as the server with
    /// what [`acting_arguments`] gives it.
    pub fn acted_by(self, test: &'static str) -> Self {
        let program = std::env::current_exe().expect("a test knows its own program");
        Self { program, acting: Some(test), ..self }
    }

    /// Starts it by another program and that one's arguments, which come before its own: `strace -D …`. That
    /// program must become the server by `exec`, since signals go to the process started here.
    pub fn under(self, command: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        Self { under: command.into_iter().map(Into::into).collect(), ..self }
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// When it ends before that, with what it wrote.
    pub async fn start(self) -> Server {
        self.start_in(TempDir::new().expect("a directory for the server's data")).await
    }

    /// Starts so many at once that share a store, and waits until all are ready.
    ///
    /// # Panics
    /// When the store is not one that several may share, or as [`start`](Self::start).
    pub async fn start_replicas(self, count: usize) -> Vec<Server> {
        assert!(matches!(self.store, Keep::Postgres(_)), "{:?} belongs to one process", self.store);
        let starting: JoinSet<Server> = (0..count).map(|_| self.clone().start()).collect();
        starting.join_all().await
    }

    /// The same on what is in `dir` already.
    pub async fn start_in(self, dir: TempDir) -> Server {
        let process = self.launch(dir.path());
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = Server { process, given: self, dir, address, client: client_of(address) };
        server.expect_ready().await;
        server
    }

    /// Starts it in `dir`, listening on a free port, without waiting for anything.
    pub fn launch(&self, dir: &Path) -> Process {
        let hand_over = self.socket.iter().flat_map(|_| HAND_OVER.map(OsStr::new));
        let under = self.under.iter().map(OsString::as_os_str).chain(hand_over);
        let mut line = under.chain([self.program.as_os_str()]);
        let mut command = Command::new(line.next().expect("the program is part of the line"));
        command.args(line).current_dir(dir).env_clear();
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let arguments = self.arguments(dir);
        match self.acting {
            None => command.arg("serve").args(arguments),
            Some(test) => {
                command.env(ACTING_ARGUMENTS, arguments.join(OsStr::new("\n")));
                command.args(["--exact", test, "--nocapture"])
            }
        };
        Process::start_with_input(command, self.input())
    }

    /// The socket that is handed over, or else nothing.
    fn input(&self) -> Stdio {
        self.socket.as_ref().map_or_else(Stdio::null, |socket| {
            Stdio::from(socket.try_clone().expect("a socket can be had twice"))
        })
    }

    fn arguments(&self, dir: &Path) -> Vec<OsString> {
        let store = match &self.store {
            Keep::Sqlite => format!("sqlite://{}", database_in(dir).display()),
            Keep::Memory => "memory:".to_owned(),
            Keep::Postgres(url) => url.clone(),
        };
        let listen = self.listen.to_string();
        let always = ["--listen", &listen, "--log-format", "json", "--store", &store];
        let mut arguments: Vec<OsString> = always.into_iter().map(OsString::from).collect();
        arguments.extend_from_slice(&self.arguments);
        if let Some(settings) = &self.settings {
            let path = dir.join("steadfast.toml");
            std::fs::write(&path, settings).expect("a settings file can be written");
            arguments.extend(["--config".into(), path.into()]);
        }
        arguments
    }
}

/// What a test that acts as the server is to take for its command line; `None` when it is run as a test.
pub fn acting_arguments() -> Option<Vec<String>> {
    let arguments = std::env::var(ACTING_ARGUMENTS).ok()?;
    Some(arguments.lines().map(str::to_owned).collect())
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
    pub fn signal(&mut self, signal: Signal) {
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
        self.launch_again_with(change);
        self.expect_ready().await;
    }

    /// The same without waiting: see [`until_ready`](Self::until_ready).
    pub fn launch_again_with(&mut self, change: impl FnOnce(Given) -> Given) {
        assert!(!self.process.is_running(), "the process before still runs");
        self.given = change(self.given.clone());
        self.process = self.given.launch(self.dir.path());
    }

    /// Waits until it is ready, or has ended before that: then `false`.
    pub async fn until_ready(&mut self) -> bool {
        let what = "the server is ready";
        let Some(address) = eventually(what, || std::future::ready(self.listening())).await else {
            return false;
        };
        self.address = address;
        self.client = client_of(address);
        let (client, process) = (&self.client, &mut self.process);
        eventually(what, || {
            let running = process.is_running();
            async move { if client.ready().await.is_ok() { Some(true) } else { (!running).then_some(false) } }
        })
        .await
    }

    async fn expect_ready(&mut self) {
        assert!(self.until_ready().await, "the server ended as it started\n{}", self.output());
    }

    /// The address that it logs as it starts; `Some(None)` when it has ended without.
    fn listening(&mut self) -> Option<Option<SocketAddr>> {
        let running = self.process.is_running();
        let event = self.log().events("listening").pop();
        let Some(event) = event else { return (!running).then_some(None) };
        let address = event["address"].as_str().and_then(|text| text.parse().ok());
        Some(Some(address.expect("the event's field is an address")))
    }

    /// Where it answers those who run it, with `--admin-listen`.
    pub async fn admin_address(&self) -> SocketAddr {
        let event = self.until_logged("admin listener open").await;
        event["address"].as_str().and_then(|text| text.parse().ok()).expect("the event's field is an address")
    }

    /// Ready, and it takes and runs a job.
    ///
    /// # Panics
    /// When it does not.
    pub async fn assert_serves(&self) {
        let (client, history) = (self.client(), History::new());
        client.ready().await.expect("it is ready");
        let job = history.submit(&client, "echo", &json!("good")).await.expect("a submit is accepted");
        let ended = client.job_when_ended(job.id, WAIT_MAX).await.expect("it is read");
        assert!(ended.result.is_some(), "{ended:?}");
    }

    /// Bytes of its memory.
    ///
    /// # Panics
    /// When it has ended.
    pub fn memory_bytes(&self, which: Memory) -> usize {
        self.process.memory_bytes(which).unwrap_or_else(|| panic!("it has ended\n{}", self.output()))
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
}

fn database_in(dir: &Path) -> PathBuf {
    dir.join("steadfast.db")
}

fn client_of(address: SocketAddr) -> Client {
    Client::new(&format!("http://{address}")).expect("a socket address makes a valid server address")
}
