//! What a supervisor is told, heard at a socket of the test's own.

use std::ffi::OsString;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use steadfast_domain::{InvalidField, KindName, RawJson};
use steadfast_queue::{Failure, Finish, JobContext, JobHandler};
use steadfast_testkit::gate::Gate;
use steadfast_testkit::harness::{Given, Server, Signal, given_server};
use steadfast_testkit::history::History;
use steadfast_testkit::{PATIENCE, eventually};
use tempfile::TempDir;
use tokio::net::UnixDatagram;
use tokio::time::timeout;

use crate::{PROGRAM, acting};

const WATCHDOG: Duration = Duration::from_millis(200);
const ALIVE: &str = "WATCHDOG=1";
const BLOCKING: &str = "blocking";

/// A supervisor that listens.
struct Supervisor {
    hears: UnixDatagram,
    name: OsString,
    _dir: TempDir,
}

impl Supervisor {
    fn new() -> Self {
        let dir = TempDir::new().expect("a directory");
        let name = dir.path().join("notify").into_os_string();
        let hears = UnixDatagram::bind(&name).expect("a free name");
        Self { hears, name, _dir: dir }
    }

    /// One whose socket has no path.
    fn abstract_one() -> Self {
        let dir = TempDir::new().expect("a directory");
        let name = dir.path().display().to_string();
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let hears = std::os::unix::net::UnixDatagram::bind_addr(&address).expect("a free name");
        hears.set_nonblocking(true).expect("a socket of this process");
        let hears = UnixDatagram::from_std(hears).expect("a runtime");
        Self { hears, name: format!("@{name}").into(), _dir: dir }
    }

    fn given(&self) -> Given {
        self.of(given_server(PROGRAM))
    }

    fn of(&self, given: Given) -> Given {
        given.env("NOTIFY_SOCKET", &self.name).env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string())
    }

    async fn next(&self) -> String {
        let mut bytes = [0; 1024];
        let heard = timeout(PATIENCE, self.hears.recv(&mut bytes)).await.expect("something is said");
        let length = heard.expect("the socket is this process's");
        String::from_utf8(bytes[..length].to_vec()).expect("text")
    }

    /// The next that is not one of those that are said again and again.
    async fn next_news(&self) -> String {
        loop {
            let words = self.next().await;
            if words != ALIVE && !words.starts_with("EXTEND_TIMEOUT_USEC=") {
                return words;
            }
        }
    }

    /// Throws away what was said until now.
    fn forgets(&self) {
        while self.hears.try_recv(&mut [0; 1024]).is_ok() {}
    }

    /// Hears only that the server lives, several times.
    async fn hears_life(&self) {
        for _ in 0..3 {
            assert_eq!(self.next().await, ALIVE);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supervisor_hears_of_each_phase_and_that_the_server_lives_until_its_end() {
    let (supervisor, gate, history) = (Supervisor::new(), Gate::closed().await, History::new());
    let mut server = supervisor.given().start().await;
    assert_eq!(supervisor.next_news().await, "STATUS=Starting: the store is being opened");
    assert_eq!(supervisor.next_news().await, "READY=1\nSTATUS=Ready");
    supervisor.hears_life().await;
    server.signal(Signal::HUP);
    assert_eq!(supervisor.next_news().await, "RELOADING=1");
    assert_eq!(supervisor.next_news().await, "READY=1");

    history.submit(&server.client(), "http", &gate.payload()).await.expect("room");
    gate.until_held(1).await;
    server.signal(Signal::TERM);
    let stopping = supervisor.next_news().await;
    assert!(stopping.starts_with("STOPPING=1\nSTATUS=Stopping"), "{stopping}");
    assert!(supervisor.next_news().await.starts_with("STATUS=Stopping (draining)"));
    supervisor.hears_life().await;

    gate.open();
    server.exit().await.expect_code(0);
    for phase in ["(cancelling)", "(handback)", "the store is being closed"] {
        let words = supervisor.next_news().await;
        assert!(words.contains(phase), "{words}");
    }
}

#[cfg(feature = "failpoints")]
#[tokio::test(flavor = "multi_thread")]
async fn a_long_start_asks_for_more_time_and_is_not_said_to_be_ready() {
    let (supervisor, gate, history) = (Supervisor::abstract_one(), Gate::closed().await, History::new());
    let mut server = given_server(PROGRAM).start().await;
    history.submit(&server.client(), "http", &gate.payload()).await.expect("room");
    gate.until_held(1).await;
    server.kill().await;
    // It has something to recover.
    server.launch_again_with(|given| {
        supervisor.of(given).env("FAILPOINTS", "sqlite::open::before_recovery=pause")
    });
    assert!(supervisor.next().await.starts_with("STATUS=Starting"));
    for _ in 0..3 {
        assert_eq!(supervisor.next().await, "EXTEND_TIMEOUT_USEC=300000");
    }
    server.signal(Signal::TERM);
    assert!(supervisor.next_news().await.starts_with("STOPPING=1"));
    server.exit().await.expect_code(0);
}

/// Blocks its thread for as long as there is a process.
struct Blocking;

#[async_trait]
impl JobHandler for Blocking {
    fn check(&self, _payload: &RawJson) -> Result<(), Vec<InvalidField>> {
        Ok(())
    }

    async fn run(&self, _context: JobContext) -> Result<Finish, Failure> {
        loop {
            std::thread::park();
        }
    }
}

/// Not a test: a server with the kind `blocking`, when this program is started as one.
#[test]
fn serve() {
    acting::serve_if_asked(|server| {
        server.handlers(|kinds| kinds.with(KindName::new(BLOCKING).expect("a valid name"), Blocking))
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn handlers_that_block_every_thread_of_theirs_are_no_reason_for_a_restart() {
    let supervisor = Supervisor::new();
    let mut server = supervisor.of(given_server(PROGRAM).acted_by("told::serve")).start().await;
    assert!(supervisor.next_news().await.starts_with("STATUS=Starting"));
    assert!(supervisor.next_news().await.starts_with("READY=1"));
    block_handlers(&server).await;
    supervisor.forgets();
    supervisor.hears_life().await;
    server.kill().await;
}

/// Has more jobs block than there are threads.
async fn block_handlers(server: &Server) {
    let (client, history) = (server.client(), History::new());
    let jobs = 2 * std::thread::available_parallelism().map_or(2, usize::from);
    history.submit_batch(&client, BLOCKING, &json!({}), jobs).await.expect("room");
    eventually("all of them run", async || {
        let queues = client.queues().await.ok()?.queues;
        (queues.iter().map(|queue| queue.depth.processing).sum::<u64>() >= jobs as u64).then_some(())
    })
    .await;
}

/// Prints what it was given, and names its open files.
const SHOW: &str = "[exec.show]\ncommand = \"/bin/sh\"\narguments = [\"-c\", \"env; ls -l /proc/self/fd\"]\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_program_gets_neither_the_supervisor_nor_the_socket() {
    let supervisor = Supervisor::new();
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let mut server = supervisor.given().hand_over(socket).settings(SHOW).start().await;
    let (client, history) = (server.client(), History::new());
    let job = history.submit(&client, "exec", &json!({ "program": "show" })).await.expect("room");
    let job = client.job_when_ended(job.id, PATIENCE).await.expect("it is there");
    let shown = job.result.as_ref().expect("it has completed").as_str();
    assert!(shown.contains("STEADFAST_JOB_ID="), "{shown}");
    for theirs in ["NOTIFY_SOCKET", "WATCHDOG", "LISTEN_", "socket:"] {
        assert!(!shown.contains(theirs), "{theirs} in {shown}");
    }
    server.stop().await.expect_code(0);
}
