use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::json;
use steadfast_domain::limits::WAIT_MAX;
use steadfast_testkit::eventually;
use steadfast_testkit::harness::{Server, given_server, may_open};
use steadfast_testkit::history::{
    Evidence, Expected, History, Marked as _, all_jobs, told_by, until_all_ended,
};
use steadfast_testkit::raw::RawConnection;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::{PROGRAM, ask, what_matters_is_answered};

const PAUSED: &str = "no further connection can be accepted; trying again and again";
/// Files that the server may open beyond those it has.
const SPARE: u64 = 10;
const CLIENTS: usize = 100;
/// For how long it is watched while it cannot accept, and for which part of that it may be busy: a loop would take it
/// all.
const WATCHED_FOR: Duration = Duration::from_secs(1);
const BUSY_MAX: f64 = 0.1;

#[tokio::test(flavor = "multi_thread")]
async fn without_files_to_open_accepting_pauses_and_the_rest_goes_on() {
    let mut server = given_server(PROGRAM).flag("--header-timeout", "10m").start().await;
    let (address, history) = (server.address(), History::new());
    let mut connected = RawConnection::open(address).await.expect("a connection");
    connected.get("/livez").await.expect("a request");
    connected.answer().await.expect("an answer");
    leave_files(&mut server, SPARE);
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        // The kernel connects them all.
        clients.push(TcpStream::connect(address).await.expect("a connection"));
    }
    server.until_logged(PAUSED).await;

    let (began, before) = (Instant::now(), server.process().processor_time());
    tokio::time::sleep(WATCHED_FOR).await;
    let busy = server.process().processor_time() - before;
    assert!(busy < began.elapsed().mul_f64(BUSY_MAX), "{busy:?} of {:?}", began.elapsed());
    assert_eq!(server.log().events(PAUSED).len(), 1, "{}", server.output());

    // Who is connected is served; jobs are stored and run.
    for round in 0..20 {
        let mark = history.begin(1);
        connected.post("/v1/jobs", &mark.body("echo", &json!(round))).await.expect("a submit");
        let answer = connected.answer().await.expect("a whole answer");
        history.told(mark, told_by(&answer));
        assert_eq!(answer.status, 202, "{:?}", answer.json());
        let id = answer.json()["id"].as_str().expect("an id").to_owned();
        let wait = WAIT_MAX.as_millis();
        connected.get(&format!("/v1/jobs/{id}?wait_ms={wait}")).await.expect("a read");
        assert_eq!(connected.answer().await.expect("a whole answer").json()["state"], json!("completed"));
    }

    drop(clients);
    eventually("it accepts again", || async {
        (ask(address, "GET", "/livez").await.ok()?.status == 200).then_some(())
    })
    .await;
    let client = server.client();
    until_all_ended(&client).await;
    let jobs = all_jobs(&client).await;
    history.assert_kept(Evidence { jobs: &jobs, ..Evidence::default() }, Expected::Ended);
    server.stop().await.expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_low_limit_of_open_files_leaves_room_for_what_matters() {
    may_open(4_000);
    let dir = tempfile::tempdir().expect("a directory");
    let limited = dir.path().join("limited");
    let script = format!("#!/bin/sh\nulimit -n 700\nexec '{PROGRAM}' \"$@\"\n");
    fs::write(&limited, script).expect("a script");
    fs::set_permissions(&limited, PermissionsExt::from_mode(0o755)).expect("it can be run");
    let mut server = given_server(limited).flag("--header-timeout", "10m").start().await;
    let lowered =
        "the limit of open files allows fewer connections than connections_max: raise it (ulimit -Hn)";
    let lowered_to = server.until_logged(lowered).await["lowered_to"].as_u64().expect("a number") as usize;
    assert!((50..700).contains(&lowered_to), "{lowered_to}");

    let job = History::new().submit(&server.client(), "sleep", &json!({ "ms": 1 })).await.expect("a job");
    server.client().job_when_ended(job.id, WAIT_MAX).await.expect("its end");
    let job =
        History::new().submit(&server.client(), "sleep", &json!({ "ms": 600_000 })).await.expect("a job");
    let mut clients = Vec::new();
    for _ in 0..3 * lowered_to {
        clients.push(TcpStream::connect(server.address()).await.expect("a connection"));
    }
    for _ in 0..5 {
        what_matters_is_answered(server.address(), &job.id.to_string()).await;
    }
    assert!(server.log().events(PAUSED).is_empty(), "{}", server.output());
    assert_eq!(ask(server.address(), "POST", "/v1/drain").await.expect("a whole answer").status, 202);
    server.exit().await.expect_code(0);
}

/// Leaves the server so many files beside those it has open.
fn leave_files(server: &mut Server, spare: u64) {
    let id = server.process().id();
    let open = fs::read_dir(format!("/proc/{id}/fd")).expect("its open files").count() as u64;
    let limit = Rlimit { current: Some(open + spare), maximum: Some(open + spare) };
    let pid = Pid::from_raw(id.try_into().expect("a process id")).expect("a process id");
    prlimit(Some(pid), Resource::Nofile, limit).expect("a child's limit can be lowered");
}
