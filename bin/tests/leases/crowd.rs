use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use steadfast_domain::limits::WAIT_MAX;
use steadfast_testkit::harness::{Memory, Server, Signal, may_open};
use steadfast_testkit::history::History;
use steadfast_testkit::raw::RawConnection;
use steadfast_testkit::{PATIENCE, eventually};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::workers::given_server_without_workers;

const WORKERS: usize = 10_000;
/// Opened at once.
const AT_ONCE: usize = 100;
/// The aim is half of it, in a release build.
const WORKER_BYTES_MAX: usize = 40 * 1024;
const JOBS: usize = 50;
/// From a submit to the job in the hands of a waiting worker: some milliseconds, and more on a busy machine.
const WOKEN_WITHIN: Duration = Duration::from_secs(1);
/// While nothing happens: for how long it is watched, and which part of that the server may be busy.
const QUIET: Duration = Duration::from_secs(3);
const BUSY_MAX: f64 = 0.1;
/// Watched so often, it was watched for longer than a worker waits.
const QUIET_TIMES: usize = 11;
/// How long the end of a drain may take: nobody is waited for.
const DRAINED_WITHIN: Duration = PATIENCE;

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
    let mut workers = waiting(address, open(address, WORKERS).await).await;
    let taken = server.memory_bytes(Memory::Resident).saturating_sub(before) / WORKERS;

    let busy = busy(&mut server).await;
    let mut woken = woken(&server, &mut workers).await;
    woken.sort();
    let (median, slowest) = (woken[JOBS / 2], woken[JOBS - 1]);
    let taken_kib = taken as f64 / 1024.0;
    println!(
        "{taken_kib:.1} KiB a worker, busy for {busy:.3} of the time, woken after {median:?}, {slowest:?} at most"
    );
    assert!(taken < WORKER_BYTES_MAX, "{taken}");
    assert!(busy < BUSY_MAX, "{busy}");
    assert!(median < WOKEN_WITHIN, "{woken:?}");

    let began = Instant::now();
    server.signal(Signal::TERM);
    for ending in workers.join_all().await {
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

/// Has each of them ask for a job, and waits until all wait.
async fn waiting(address: SocketAddr, workers: Vec<RawConnection>) -> JoinSet<Value> {
    let mut waiting = JoinSet::new();
    for worker in workers {
        waiting.spawn(given(worker));
        // Only so many may be looked at, at once.
        if waiting.len() % AT_ONCE == 0 {
            all_wait(address, waiting.len()).await;
        }
    }
    waiting
}

async fn all_wait(address: SocketAddr, workers: usize) {
    let asking = workers + 1;
    eventually("all wait", || async {
        let mut connection = RawConnection::open(address).await.ok()?;
        connection.get("/metrics").await.ok()?;
        let text = String::from_utf8(connection.answer().await.ok()?.body).ok()?;
        let found = text.lines().find_map(|line| line.strip_prefix("steadfast_http_requests_in_flight "))?;
        (found.parse() == Ok(asking)).then_some(())
    })
    .await;
}

/// Asks until there is more to the answer than that its time is over.
async fn given(mut worker: RawConnection) -> Value {
    let body = json!({ "worker": "w", "wait_ms": WAIT_MAX.as_millis() }).to_string();
    loop {
        let asked = Instant::now();
        worker.post("/v1/leases", &body).await.expect("the request is sent");
        let answer = worker.answer().await.expect("an answer");
        assert_eq!(answer.status, 200);
        let answer = answer.json();
        if answer["leases"] != json!([]) || answer["directive"] != json!("run") {
            return answer;
        }
        assert!(asked.elapsed() >= WAIT_MAX, "woken for nothing: {:?}", asked.elapsed());
    }
}

/// For which part of the time the server is busy. Workers whose time is over ask again, and on a slow machine many may
/// while it is watched: then it is watched anew.
async fn busy(server: &mut Server) -> f64 {
    let mut least = f64::INFINITY;
    for _ in 0..QUIET_TIMES {
        let (began, before) = (Instant::now(), server.process().processor_time());
        sleep(QUIET).await;
        let busy = server.process().processor_time() - before;
        least = least.min(busy.as_secs_f64() / began.elapsed().as_secs_f64());
        if least < BUSY_MAX {
            break;
        }
    }
    least
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
