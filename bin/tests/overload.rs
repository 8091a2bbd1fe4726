//! More submits than there is room for: exactly as many are accepted as fit, and every other is refused at
//! once, with a reason and a time to come back, while those that fit are still held.
#![allow(clippy::expect_used, reason = "a panic is how a test fails")]

use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::{Value, json};
use steadfast_testkit::gate::Gate;
use steadfast_testkit::harness::{Given, Keep, Server, given_server};
use steadfast_testkit::history::{
    Evidence, Expected, History, Marked as _, all_jobs, told_by, until_all_ended,
};
use steadfast_testkit::raw::{RawAnswer, RawConnection};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

const PROGRAM: &str = env!("CARGO_BIN_EXE_steadfast");
const SUBMITS: usize = 60;
const ROOM: usize = 7;

#[tokio::test(flavor = "multi_thread")]
async fn sixty_submits_into_room_for_seven_jobs_in_sqlite() {
    let given = given_server(PROGRAM).store(Keep::Sqlite).capacity(ROOM);
    Overload::against(given).await.assert_refused_with("queue_full", ROOM as u64).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_submits_into_room_for_seven_jobs_in_memory() {
    let given = given_server(PROGRAM).store(Keep::Memory).capacity(ROOM);
    Overload::against(given).await.assert_refused_with("queue_full", ROOM as u64).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_submits_into_room_for_seven_payloads_in_sqlite() {
    by_bytes(Keep::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_submits_into_room_for_seven_payloads_in_memory() {
    by_bytes(Keep::Memory).await;
}

/// Room for seven payloads and for all but one byte of an eighth.
async fn by_bytes(store: Keep) {
    let gate = Gate::closed().await;
    let bytes = (ROOM + 1) * gate.payload().to_string().len() - 1;
    let given = given_server(PROGRAM).store(store).capacity_bytes(bytes);
    Overload::at(gate, given).await.assert_refused_with("queue_bytes_full", bytes as u64).await;
}

/// What sixty submits at the same moment were answered, with the accepted jobs held at the gate.
struct Overload {
    gate: Gate,
    server: Server,
    history: Arc<History>,
    answers: Vec<RawAnswer>,
}

impl Overload {
    async fn against(given: Given) -> Self {
        Self::at(Gate::closed().await, given).await
    }

    async fn at(gate: Gate, given: Given) -> Self {
        let server = given.concurrency(SUBMITS).start().await;
        let history = Arc::new(History::new());
        let answers = submit_at_once(server.address(), &history, gate.payload()).await;
        Self { gate, server, history, answers }
    }

    async fn assert_refused_with(self, code: &str, capacity: u64) {
        let (accepted, refused): (Vec<_>, Vec<_>) = self.answers.iter().partition(|a| a.status == 202);
        assert_eq!(accepted.len(), ROOM);
        assert_eq!(refused.len(), SUBMITS - ROOM);
        for answer in refused {
            assert_refusal(answer, code, capacity);
        }
        // Every answer above came while the seven were held: none has been let through yet.
        self.gate.until_held(ROOM).await;
        assert_eq!(self.gate.deliveries().len(), ROOM);
        let client = self.server.client();
        assert_eq!(all_jobs(&client).await.len(), ROOM);

        self.gate.open();
        until_all_ended(&client).await;
        self.history.submit(&client, "http", &self.gate.payload()).await.expect("there is room again");
        until_all_ended(&client).await;
        let (jobs, deliveries) = (all_jobs(&client).await, self.gate.deliveries());
        let evidence = Evidence { jobs: &jobs, deliveries: Some(&deliveries), handed_back: &[] };
        self.history.assert_kept(evidence, Expected::Ended);
    }
}

/// Sixty connections, all open before the first request goes out.
async fn submit_at_once(address: SocketAddr, history: &Arc<History>, payload: Value) -> Vec<RawAnswer> {
    let start = Arc::new(Barrier::new(SUBMITS));
    let mut submits = JoinSet::new();
    for _ in 0..SUBMITS {
        let (start, history, payload) = (Arc::clone(&start), Arc::clone(history), payload.clone());
        submits.spawn(async move {
            let mut connection = RawConnection::open(address).await.expect("a connection");
            let mark = history.begin(1);
            start.wait().await;
            connection.post("/v1/jobs", &mark.body("http", &payload)).await.expect("the request is sent");
            let answer = connection.answer().await.expect("a whole answer");
            history.told(mark, told_by(&answer));
            answer
        });
    }
    submits.join_all().await
}

fn assert_refusal(answer: &RawAnswer, code: &str, capacity: u64) {
    assert_eq!(answer.status, 429);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let problem = answer.json();
    assert_eq!(problem["code"], json!(code), "{problem}");
    assert_eq!(problem["type"], json!(format!("/problems/{code}")), "{problem}");
    assert_eq!(problem["status"], json!(429), "{problem}");
    assert_eq!(problem["outcome"], json!("none"), "{problem}");
    assert_eq!(problem["retryable"], json!(true), "{problem}");
    assert_eq!(problem["queue"], json!("default"), "{problem}");
    assert_eq!(problem["capacity"], json!(capacity), "{problem}");
    assert!(problem["depth"].as_u64().is_some_and(|depth| depth <= capacity), "{problem}");
    let after_ms = problem["retry_after_ms"].as_u64().expect("a time to come back");
    assert!((50..=60_000).contains(&after_ms), "{problem}");
    let after_s: u64 = answer.header("retry-after").expect("Retry-After").parse().expect("whole seconds");
    assert_eq!(after_s, after_ms.div_ceil(1_000), "{problem}");
}
