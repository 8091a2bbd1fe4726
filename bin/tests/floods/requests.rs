use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use steadfast_testkit::harness::{Memory, given_server, may_open};
use steadfast_testkit::history::{Evidence, Expected, History, Marked as _, all_jobs, told_by};
use steadfast_testkit::raw::RawConnection;
use tokio::task::JoinSet;

use super::{PROGRAM, ask, what_matters_is_answered};

const REQUESTS_MAX: usize = 8;
const CAPACITY: usize = 20;
const CLIENTS: usize = 200;
/// Submits of each client in each wave, all sent before an answer is read: 20,000 in all.
const SUBMITS: usize = 20;
const SETTLED: usize = 1;
const WAVES: usize = 5;
/// What memory may grow by once the server has seen a wave: less than the submits of one wave.
const GROWTH_BYTES_MAX: usize = 16 << 20;
const PAYLOAD_BYTES: usize = 1_000;

#[tokio::test(flavor = "multi_thread")]
async fn twenty_thousand_submits_into_eight_places() {
    may_open(2_000);
    let mut server = given_server(PROGRAM)
        .flag("--requests-max", REQUESTS_MAX.to_string())
        .capacity(CAPACITY)
        .concurrency(1)
        .start()
        .await;
    let (address, history) = (server.address(), Arc::new(History::new()));
    let hour = json!({ "ms": 3_600_000 });
    let first = history.submit(&server.client(), "sleep", &hour).await.expect("a job");
    let answered = Arc::new(AtomicUsize::new(0));
    let mut memory = Vec::new();
    for _ in 0..WAVES {
        let mut flood = JoinSet::new();
        for _ in 0..CLIENTS {
            flood.spawn(submit_many(address, Arc::clone(&history), Arc::clone(&answered)));
        }
        while answered.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        what_matters_is_answered(address, &first.id.to_string()).await;
        flood.join_all().await;
        memory.push(server.memory_bytes(Memory::Resident));
    }
    assert_eq!(answered.load(Ordering::Relaxed), WAVES * CLIENTS * SUBMITS);
    let growth = memory[WAVES - 1].saturating_sub(memory[SETTLED - 1]);
    assert!(growth < GROWTH_BYTES_MAX, "{memory:?}");

    let jobs = all_jobs(&server.client()).await;
    history.assert_kept(Evidence { jobs: &jobs, ..Evidence::default() }, Expected::Any);
    assert_eq!(ask(address, "POST", "/v1/drain").await.expect("a whole answer").status, 202);
    server.exit().await.expect_code(0);
}

/// Sends all its submits at once, then reads all their answers.
async fn submit_many(address: SocketAddr, history: Arc<History>, answered: Arc<AtomicUsize>) {
    let mut connection = RawConnection::open(address).await.expect("a connection");
    let payload = json!("x".repeat(PAYLOAD_BYTES));
    let marks: Vec<_> = (0..SUBMITS).map(|_| history.begin(1)).collect();
    for mark in &marks {
        connection.post("/v1/jobs", &mark.body("echo", &payload)).await.expect("it is sent");
    }
    for mark in marks {
        let answer = connection.answer().await.expect("a whole answer");
        assert!(matches!(answer.status, 202 | 429 | 503), "{}: {:?}", answer.status, answer.json());
        history.told(mark, told_by(&answer));
        answered.fetch_add(1, Ordering::Relaxed);
    }
}
