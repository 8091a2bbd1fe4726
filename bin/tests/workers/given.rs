//! The example workers of `docs/examples`, as processes.
#![allow(dead_code, reason = "each test program uses its part")]

use std::path::{Path, PathBuf};
use std::process::Command;

use steadfast_testkit::harness::{Given, Process, Server, given_server};
use steadfast_testkit::raw::RawConnection;

/// A queue that only remote workers take from: the one that jobs go to by themselves.
pub(crate) const PULLED: &str = "[queues.default]\nmode = \"pull\"\n";

/// In which language a worker is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    Python,
    Node,
}

/// A server whose jobs wait for workers.
pub(crate) fn given_server_without_workers() -> Given {
    given_server(env!("CARGO_BIN_EXE_steadfast")).settings(PULLED)
}

/// A worker as the documentation has it.
#[derive(Debug, Clone)]
pub(crate) struct GivenWorker {
    language: Language,
    places: usize,
    lease_ms: u64,
    token: Option<&'static str>,
    trusted: Option<PathBuf>,
}

impl GivenWorker {
    pub(crate) fn new(language: Language) -> Self {
        Self { language, places: 4, lease_ms: 30_000, token: None, trusted: None }
    }

    /// Jobs at once.
    pub(crate) fn places(self, places: usize) -> Self {
        Self { places, ..self }
    }

    /// How long its leases hold.
    pub(crate) fn lease_ms(self, lease_ms: u64) -> Self {
        Self { lease_ms, ..self }
    }

    /// What it says who it is with.
    pub(crate) fn token(self, token: &'static str) -> Self {
        Self { token: Some(token), ..self }
    }

    /// The file with the authority that signed the server's certificate.
    pub(crate) fn trusts(self, authority: &Path) -> Self {
        Self { trusted: Some(authority.to_owned()), ..self }
    }

    /// Starts it for the server at this address.
    pub(crate) fn start(&self, server: &str) -> Process {
        let (program, script, trusted) = match self.language {
            Language::Python => ("python3", "worker.py", "SSL_CERT_FILE"),
            Language::Node => ("node", "worker.mjs", "NODE_EXTRA_CA_CERTS"),
        };
        let mut command = Command::new(program);
        command.arg(examples().join(script)).arg("default");
        command.env("STEADFAST_SERVER", server);
        command.env("LEASE_MS", self.lease_ms.to_string()).env("PLACES", self.places.to_string());
        command.envs(self.token.map(|token| ("STEADFAST_TOKEN", token)));
        command.envs(self.trusted.iter().map(|authority| (trusted, authority)));
        Process::start(command)
    }
}

/// A server's address, as workers are told it.
pub(crate) fn url(server: &Server) -> String {
    format!("http://{}", server.address())
}

/// What a scrape of it shows.
pub(crate) async fn metrics(server: &Server) -> String {
    let mut connection = RawConnection::open(server.address()).await.expect("a connection");
    connection.get("/metrics").await.expect("sent");
    String::from_utf8(connection.answer().await.expect("an answer").body).expect("text")
}

pub(crate) fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples")
}
