use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use steadfast_testkit::harness::Server;
use steadfast_testkit::proxy::{Cut, Proxy};
use steadfast_testkit::raw::RawConnection;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::workers::given_server_without_workers;

const JOBS: usize = 1_000;
const WORKERS: usize = 20;
/// Connections are cut each time so many requests were sent since.
const CUT_EVERY: u32 = 25;
/// How an attempt ends, and the state that follows.
const ENDS: [(&str, &str, &str); 4] = [
    ("complete", r#"{"result":{"n":1}}"#, "completed"),
    ("fail", r#"{"code":"boom","message":"no","retryable":false}"#, "dead"),
    ("fail", r#"{"code":"boom","message":"not yet"}"#, "retryable"),
    ("release", r#"{"checkpoint":[7]}"#, "queued"),
];

/// What workers say over a network that loses answers.
struct Network {
    proxy: Proxy,
    sent: Semaphore,
    lost: AtomicUsize,
}

#[tokio::test(flavor = "multi_thread")]
async fn settlements_whose_answers_are_lost_are_repeated_and_none_is_called_lost() {
    let server = given_server_without_workers().start().await;
    let leases = leased(&server).await;
    let network = Arc::new(Network {
        proxy: Proxy::to(server.address()).await,
        sent: Semaphore::new(0),
        lost: AtomicUsize::new(0),
    });
    let mut cutting = JoinSet::new();
    let cut = Arc::clone(&network);
    cutting.spawn(async move {
        loop {
            cut.sent.acquire_many(CUT_EVERY).await.expect("it is never closed").forget();
            cut.proxy.cut(Cut::Reset);
        }
    });

    let mut workers = JoinSet::new();
    for (n, leases) in leases.chunks(JOBS / WORKERS).enumerate() {
        let (network, leases) = (Arc::clone(&network), leases.to_vec());
        workers.spawn(async move {
            for (at, lease) in leases.iter().enumerate() {
                let end = ENDS[(n + at) % ENDS.len()];
                let first = network.settled(lease, end).await;
                assert_eq!(first, network.settled(lease, end).await, "{end:?}");
                assert_eq!(first["state"], end.2);
            }
        });
    }
    while let Some(worker) = workers.join_next().await {
        worker.expect("no settlement was refused");
    }
    let lost = network.lost.load(Ordering::SeqCst);
    println!("{JOBS} settlements, each told twice, {lost} answers lost");
    assert!(lost > JOBS / 10, "{lost}");
}

/// So many jobs, all leased.
async fn leased(server: &Server) -> Vec<String> {
    let jobs = vec![json!({ "kind": "any" }); JOBS];
    let submitted = asked(server.address(), "/v1/jobs/batch", &json!({ "jobs": jobs }).to_string()).await;
    assert_eq!(submitted["jobs"].as_array().map(Vec::len), Some(JOBS));
    // None ends before the last of them is settled, however slow the machine is.
    let body = json!({ "worker": "w", "limit": JOBS, "lease_ms": 3_600_000 }).to_string();
    let leases = asked(server.address(), "/v1/leases", &body).await["leases"].take();
    let leases = leases.as_array().expect("leases").iter();
    let leases: Vec<String> =
        leases.map(|lease| lease["lease"].as_str().expect("a lease").to_owned()).collect();
    assert_eq!(leases.len(), JOBS);
    leases
}

async fn asked(address: SocketAddr, path: &str, body: &str) -> Value {
    let mut connection = RawConnection::open(address).await.expect("a connection");
    connection.post(path, body).await.expect("the request is sent");
    connection.answer().await.expect("an answer").json()
}

impl Network {
    /// Says so until an answer comes through, which says that it was taken.
    async fn settled(&self, lease: &str, (verb, body, _): (&str, &str, &str)) -> Value {
        loop {
            match self.said(&format!("/v1/leases/{lease}/{verb}"), body).await {
                Some((status, answer)) => {
                    assert_eq!(status, 200, "{verb} {answer}");
                    return answer;
                }
                None => _ = self.lost.fetch_add(1, Ordering::SeqCst),
            }
        }
    }

    /// The answer, if it comes.
    async fn said(&self, path: &str, body: &str) -> Option<(u16, Value)> {
        let mut connection = RawConnection::open(self.proxy.address()).await.ok()?;
        connection.post(path, body).await.ok()?;
        self.sent.add_permits(1);
        let answer = connection.answer().await.ok()?;
        Some((answer.status, answer.json()))
    }
}
