//! HAProxy before several replicas, with the configuration that operators are shown.

use std::env;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use tokio::net::TcpStream;

use crate::eventually::eventually;
use crate::harness::Process;
use crate::ports::{free_port, loopback};

/// Where Debian puts it, out of a plain user's `PATH`.
const DEBIAN: &str = "/usr/sbin";

/// A running HAProxy. Dropping it ends it.
#[derive(Debug)]
pub struct HaProxy {
    process: Process,
    address: SocketAddr,
}

impl HaProxy {
    /// Starts it with this configuration file, which takes its addresses from the environment:
    /// `STEADFAST_PROXY_LISTEN` and, for each replica, `STEADFAST_REPLICA_1` and so on.
    ///
    /// # Panics
    /// When there is no HAProxy, saying what to install, or it does not start.
    pub async fn start(config: &Path, replicas: &[SocketAddr]) -> Self {
        let address = loopback(free_port());
        let mut command = Command::new(program());
        command.arg("-db").arg("-f").arg(config).env_clear();
        command.env("STEADFAST_PROXY_LISTEN", address.to_string());
        for (number, replica) in (1..).zip(replicas) {
            command.env(format!("STEADFAST_REPLICA_{number}"), replica.to_string());
        }
        let mut haproxy = Self { process: Process::start(command), address };
        eventually("HAProxy listens", || {
            assert!(haproxy.process.is_running(), "HAProxy ended\n{}", haproxy.log());
            async move { TcpStream::connect(address).await.ok() }
        })
        .await;
        haproxy
    }

    /// Where clients connect.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until it has found the replica of this number, from 1 on, well again so many times.
    pub async fn until_back(&self, replica: usize, times: usize) {
        let (what, back) = (format!("replica {replica} is back"), format!("/replica-{replica} is UP"));
        eventually(&what, || std::future::ready((self.log().matches(&back).count() >= times).then_some(())))
            .await;
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.process.stderr().text()
    }
}

fn program() -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    let dirs = env::split_paths(&path).chain([PathBuf::from(DEBIAN)]);
    let found = dirs.map(|dir| dir.join("haproxy")).find(|program| program.is_file());
    found.unwrap_or_else(|| panic!("these tests need HAProxy: apt-get install haproxy"))
}
