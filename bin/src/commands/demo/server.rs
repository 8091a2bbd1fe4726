use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use steadfast_client::Client;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use super::{CAPACITY, CONCURRENCY, GRACEFUL};
use crate::commands::failure::Failure;

/// How long a server may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// This program as a server, on a store of its own. Dropping it kills it and removes the store.
pub(super) struct DemoServer {
    // Dropped before its directory.
    process: Child,
    address: SocketAddr,
    dir: TempDir,
}

impl DemoServer {
    /// Starts it on a free port and waits until it is ready.
    pub(super) async fn start() -> Result<Self, Failure> {
        let dir = tempfile::Builder::new().prefix("steadfast-demo-").tempdir().map_err(Failure::failed)?;
        // The port is free for the server as soon as nobody listens on it any more.
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        let address = free.map_err(Failure::failed)?;
        let process = launch(address, dir.path())?;
        let mut server = Self { process, address, dir };
        server.until_ready().await?;
        Ok(server)
    }

    /// A client of it, also after it was started again.
    pub(super) fn client(&self) -> Result<Client, Failure> {
        Ok(Client::new(&format!("http://{}", self.address))?)
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Stops it as a supervisor would, and returns what it says at its end: the drain's ledger.
    pub(super) async fn stop(&mut self) -> Result<String, Failure> {
        self.ask_to_stop().await?;
        let status = self.process.wait().await.map_err(Failure::failed)?;
        let said = fs::read_to_string(log(self.dir.path())).map_err(Failure::failed)?;
        if status.success() {
            return Ok(said);
        }
        Err(Failure::failed(format_args!("the server ended with {status}\n{said}")))
    }

    #[cfg(unix)]
    async fn ask_to_stop(&self) -> Result<(), Failure> {
        use rustix::process::{Pid, Signal, kill_process};

        let id = self.process.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        id.map_or(Ok(()), |id| kill_process(id, Signal::TERM)).map_err(Failure::failed)
    }

    #[cfg(not(unix))]
    async fn ask_to_stop(&self) -> Result<(), Failure> {
        self.client()?.drain().await?;
        Ok(())
    }

    /// Starts it on the same store once it has ended.
    pub(super) async fn start_again(&mut self) -> Result<(), Failure> {
        self.process = launch(self.address, self.dir.path())?;
        self.until_ready().await
    }

    async fn until_ready(&mut self) -> Result<(), Failure> {
        let (client, begun) = (self.client()?, Instant::now());
        while client.ready().await.is_err() {
            let ended = self.process.try_wait().map_err(Failure::failed)?;
            if ended.is_some() || begun.elapsed() > READY_WITHIN {
                let said = fs::read_to_string(log(self.dir.path())).unwrap_or_default();
                return Err(Failure::failed(format_args!("the server does not start\n{said}")));
            }
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }
}

/// Nothing of this process's environment and no settings file changes what is shown.
fn launch(address: SocketAddr, dir: &Path) -> Result<Child, Failure> {
    let myself = std::env::current_exe().map_err(Failure::failed)?;
    let stderr = File::create(log(dir)).map_err(Failure::failed)?;
    let mut command = Command::new(myself);
    command.arg("serve").current_dir(dir).env_clear();
    command.args(["--listen", &address.to_string(), "--store", "sqlite://demo.db"]);
    command.args(["--capacity", &CAPACITY.to_string(), "--concurrency", &CONCURRENCY.to_string()]);
    command.args(["--graceful-timeout", &format!("{}ms", GRACEFUL.as_millis())]);
    command.args(["--log", "error", "--log-format", "text"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).kill_on_drop(true);
    // Ctrl-C is for the demonstration, which ends the server itself.
    #[cfg(unix)]
    command.process_group(0);
    command.spawn().map_err(|error| Failure::failed(format_args!("cannot start a server: {error}")))
}

fn log(dir: &Path) -> std::path::PathBuf {
    dir.join("server.log")
}
