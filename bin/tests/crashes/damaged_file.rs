//! A file that cannot be served: every start says what is wrong and changes nothing, and damage that shows
//! later stops writing.

use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use steadfast_client::{Client, Error};
use steadfast_domain::JobId;
use steadfast_testkit::eventually;
use steadfast_testkit::harness::{Exit, Given, Process, Server, given_server};
use steadfast_testkit::history::{Evidence, Expected, History, all_jobs, until_all_ended};
use steadfast_testkit::raw::RawConnection;
use steadfast_wire::{ErrorCode, Outcome};
use tempfile::TempDir;

use crate::mounts::Disk;

const PROGRAM: &str = env!("CARGO_BIN_EXE_steadfast");
const PAGE_BYTES: u64 = 4_096;
const JOBS: usize = 30;

#[tokio::test]
async fn a_start_on_a_bad_file_says_what_is_wrong_and_changes_nothing() {
    let (killed, _) = left_by_a_kill().await;
    let stopped = left_by_a_stop().await;
    let bad = async |from: &TempDir, damage: &dyn Fn(&Path), expected: &str| {
        let dir = copy_of(from);
        damage(&database_in(dir.path()));
        assert_refused(&given_server(PROGRAM), dir.path(), expected).await;
    };
    // The change stays in the log, as after a crash.
    let sql = |text: &'static str| move |path: &Path| _ = sqlite3_leaving_its_log(path, text);

    bad(
        &killed,
        &sql("PRAGMA user_version = 99"),
        "has schema version 99, and this program knows versions up to 1",
    )
    .await;
    bad(
        &killed,
        &sql("PRAGMA application_id = 7"),
        "is a database of another application: name another file",
    )
    .await;
    let text = |path: &Path| fs::write(path, "not a database, ".repeat(1_000)).expect("written");
    bad(&stopped, &text, "is not a database or is damaged (file is not a database): restore it").await;
    let malformed = "is not a database or is damaged (database disk image is malformed): restore it";
    bad(&stopped, &|path| overwrite(path, 100, 8), malformed).await;
    bad(&stopped, &|path| overwrite_page(path, root_page(path, "live")), malformed).await;
    bad(&killed, &|path| overwrite_page(path, root_page(path, "jobs")), malformed).await;
    bad(&stopped, &|path| cut(path, length(path) / 2), malformed).await;
    bad(&killed, &|path| cut(path, 0), "is missing or empty, but its write-ahead log").await;
    bad(&killed, &|path| fs::remove_file(path).expect("removed"), "is missing or empty, but its").await;
}

#[tokio::test]
async fn a_file_that_may_not_be_written_is_refused() {
    let dir = left_by_a_stop().await;
    let database = database_in(dir.path());
    fs::set_permissions(&database, Permissions::from_mode(0o444)).expect("its owner may");
    let mut given = given_server(PROGRAM);
    if rustix::process::geteuid().is_root() {
        // Root may write everything, unless it has given that up.
        given = given.under(["setpriv", "--bounding-set=-dac_override", "--"]);
    }
    let expected = format!("{} is read-only: make the file and its directory writable", database.display());
    assert_refused(&given, dir.path(), &expected).await;
}

#[tokio::test]
async fn a_file_system_that_may_not_be_written_is_refused() {
    let name = "damaged_file::a_file_system_that_may_not_be_written_is_refused";
    let Some(disk) = Disk::of_its_own(name, "128m") else { return };
    let dir = left_by_a_stop().await;
    disk.remount("ro");
    assert_refused(&given_server(PROGRAM), dir.path(), "is read-only: make the file and its").await;
    disk.remount("rw");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_written_any_more_fails_readiness_until_it_can() {
    let name = "damaged_file::a_file_that_cannot_be_written_any_more_fails_readiness_until_it_can";
    // In a namespace of its own the test may trace the server.
    if Disk::of_its_own(name, "256m").is_none() {
        return;
    }
    let mut server = given_server(PROGRAM).start().await;
    let (client, history) = (server.client(), History::new());
    history.submit(&client, "echo", &json!(1)).await.expect("accepted");
    until_all_ended(&client).await;

    let read_only = ReadOnly::begin(&mut server).await;
    let error = history.submit(&client, "echo", &json!(2)).await.expect_err("it cannot be written");
    assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
    let error = history.submit(&client, "echo", &json!(3)).await.expect_err("nor the next");
    assert_eq!(
        (error.code(), error.outcome()),
        (Some(ErrorCode::StoreUnavailable), Outcome::None),
        "{error}"
    );
    until_not_ready(&client).await;
    client.job(history.accepted()[0]).await.expect("reads go on");
    read_only.end().await;

    eventually("it is ready again", async || client.ready().await.ok()).await;
    history.submit(&client, "echo", &json!(4)).await.expect("accepted again");
    until_all_ended(&client).await;
    let jobs = all_jobs(&client).await;
    history.assert_kept(Evidence { jobs: &jobs, ..Evidence::default() }, Expected::Ended);
    server.stop().await.expect_code(0);
}

#[tokio::test]
async fn damage_that_shows_later_stops_writing_and_fails_readiness() {
    let mut server = given_server(PROGRAM).start().await;
    let jobs = submit_some(&server.client()).await;
    until_all_ended(&server.client()).await;
    server.stop().await.expect_code(0);
    let database = server.database();
    let leaf = "SELECT pageno FROM dbstat WHERE name = 'jobs' AND pagetype = 'leaf' ORDER BY path LIMIT 1";
    overwrite_page(&database, sqlite3(&database, leaf).parse().expect("a page"));

    server.start_again().await;
    let client = server.client();
    let unavailable = |error: Error| assert_eq!(error.code(), Some(ErrorCode::StoreUnavailable), "{error}");
    unavailable(client.job(jobs[0]).await.expect_err("its page is damaged"));
    let length_before = (length(&database), length(&beside(&database, "-wal")));
    let error = History::new().submit(&client, "echo", &json!(1)).await.expect_err("nothing is written");
    assert_eq!(error.outcome(), Outcome::None);
    unavailable(error);
    client.job(jobs[JOBS - 1]).await.expect("what is whole can be read");
    until_not_ready(&client).await;
    let figures = scrape(&server).await;
    for figure in ["steadfast_phase{phase=\"ready\"} 1", "steadfast_ready 0"] {
        assert!(figures.lines().any(|line| line == figure), "{figure} in {figures}");
    }
    assert_eq!((length(&database), length(&beside(&database, "-wal"))), length_before);
    let exit = server.stop().await.expect_code(0);
    let said = exit.stderr.text();
    assert!(
        said.contains("is damaged (database disk image is malformed): nothing is written to it"),
        "{said}"
    );
}

#[tokio::test]
async fn a_log_that_was_cut_or_changed_gives_what_is_whole_before_that() {
    let (left, accepted) = left_by_a_kill().await;
    let hurts: [fn(&Path); 2] =
        [|log| cut(log, length(log) * 2 / 3 + 77), |log| overwrite(log, length(log) * 2 / 3 + 77, 1)];
    for hurt in hurts {
        let dir = copy_of(&left);
        hurt(&beside(&database_in(dir.path()), "-wal"));
        let mut server = given_server(PROGRAM).start_in(dir).await;
        until_all_ended(&server.client()).await;
        let mut jobs: Vec<JobId> = all_jobs(&server.client()).await.iter().map(|job| job.id).collect();
        jobs.reverse();
        assert!(!jobs.is_empty() && jobs.len() < accepted.len(), "{} jobs", jobs.len());
        assert_eq!(jobs, accepted[..jobs.len()], "the first ones, whole");
        History::new().submit(&server.client(), "echo", &json!(1)).await.expect("it goes on");
        until_all_ended(&server.client()).await;
        server.stop().await.expect_code(0);
        assert_eq!(sqlite3(&server.database(), "PRAGMA integrity_check"), "ok");
    }
}

#[tokio::test]
async fn a_second_server_on_the_file_is_refused_and_the_first_goes_on() {
    let mut first = given_server(PROGRAM).start().await;
    let expected = format!("is in use by another process (pid {})", first.process().id());
    let second = end_of(given_server(PROGRAM).launch(first.dir())).await.expect_code(1);
    assert!(second.stderr.text().contains(&expected), "{}", second.output());
    let history = History::new();
    history.submit(&first.client(), "echo", &json!(1)).await.expect("undisturbed");
    until_all_ended(&first.client()).await;
    first.stop().await.expect_code(0);
}

#[tokio::test]
async fn an_empty_file_is_a_new_database() {
    let dir = TempDir::new().expect("a directory");
    fs::write(database_in(dir.path()), "").expect("written");
    let mut server = given_server(PROGRAM).start_in(dir).await;
    submit_some(&server.client()).await;
    server.stop().await.expect_code(0);
}

/// Starts in `dir`, which must end with code 1 and these words, and leave database and log as they were.
async fn assert_refused(given: &Given, dir: &Path, expected: &str) {
    let database = database_in(dir);
    let bytes =
        || [database.clone(), beside(&database, "-wal")].map(|path| fs::read(path).unwrap_or_default());
    let before = bytes();
    let exit = end_of(given.launch(dir)).await.expect_code(1);
    assert!(exit.stderr.text().contains(expected), "{expected:?}\n{}", exit.output());
    assert!(exit.stderr.text().contains(&database.display().to_string()), "{}", exit.output());
    assert!(bytes() == before, "nothing is changed: {expected:?}");
    assert!(!fs::exists(beside(&database, ".reserve")).is_ok_and(|there| there), "nothing is left behind");
}

async fn end_of(mut process: Process) -> Exit {
    process.exit_within(Duration::from_secs(60)).await.expect("it ends")
}

/// The directory of a server that has stopped in order, without its reserve.
async fn left_by_a_stop() -> TempDir {
    let mut server = given_server(PROGRAM).start().await;
    submit_some(&server.client()).await;
    until_all_ended(&server.client()).await;
    server.stop().await.expect_code(0);
    copy_of_dir(server.dir())
}

/// The directory of a server that was killed, with everything in the log, and the jobs that it accepted, in
/// their order.
async fn left_by_a_kill() -> (TempDir, Vec<JobId>) {
    let mut server = given_server(PROGRAM).start().await;
    let jobs = submit_some(&server.client()).await;
    server.kill().await;
    (copy_of_dir(server.dir()), jobs)
}

/// Submits jobs one after the other, so that each has a commit of its own.
async fn submit_some(client: &Client) -> Vec<JobId> {
    let history = History::new();
    for n in 0..JOBS {
        history.submit(client, "echo", &json!("x".repeat(n * 100))).await.expect("accepted");
    }
    history.accepted()
}

async fn until_not_ready(client: &Client) {
    eventually("it is not ready", async || client.ready().await.err()).await;
}

async fn scrape(server: &Server) -> String {
    let mut connection = RawConnection::open(server.address()).await.expect("the server accepts");
    connection.get("/metrics").await.expect("the server reads");
    String::from_utf8(connection.answer().await.expect("the server answers").body).expect("text")
}

fn copy_of(dir: &TempDir) -> TempDir {
    copy_of_dir(dir.path())
}

fn copy_of_dir(dir: &Path) -> TempDir {
    let copy = TempDir::new().expect("a directory");
    for end in ["", "-wal"] {
        let from = beside(&database_in(dir), end);
        if from.exists() {
            fs::copy(from, beside(&database_in(copy.path()), end)).expect("copied");
        }
    }
    copy
}

fn database_in(dir: &Path) -> PathBuf {
    dir.join("steadfast.db")
}

fn beside(database: &Path, end: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(end);
    name.into()
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |file| file.len())
}

fn cut(path: &Path, bytes: u64) {
    OpenOptions::new().write(true).open(path).and_then(|file| file.set_len(bytes)).expect("cut");
}

/// Turns over the bits of some bytes.
fn overwrite(path: &Path, at: u64, bytes: usize) {
    let file = OpenOptions::new().read(true).write(true).open(path).expect("opened");
    let mut old = vec![0; bytes];
    file.read_exact_at(&mut old, at).expect("read");
    old.iter_mut().for_each(|byte| *byte = !*byte);
    file.write_all_at(&old, at).expect("written");
}

fn overwrite_page(path: &Path, page: u64) {
    overwrite(path, (page - 1) * PAGE_BYTES, PAGE_BYTES as usize);
}

fn root_page(path: &Path, table: &str) -> u64 {
    let query = format!("SELECT rootpage FROM sqlite_schema WHERE name = '{table}'");
    sqlite3(path, &query).parse().expect("a page")
}

fn sqlite3_leaving_its_log(path: &Path, sql: &str) -> String {
    run_sqlite3(path, &[".dbconfig no_ckpt_on_close on", sql])
}

fn sqlite3(path: &Path, sql: &str) -> String {
    run_sqlite3(path, &[sql])
}

fn run_sqlite3(path: &Path, commands: &[&str]) -> String {
    let ran = Command::new("sqlite3").arg(path).args(commands).output().expect("sqlite3");
    assert!(ran.status.success(), "{commands:?}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8_lossy(&ran.stdout).trim().to_owned()
}

/// Makes every write of a running server fail as on a file system that became read-only.
struct ReadOnly(tokio::process::Child);

impl ReadOnly {
    async fn begin(server: &mut Server) -> Self {
        let strace = tokio::process::Command::new("strace")
            .args([
                "-f",
                "-qq",
                "-o",
                "/dev/null",
                "-e",
                "trace=pwrite64",
                "-e",
                "inject=pwrite64:error=EROFS",
            ])
            .args(["-p", &server.process().id().to_string()])
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("strace");
        let id = server.process().id();
        eventually("every thread is traced", async || all_traced(id).then_some(())).await;
        Self(strace)
    }

    async fn end(mut self) {
        let id = self.0.id().and_then(|id| Pid::from_raw(id as i32)).expect("strace runs");
        kill_process(id, Signal::TERM).expect("a child that was not waited for can be signalled");
        self.0.wait().await.expect("strace lets go");
    }
}

fn all_traced(process: u32) -> bool {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).expect("the server runs");
    tasks.flatten().all(|task| {
        let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
        !status.contains("TracerPid:\t0\n")
    })
}
