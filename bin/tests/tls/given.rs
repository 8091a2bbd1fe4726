use std::net::SocketAddr;

use steadfast_testkit::certificates::{Authority, Issued, THIS_MACHINE};
use steadfast_testkit::harness::{Exit, Given, Process, Signal, given_server};
use steadfast_testkit::raw::{RawAnswer, RawConnection};
use steadfast_testkit::{PATIENCE, eventually};
use tempfile::TempDir;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_steadfast");

/// A server that speaks TLS.
pub(crate) struct Secured {
    // Dropped in this order: the process is gone before its directory.
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    pub(crate) authority: Authority,
    pub(crate) files: Issued,
    pub(crate) dir: TempDir,
}

/// Starts one whose certificate an authority of the test's has signed, which the server trusts, too.
pub(crate) async fn given(more: impl FnOnce(Given) -> Given) -> Secured {
    let dir = tempfile::tempdir().expect("a directory");
    let authority = Authority::new(dir.path(), "authority");
    let files = authority.issue(dir.path(), "server", THIS_MACHINE);
    serve(dir, authority, files, more).await
}

/// Starts one with this certificate.
pub(crate) async fn serve(
    dir: TempDir,
    authority: Authority,
    files: Issued,
    more: impl FnOnce(Given) -> Given,
) -> Secured {
    let given = given_server(PROGRAM)
        .flag("--tls-cert", &files.certificate)
        .flag("--tls-key", &files.key)
        .env("SSL_CERT_FILE", authority.certificate());
    let process = more(given).launch(dir.path());
    let address = eventually("it is ready", || async {
        process.stderr().events("ready").first()?;
        process.stderr().events("listening").first()?["address"].as_str()?.parse().ok()
    })
    .await;
    Secured { process, address, authority, files, dir }
}

impl Secured {
    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }

    pub(crate) async fn connect(&self) -> RawConnection {
        let client = self.authority.client(None, &[]);
        RawConnection::open_tls(self.address, &client).await.expect("a handshake")
    }

    /// Submits a job on a connection of its own.
    pub(crate) async fn submit(&self) -> RawAnswer {
        self.post("/v1/jobs", r#"{"kind":"echo"}"#).await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> RawAnswer {
        let mut connection = self.connect().await;
        connection.post(path, body).await.expect("the request is sent");
        connection.answer().await.expect("a whole answer")
    }

    pub(crate) async fn get(&self, path: &str) -> RawAnswer {
        let mut connection = self.connect().await;
        connection.get(path).await.expect("the request is sent");
        connection.answer().await.expect("a whole answer")
    }

    /// Stops it, which must end well.
    pub(crate) async fn stop(&mut self) -> Exit {
        self.process.signal(Signal::TERM);
        let exit = self.process.exit_within(PATIENCE).await.expect("it ends").expect_code(0);
        assert!(!exit.stderr.text().contains("panicked"), "{}", exit.output());
        exit
    }
}
