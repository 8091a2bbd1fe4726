use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use steadfast_testkit::eventually;
use steadfast_testkit::harness::{Memory, Server, Signal, may_open};
use steadfast_testkit::history::History;
use steadfast_testkit::raw::RawConnection;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::workers::given_server_without_workers;

const WORKERS: usize = 10_000;
/// Opened at once.
const AT_ONCE: usize = 100;
/// The aim is half of it, in a release build.
const WORKER_BYTES_MAX: usize = 40 * 1024;
const JOBS: usize = 50;
/// From a submit to the job in the hands of a waiting worker; a busy machine may take ten times as long.
const WOKEN_WITHIN: Duration = Duration::from_millis(10 * 10);
/// While nothing happens: for how long it is watched, and what of that the server may be busy.
const QUIET: Duration = Duration::from_secs(3);
const BUSY_MAX: Duration = Duration::from_millis(300);
/// How long the end of a drain may take: nobody is waited for. A busy machine may take ten times as long.
const DRAINED_WITHIN: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_waiting_workers_take_little_are_woken_one_by_one_and_all_hear_that_the_server_goes() {
    may_open(WORKERS as u64 + 1_000);
    let mut server = given_server_without_workers()
        .flag("--connections-max", "12000")
        .flag("--held-max", "11000")
        // They connect first and ask later.
        .flag("--header-timeout", "10m")
        .start()
        .await;
    let address = server.address();
    // What the first workers make the server take is no cost of a worker.
    drop(waiting(address, open(address, AT_ONCE).await).await);
    all_wait(address, 0).await;
    let before = server.memory_bytes(Memory::Resident);
    let workers = waiting(address, open(address, WORKERS).await).await;
    let taken = server.memory_bytes(Memory::Resident).saturating_sub(before) / WORKERS;

    let busy_before = server.process().processor_time();
    sleep(QUIET).await;
    let busy = server.process().processor_time() - busy_before;
    let mut answers: JoinSet<Value> = workers.into_iter().map(answered).collect();
    let mut woken = woken(&server, &mut answers).await;
    woken.sort();
    let (median, slowest) = (woken[JOBS / 2], woken[JOBS - 1]);
    let taken_kib = taken as f64 / 1024.0;
    println!(
        "{taken_kib:.1} KiB a worker, busy {busy:?} of {QUIET:?}, woken after {median:?}, {slowest:?} at most"
    );
    assert!(taken < WORKER_BYTES_MAX, "{taken}");
    assert!(busy < BUSY_MAX, "{busy:?}");
    assert!(median < WOKEN_WITHIN, "{woken:?}");

    let began = Instant::now();
    server.signal(Signal::TERM);
    for ending in answers.join_all().await {
        assert_eq!((&ending["leases"], &ending["directive"]), (&json!([]), &json!("quiet")), "{ending}");
    }
    let told = began.elapsed();
    server.exit().await.expect_code(0);
    println!("all were told within {told:?}, and the server was gone after {:?}", began.elapsed());
    assert!(began.elapsed() < DRAINED_WITHIN, "{:?}", began.elapsed());
}

async fn open(address: SocketAddr, count: usize) -> Vec<RawConnection> {
    let mut opened = Vec::new();
    while opened.len() < count {
        let opening: JoinSet<RawConnection> = (0..AT_ONCE.min(count - opened.len()))
            .map(|_| async move { RawConnection::open(address).await.expect("a connection") })
            .collect();
        opened.extend(opening.join_all().await);
    }
    opened
}

/// Has each of them ask for a job, in this order, and waits until all wait.
async fn waiting(address: SocketAddr, mut workers: Vec<RawConnection>) -> Vec<RawConnection> {
    let body = json!({ "worker": "w", "wait_ms": 30_000 }).to_string();
    for (n, worker) in workers.iter_mut().enumerate() {
        worker.post("/v1/leases", &body).await.expect("the request is sent");
        // Only so many may be looked at, at once.
        if (n + 1) % AT_ONCE == 0 {
            all_wait(address, n + 1).await;
        }
    }
    workers
}

async fn all_wait(address: SocketAddr, workers: usize) {
    let line = format!("steadfast_http_requests_in_flight {}", workers + 1);
    eventually("all wait", || async {
        let mut connection = RawConnection::open(address).await.ok()?;
        connection.get("/metrics").await.ok()?;
        let text = String::from_utf8(connection.answer().await.ok()?.body).ok()?;
        text.lines().any(|found| found == line).then_some(())
    })
    .await;
}

async fn answered(mut worker: RawConnection) -> Value {
    let answer = worker.answer().await.expect("an answer");
    assert_eq!(answer.status, 200);
    answer.json()
}

/// Submits jobs one after another; each goes to one worker. How long each took, from before its submit.
async fn woken(server: &Server, answers: &mut JoinSet<Value>) -> Vec<Duration> {
    let (client, history, nothing) = (server.client(), History::new(), json!({}));
    let mut took = Vec::new();
    for _ in 0..JOBS {
        let began = Instant::now();
        let (submitted, given) = tokio::join!(history.submit(&client, "any", &nothing), answers.join_next());
        took.push(began.elapsed());
        let (job, given) = (submitted.expect("room"), given.expect("workers wait").expect("an answer"));
        assert_eq!(given["leases"][0]["job"]["id"], json!(job.id));
    }
    took
}
