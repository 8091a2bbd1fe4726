//! A PostgreSQL of the test's own, from the machine's programs: a new cluster on a free port of the loopback
//! address, gone when the test program is, however that ends.
//!
//! It keeps what it commits (`fsync` and `full_page_writes` are on), so that a test may kill it.

mod guard;
mod plans;
mod programs;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::OnceCell;

use crate::certificates::Authority;
use crate::eventually::eventually;
use crate::harness::Process;
use crate::ports::free_port;
use guard::Guard;
pub use plans::{Plans, explained};
use programs::Programs;

/// The only name that the server's certificate is for.
pub const SERVER_NAME: &str = "db.example";
/// The superuser that a test connects as.
const USER: &str = "steadfast";
/// The database that a new cluster has.
const DATABASE: &str = "postgres";
/// Enough for several replicas, their tests and a pooler.
const CONNECTIONS_MAX: usize = 300;
/// A port may be lost between its choice and its use.
const STARTS_MAX: usize = 5;
/// How long a killed server may take to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(30);
/// Who is let in by a server that takes nobody without TLS, nor without a password.
const TLS_ONLY: &str = "hostssl all all 127.0.0.1/32 scram-sha-256\n";
/// What the server logs when it takes connections, after a recovery too.
const READY: &str = "database system is ready to accept connections";
/// What it logs when its port is taken.
const PORT_TAKEN: &str = "could not bind";

static SHARED: OnceCell<Cluster> = OnceCell::const_new();

/// A cluster and the server on it.
#[derive(Debug)]
pub struct Cluster {
    // Dropped in this order: the guard ends the server and removes its directory, and then nothing is left.
    _guard: Guard,
    server: Process,
    programs: Programs,
    dir: PathBuf,
    port: u16,
    password: String,
    schemas: AtomicUsize,
    authorities: Option<Authorities>,
}

/// The authorities whose certificates a test may trust.
#[derive(Debug)]
struct Authorities {
    /// It has signed the server's certificate.
    right: Authority,
    /// It has signed nothing.
    wrong: Authority,
}

impl Cluster {
    /// The one cluster that the tests of a program share, each in a schema of its own. Nobody can kill it.
    ///
    /// # Panics
    /// When there is no PostgreSQL to be found, saying what to install, or it does not start.
    pub async fn shared() -> &'static Self {
        SHARED.get_or_init(Self::start).await
    }

    /// A cluster for one test, which may do to it what it likes. Dropping it ends it.
    ///
    /// # Panics
    /// As [`shared`](Self::shared).
    pub async fn start() -> Self {
        Self::prepare(|_, _| None).await
    }

    /// As [`start`](Self::start), but whoever connects without TLS is refused. The server's certificate is for
    /// [`SERVER_NAME`] and nothing else.
    ///
    /// # Panics
    /// Also when there is no `openssl` to make certificates with.
    pub async fn start_with_tls_only() -> Self {
        Self::prepare(|programs, dir| {
            fs::write(dir.join("data/pg_hba.conf"), TLS_ONLY).expect("who is let in can be written");
            let settings = fs::OpenOptions::new().append(true).open(dir.join("data/postgresql.conf"));
            settings.and_then(|mut file| file.write_all(b"ssl = on\n")).expect("its settings can be written");
            Some(Authorities::sign(programs, dir))
        })
        .await
    }

    async fn prepare(set_up: impl FnOnce(&Programs, &Path) -> Option<Authorities>) -> Self {
        let programs = Programs::find();
        let dir = tempfile::Builder::new().prefix("steadfast-postgres-").tempdir();
        // The guard removes it: a test program that is killed cannot.
        let dir = dir.expect("a directory for the cluster").keep();
        let guard = Guard::over(&dir);
        let password = format!("{:032x}", rand::random::<u128>());
        programs.hand_over(&dir);
        create(&programs, &dir, &password);
        let authorities = set_up(&programs, &dir);
        let (server, port) = start_on_a_free_port(&programs, &dir).await;
        let schemas = AtomicUsize::new(0);
        Self { _guard: guard, server, programs, dir, port, password, schemas, authorities }
    }

    /// Where it listens, on the loopback address.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Its URL, with the superuser's name and password.
    pub fn url(&self) -> String {
        self.url_through(self.port)
    }

    /// The same by way of a proxy on another port of the loopback address.
    pub fn url_through(&self, port: u16) -> String {
        let Self { password, .. } = self;
        format!("postgres://{USER}:{password}@127.0.0.1:{port}/{DATABASE}")
    }

    /// The same by the name that its certificate has, or that it should have: no resolver is asked.
    pub fn url_by_name(&self, name: &str) -> String {
        let Self { port, password, .. } = self;
        format!("postgres://{USER}:{password}@{name}:{port}/{DATABASE}?hostaddr=127.0.0.1")
    }

    /// The file with the certificate of the authority that signed the server's.
    ///
    /// # Panics
    /// When it is not [with TLS only](Self::start_with_tls_only).
    pub fn right_authority(&self) -> &Path {
        self.authorities.as_ref().expect("this cluster has certificates").right.certificate()
    }

    /// The file with the certificate of an authority that has the same name and another key.
    ///
    /// # Panics
    /// When it is not [with TLS only](Self::start_with_tls_only).
    pub fn wrong_authority(&self) -> &Path {
        self.authorities.as_ref().expect("this cluster has certificates").wrong.certificate()
    }

    /// The name of a schema that nobody else uses. Nothing is there yet: a store makes it.
    pub fn new_schema_name(&self) -> String {
        format!("test_{}", self.schemas.fetch_add(1, Ordering::Relaxed))
    }

    /// A store's URL with a schema that nobody else uses.
    pub fn new_schema(&self) -> String {
        in_schema(&self.url(), &self.new_schema_name())
    }

    /// What a statement answers: a row a line, its values parted by `|`.
    ///
    /// # Panics
    /// When it fails, saying why.
    pub async fn sql(&self, statement: &str) -> String {
        let mut command = self.programs.command("psql", &self.dir);
        command.args(["--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1"]);
        command.args([format!("--dbname={}", self.url()), format!("--command={statement}")]);
        command.stdin(Stdio::null());
        let output = tokio::process::Command::from(command).output().await.expect("psql can be started");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{statement}: {complaint}\n{}", self.log());
        String::from_utf8(output.stdout).expect("its text is UTF-8").trim_end().to_owned()
    }

    /// Ends every connection but this call's own. The server goes on.
    pub async fn terminate_backends(&mut self) {
        self.sql(
            "select pg_terminate_backend(pid) from pg_stat_activity \
             where backend_type = 'client backend' and pid <> pg_backend_pid()",
        )
        .await;
    }

    /// SIGKILL to the server and all of its processes at once, as when the machine fails, and waits until they
    /// are gone.
    pub async fn kill(&mut self) {
        // Stopped first, so that it starts no other while its processes are looked for.
        self.server.signal(Signal::STOP);
        let processes = children_of(self.server.id());
        self.server.signal(Signal::KILL);
        for process in processes {
            // It may have ended by itself since.
            let _ = kill_process(process, Signal::KILL);
        }
        let exit = self.server.exit_within(GONE_WITHIN).await;
        assert!(exit.is_some(), "a killed server is gone\n{}", self.log());
    }

    /// Starts the server again after [`kill`](Self::kill) on what is on the disk, on the same port, and waits
    /// until it takes connections.
    pub async fn restart(&mut self) {
        assert!(!self.server.is_running(), "the server before still runs");
        self.server = launch(&self.programs, &self.dir, self.port);
        assert!(until_ready(&mut self.server).await, "it does not start again\n{}", self.log());
    }

    /// What the server has logged since it started last.
    pub fn log(&self) -> String {
        self.server.stderr().text()
    }
}

impl Authorities {
    /// Gives the cluster in `dir` a key and a certificate.
    fn sign(programs: &Programs, dir: &Path) -> Self {
        let right = Authority::new(dir, "authority");
        let server = right.issue(&dir.join("data"), "server", &format!("DNS:{SERVER_NAME}"));
        programs.hand_over(&server.key);
        programs.hand_over(&server.certificate);
        Self { right, wrong: Authority::new(dir, "stranger") }
    }
}

/// A store's URL with a schema: `…?schema=NAME`.
pub fn in_schema(url: &str, schema: &str) -> String {
    format!("{url}?schema={schema}")
}

/// Makes the files of a new cluster. They need not survive the machine, unlike what is committed later.
fn create(programs: &Programs, dir: &Path, password: &str) {
    // Nobody else may enter the directory.
    let secret = dir.join("password");
    fs::write(&secret, password).expect("the password's file can be written");
    programs.hand_over(&secret);
    let mut command = programs.command("initdb", dir);
    command.args(["--pgdata=data", "--no-sync", "--locale=C", "--encoding=UTF8", "--auth=scram-sha-256"]);
    command.args([format!("--username={USER}"), "--pwfile=password".to_owned()]);
    run(&mut command);
    fs::remove_file(&secret).expect("the password's file is ours");
}

/// Runs a program that must succeed.
fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {complaint}");
}

async fn start_on_a_free_port(programs: &Programs, dir: &Path) -> (Process, u16) {
    let mut said = String::new();
    for _ in 0..STARTS_MAX {
        let port = free_port();
        let mut server = launch(programs, dir, port);
        if until_ready(&mut server).await {
            return (server, port);
        }
        said = server.stderr().text();
        assert!(said.contains(PORT_TAKEN), "PostgreSQL does not start\n{said}");
    }
    panic!("no free port in {STARTS_MAX} starts\n{said}")
}

fn launch(programs: &Programs, dir: &Path, port: u16) -> Process {
    let settings = [
        "listen_addresses=127.0.0.1".to_owned(),
        format!("port={port}"),
        // A path in a long directory would be too long for a socket's address.
        "unix_socket_directories=".to_owned(),
        format!("max_connections={CONNECTIONS_MAX}"),
        "fsync=on".to_owned(),
        "full_page_writes=on".to_owned(),
        // In its own directory, where nothing of it stays behind after a SIGKILL.
        "dynamic_shared_memory_type=mmap".to_owned(),
        "wal_level=minimal".to_owned(),
        "max_wal_senders=0".to_owned(),
    ];
    let mut command = programs.command("postgres", dir);
    command.arg("-D").arg("data").args(settings.iter().flat_map(|setting| ["-c", setting]));
    Process::start_in_a_group(command)
}

/// Waits until the server takes connections, or has ended before that: then `false`.
async fn until_ready(server: &mut Process) -> bool {
    eventually("PostgreSQL takes connections", || {
        let ready = server.stderr().text().contains(READY).then_some(true);
        std::future::ready(ready.or_else(|| (!server.is_running()).then_some(false)))
    })
    .await
}

/// The processes that this one started and that have not ended.
fn children_of(parent: u32) -> Vec<Pid> {
    let processes = fs::read_dir("/proc").expect("Linux shows its processes").flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    ids.filter(|id| parent_of(*id) == Some(parent)).filter_map(Pid::from_raw).collect()
}

/// From `/proc/ID/stat`: `id (name) state parent …`, where the name may hold anything.
fn parent_of(id: i32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(1)?.parse().ok()
}
