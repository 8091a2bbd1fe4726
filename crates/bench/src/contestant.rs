use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use steadfast_testkit::harness::{Keep, Process, Signal, given_server};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::error::BenchError;
use crate::load::Target;
use crate::options::Options;
use crate::slow_sync::SlowSync;

/// How long a server may take to become ready, or to end.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often an end is looked for: the error of a time that is measured so.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// In the directory of a server's store.
const TOKEN_FILE: &str = "tokens.toml";

/// A server that can be measured.
#[derive(Debug, Clone)]
pub(crate) struct Contestant {
    pub(crate) name: String,
    kind: Kind,
    flags: Vec<(&'static str, String)>,
    settings: Option<&'static str>,
    /// Whether it lets nobody in without a token.
    wants_token: bool,
    sync_delay: Option<Duration>,
    /// Another program than the place's.
    program: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Bare,
    Steadfast(Keep),
}

impl Contestant {
    /// The ceiling.
    pub(crate) fn bare() -> Self {
        let name = "bare axum".to_owned();
        let (flags, settings) = (Vec::new(), None);
        Self { name, kind: Kind::Bare, flags, settings, wants_token: false, sync_delay: None, program: None }
    }

    /// Steadfast on `memory:`.
    pub(crate) fn memory() -> Self {
        Self { name: "memory:".to_owned(), kind: Kind::Steadfast(Keep::Memory), ..Self::bare() }
    }

    /// Steadfast on SQLite.
    pub(crate) fn sqlite() -> Self {
        Self { name: "sqlite".to_owned(), kind: Kind::Steadfast(Keep::Sqlite), ..Self::bare() }
    }

    /// Steadfast on the PostgreSQL schema with this URL.
    pub(crate) fn postgres(url: String) -> Self {
        Self { name: "postgres".to_owned(), kind: Kind::Steadfast(Keep::Postgres(url)), ..Self::bare() }
    }

    /// Under another name.
    pub(crate) fn named(self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self }
    }

    /// Another build of the server.
    pub(crate) fn program(self, program: PathBuf) -> Self {
        Self { program: Some(program), ..self }
    }

    /// With one more of the server's flags.
    pub(crate) fn flag(mut self, flag: &'static str, value: impl ToString) -> Self {
        self.flags.push((flag, value.to_string()));
        self
    }

    /// With this settings file.
    pub(crate) fn settings(self, toml: &'static str) -> Self {
        Self { settings: Some(toml), ..self }
    }

    /// Only for who has a token: see [`Running::token`].
    pub(crate) fn with_token(self) -> Self {
        Self { wants_token: true, ..self }
    }

    /// With so much added to each sync.
    pub(crate) fn slow_sync(self, delay: Duration) -> Self {
        let name = format!("{}, sync + {} ms", self.name, delay.as_millis());
        Self { name, sync_delay: Some(delay), ..self }
    }

    /// Starts it on an empty store and waits until it is ready.
    pub(crate) async fn start(&self, place: &Place) -> Result<Running, BenchError> {
        let dir = TempDir::new_in(&place.dir).map_err(BenchError::io("a directory for a store"))?;
        let mut running = self.start_in(place, dir.path()).await?;
        running.dir = Some(dir);
        Ok(running)
    }

    /// Starts it on what is in `dir` and waits until it is ready.
    pub(crate) async fn start_in(&self, place: &Place, dir: &Path) -> Result<Running, BenchError> {
        let begun = Instant::now();
        let token = if self.wants_token { Some(place.make_token(dir)?) } else { None };
        let mut process = self.launch(place, dir)?;
        let event = until_logged(&mut process, "ready", &self.name).await.map(|_| begun.elapsed());
        let ready_after = event?;
        let listening = until_logged(&mut process, "listening", &self.name).await?;
        let address = listening["address"].as_str().and_then(|text| text.parse().ok());
        let address = address.ok_or_else(|| BenchError::invalid(&self.name, "no address in its log"))?;
        Ok(Running { name: self.name.clone(), process, address, ready_after, token, dir: None })
    }

    fn launch(&self, place: &Place, dir: &Path) -> Result<Process, BenchError> {
        let Kind::Steadfast(keep) = &self.kind else {
            let myself = std::env::current_exe().map_err(BenchError::io("this program's path"))?;
            let mut command = Command::new(myself);
            command.arg("bare").current_dir(dir);
            return Ok(Process::start(command));
        };
        let mut given = given_server(self.program.as_ref().unwrap_or(&place.server)).store(keep.clone());
        for (flag, value) in &self.flags {
            given = given.flag(flag, value);
        }
        if self.wants_token {
            given = given.flag("--token-file", dir.join(TOKEN_FILE).display().to_string());
        }
        if let Some(toml) = self.settings {
            given = given.settings(toml);
        }
        if let Some(delay) = self.sync_delay {
            for (name, value) in place.slow_sync.environment(delay) {
                given = given.env(name, value);
            }
        }
        Ok(given.launch(dir))
    }
}

/// Where servers come from, and where their stores go.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) dir: PathBuf,
    server: PathBuf,
    slow_sync: SlowSync,
}

impl Place {
    /// From the options, checked before anything is measured.
    pub(crate) fn of(options: &Options) -> Result<Self, BenchError> {
        let server = match &options.server {
            Some(server) => server.clone(),
            None => std::env::current_exe()
                .map_err(BenchError::io("this program's path"))?
                .with_file_name("steadfast"),
        };
        let server = server.canonicalize().map_err(BenchError::io(format!(
            "{} (build it with `cargo build --release`, or name it with --server)",
            server.display()
        )))?;
        let dir = options.dir.clone().unwrap_or_else(std::env::temp_dir);
        std::fs::create_dir_all(&dir).map_err(BenchError::io(dir.display().to_string()))?;
        let dir = dir.canonicalize().map_err(BenchError::io(dir.display().to_string()))?;
        Ok(Self { dir, server, slow_sync: SlowSync::build()? })
    }

    /// Makes a token for submits and reads, and its file in `dir`, by the server's own command.
    fn make_token(&self, dir: &Path) -> Result<String, BenchError> {
        let mut command = Command::new(&self.server);
        command.args(["token", "bench", "--scope", "submit", "--scope", "read", "--output", "json"]);
        let output = command.output().map_err(BenchError::io("steadfast token"))?;
        let made: Value = serde_json::from_slice(&output.stdout)
            .map_err(|error| BenchError::invalid("steadfast token", error.to_string()))?;
        let text = |member: &str| made[member].as_str().unwrap_or_default().to_owned();
        std::fs::write(dir.join(TOKEN_FILE), text("entry")).map_err(BenchError::io(TOKEN_FILE))?;
        Ok(text("token"))
    }
}

/// A server that runs. Dropping it kills it and removes its store, unless that was given to it.
#[derive(Debug)]
pub(crate) struct Running {
    name: String,
    // Dropped before the directory.
    process: Process,
    address: SocketAddr,
    /// From its start until it said that it is ready.
    pub(crate) ready_after: Duration,
    token: Option<String>,
    dir: Option<TempDir>,
}

impl Running {
    /// Where to send requests, and whose they are.
    pub(crate) fn target(&self) -> Target {
        Target { address: self.address, process: self.process.id() }
    }

    /// What it lets in for submits and reads, if it lets not everybody in.
    pub(crate) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// A typed client of it.
    pub(crate) fn client(&self) -> Result<steadfast_client::Client, BenchError> {
        let client = steadfast_client::Client::new(&format!("http://{}", self.address));
        client.map_err(|error| BenchError::invalid(&self.name, error.to_string()))
    }

    /// SIGTERM; returns the time until the process has ended.
    pub(crate) async fn stop(&mut self) -> Result<Duration, BenchError> {
        match self.end(Signal::TERM).await? {
            (took, Some(0)) => Ok(took),
            (_, code) => Err(BenchError::invalid(&self.name, format!("it was stopped: exit code {code:?}"))),
        }
    }

    /// Sends a signal and returns the time until the process has ended, and its code.
    pub(crate) async fn end(&mut self, signal: Signal) -> Result<(Duration, Option<i32>), BenchError> {
        let begun = Instant::now();
        self.process.signal(signal);
        while self.process.is_running() {
            if begun.elapsed() > PATIENCE {
                return Err(BenchError::invalid(&self.name, format!("still running after {PATIENCE:?}")));
            }
            sleep(LOOK_EVERY).await;
        }
        let took = begun.elapsed();
        let exit = self.process.exit_within(PATIENCE).await;
        Ok((took, exit.and_then(|exit| exit.code)))
    }
}

/// Waits for an event in a server's log.
async fn until_logged(process: &mut Process, message: &str, name: &str) -> Result<Value, BenchError> {
    let begun = Instant::now();
    loop {
        let running = process.is_running();
        if let Some(event) = process.stderr().events(message).pop() {
            return Ok(event);
        }
        if !running || begun.elapsed() > PATIENCE {
            let output = process.stderr().text();
            return Err(BenchError::invalid(name, format!("no {message:?} in its log\n{output}")));
        }
        sleep(LOOK_EVERY).await;
    }
}
