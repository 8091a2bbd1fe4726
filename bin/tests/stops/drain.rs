//! SIGTERM in the middle of a flood, watched from plain sockets: what was promised stays promised, and
//! nobody sees half an answer.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use steadfast_domain::JobState;
use steadfast_testkit::eventually;
use steadfast_testkit::gate::{Fate, Gate};
use steadfast_testkit::harness::{Server, Signal, given_server};
use steadfast_testkit::history::{
    Evidence, Expected, History, Marked as _, Told, all_jobs, told_by, until_all_ended,
};
use steadfast_testkit::raw::{NoAnswer, RawAnswer, RawConnection};
use tokio::task::JoinSet;

const PROGRAM: &str = env!("CARGO_BIN_EXE_steadfast");
const CONNECTIONS: usize = 64;
/// Every slot of the pool is taken by a held job, so that the drain has something to wait for and the
/// flood's jobs stay queued.
const RUNNING: usize = 8;
/// Accepted submits before the signal, so that it comes in the middle of the flood.
const BEFORE: usize = 500;
/// Refused submits before the held jobs are released.
const REFUSED: usize = 3 * CONNECTIONS;

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_in_a_flood_loses_nothing_and_cuts_no_answer() {
    let gate = Gate::closed().await;
    let mut server = given_server(PROGRAM).concurrency(RUNNING).start().await;
    let history = Arc::new(History::new());
    for _ in 0..RUNNING {
        let running = history.submit(&server.client(), "http", &gate.payload()).await;
        running.expect("an empty server has room");
    }
    gate.until_held(RUNNING).await;

    let mut flood = Flood::start(server.address(), &history);
    flood.until_accepted(BEFORE).await;
    server.signal(Signal::TERM);
    flood.until_refused(REFUSED).await;
    assert_drains_openly(server.address()).await;
    assert_eq!(gate.held(), RUNNING, "running jobs were let run");
    assert!(server.process().is_running(), "the drain waits for them");

    gate.open();
    let exit = server.exit().await.expect_code(0);
    flood.assert_whole().await;
    assert!(gate.deliveries().iter().all(|delivery| delivery.fate == Fate::Answered));
    assert_eq!(exit.ledger()["jobs_finished"], json!(RUNNING));
    assert_eq!(exit.ledger()["jobs_handed_back"], json!([]));

    assert_all_complete_after_restart(&mut server, &history, &gate).await;
}

/// While the drain waits, new connections are served: alive, not ready, and no longer accepting.
async fn assert_drains_openly(address: SocketAddr) {
    let health = ask(address, "/healthz").await;
    assert_eq!((health.status, &health.json()["status"]), (200, &json!("alive")));
    assert_eq!(health.json()["phase"], json!("draining"));
    let ready = ask(address, "/readyz").await;
    assert_eq!((ready.status, &ready.json()["code"]), (503, &json!("not_ready")));
    assert!(ready.header("retry-after").is_some());
    assert!(ready.closes() && health.closes(), "answers say that the connection ends");
}

async fn ask(address: SocketAddr, path: &str) -> RawAnswer {
    let mut connection = RawConnection::open(address).await.expect("connections are accepted");
    connection.get(path).await.expect("the request is sent");
    connection.answer().await.expect("a whole answer")
}

async fn assert_all_complete_after_restart(server: &mut Server, history: &History, gate: &Gate) {
    server.start_again().await;
    let client = server.client();
    until_all_ended(&client).await;
    let (jobs, deliveries) = (all_jobs(&client).await, gate.deliveries());
    let evidence = Evidence { jobs: &jobs, deliveries: Some(&deliveries), handed_back: &[] };
    history.assert_kept(evidence, Expected::Ended);
    for job in &jobs {
        assert_eq!(job.state, JobState::Completed, "{job:?}");
        assert_eq!(job.attempt, 1, "ran once: {job:?}");
        assert_eq!(job.interruptions, 0, "was processing at the exit: {job:?}");
    }
    assert_eq!(deliveries.len(), RUNNING);
}

/// Clients that submit one job after the other, each on a connection of its own which it keeps until the
/// server says `Connection: close`, and then opens anew until no one listens any more.
struct Flood {
    told: Arc<Counts>,
    clients: JoinSet<Vec<String>>,
}

#[derive(Default)]
struct Counts {
    accepted: AtomicUsize,
    refused: AtomicUsize,
}

impl Flood {
    fn start(address: SocketAddr, history: &Arc<History>) -> Self {
        let told = Arc::new(Counts::default());
        let mut clients = JoinSet::new();
        for _ in 0..CONNECTIONS {
            clients.spawn(submit_until_refused_connection(address, Arc::clone(history), Arc::clone(&told)));
        }
        Self { told, clients }
    }

    async fn until_accepted(&self, count: usize) {
        eventually("the flood is under way", async || {
            (self.told.accepted.load(Ordering::Relaxed) >= count).then_some(())
        })
        .await;
    }

    async fn until_refused(&self, count: usize) {
        eventually("submits are refused by the drain", async || {
            (self.told.refused.load(Ordering::Relaxed) >= count).then_some(())
        })
        .await;
    }

    /// Waits for every client's end, when the listener is gone.
    async fn assert_whole(&mut self) {
        let mut faults = Vec::new();
        while let Some(client) = self.clients.join_next().await {
            faults.extend(client.expect("a client does not panic"));
        }
        assert!(
            faults.is_empty(),
            "{} faults, the first: {:?}",
            faults.len(),
            &faults[..faults.len().min(5)]
        );
    }
}

/// One client; what it saw that it must not see.
async fn submit_until_refused_connection(
    address: SocketAddr,
    history: Arc<History>,
    told: Arc<Counts>,
) -> Vec<String> {
    let payload = json!({ "from": "the flood" });
    let mut faults = Vec::new();
    loop {
        match RawConnection::open(address).await {
            Ok(mut connection) => {
                if let Err(fault) = submit_until_closed(&mut connection, &history, &told, &payload).await {
                    faults.push(fault);
                }
            }
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => return faults,
            Err(error) => faults.push(format!("connecting: {error}")),
        }
    }
}

async fn submit_until_closed(
    connection: &mut RawConnection,
    history: &History,
    told: &Counts,
    payload: &Value,
) -> Result<(), String> {
    loop {
        let mark = history.begin(1);
        let sent = connection.post("/v1/jobs", &mark.body("echo", payload)).await;
        sent.map_err(|error| format!("sending: {error}"))?;
        let answer = match connection.answer().await {
            Ok(answer) => answer,
            Err(NoAnswer::Eof) => {
                // The request crossed the server's FIN: then it did nothing.
                history.told(mark, Told::Refused);
                return Ok(());
            }
            Err(fault) => return Err(format!("the answer: {fault}")),
        };
        history.told(mark, told_by(&answer));
        match (answer.status, answer.json()["code"].as_str()) {
            (202, _) => told.accepted.fetch_add(1, Ordering::Relaxed),
            (503, Some("shutting_down")) => told.refused.fetch_add(1, Ordering::Relaxed),
            other => return Err(format!("answered {other:?}")),
        };
        if answer.closes() {
            return match connection.until_eof().await {
                Ok(rest) if rest.is_empty() => Ok(()),
                other => Err(format!("after the last answer: {other:?}")),
            };
        }
    }
}
