//! Workers that wait for jobs, and those that go away meanwhile.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use steadfast_domain::JobId;
use steadfast_lifecycle::Phase;
use steadfast_testkit::eventually;
use steadfast_testkit::raw::RawConnection;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

use crate::harness::{Outside, PULL, given_outside, id_of, problem, request};

const JSON: (&str, &str) = ("Content-Type", "application/json");

async fn pulled(outside: &Outside, kind: &str, payload: Value) -> JobId {
    let body = json!({ "kind": kind, "queue": PULL, "payload": payload });
    let answer = outside.post("/v1/jobs", &body.to_string()).await;
    assert_eq!(answer.status, 202, "{:?}", answer.json());
    id_of(&answer)
}

/// The request of a worker that waits for a job of these kinds.
fn waiting(kinds: &[&str], wait: Duration) -> Vec<u8> {
    let body = json!({ "worker": "w", "kinds": kinds, "wait_ms": wait.as_millis() as u64 });
    request("POST", "/v1/leases", &[JSON], body.to_string().as_bytes())
}

/// A worker that waits, the last of so many.
async fn waits(outside: &Outside, kinds: &[&str], last_of: usize) -> RawConnection {
    let mut connection = outside.connect().await;
    connection.send(&waiting(kinds, Duration::from_secs(30))).await.unwrap();
    outside.in_flight(last_of).await;
    connection
}

/// The jobs a worker was given.
async fn given(connection: &mut RawConnection) -> Vec<String> {
    let answer = connection.answer().await.unwrap();
    assert_eq!(answer.status, 200, "{:?}", answer.json());
    let leases = answer.json()["leases"].as_array().unwrap().clone();
    leases.iter().map(|lease| lease["job"]["id"].as_str().unwrap().to_owned()).collect()
}

/// Waits until the job is back in its queue as if nobody had ever taken it.
async fn is_untouched(outside: &Outside, id: JobId) {
    eventually("the job is queued again", || async {
        let job = outside.get(&format!("/v1/jobs/{id}")).await.json();
        assert_eq!(job["interruptions"], 0);
        (job["state"] == "queued" && job["attempt"] == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_waiting_worker_is_given_the_next_job() {
    let outside = given_outside().start().await;
    let mut worker = waits(&outside, &[], 1).await;
    outside.submitted().await;
    outside.in_flight(1).await;
    let id = pulled(&outside, "any", json!({})).await;
    assert_eq!(given(&mut worker).await, [id.to_string()]);
}

#[tokio::test]
async fn a_worker_for_which_nothing_comes_is_told_so_in_time() {
    let outside = given_outside().start().await;
    let answer = outside.send(&waiting(&[], Duration::from_millis(20))).await;
    assert_eq!(answer.json(), json!({ "leases": [], "directive": "run" }));
}

#[tokio::test]
async fn each_job_goes_to_the_worker_that_has_waited_for_longest_and_runs_its_kind() {
    let outside = given_outside().start().await;
    let mut first = waits(&outside, &["a"], 1).await;
    let mut other = waits(&outside, &["b"], 2).await;
    let mut second = waits(&outside, &["a"], 3).await;
    let mut third = waits(&outside, &["a"], 4).await;
    for (worker, left) in [(&mut first, 3), (&mut second, 2), (&mut third, 1)] {
        let id = pulled(&outside, "a", json!({})).await;
        assert_eq!(given(worker).await, [id.to_string()]);
        outside.in_flight(left).await;
    }
    let id = pulled(&outside, "b", json!({})).await;
    assert_eq!(given(&mut other).await, [id.to_string()]);
}

#[tokio::test]
async fn many_jobs_at_once_wake_as_many_workers() {
    let outside = given_outside().start().await;
    let mut workers = Vec::new();
    for n in 1..=10 {
        workers.push(waits(&outside, &[], n).await);
    }
    let jobs = vec![json!({ "kind": "any", "queue": PULL }); 10];
    let answer = outside.post("/v1/jobs/batch", &json!({ "jobs": jobs }).to_string()).await;
    assert_eq!(answer.status, 202);
    let mut taken = Vec::new();
    for worker in &mut workers {
        taken.extend(given(worker).await);
    }
    taken.sort();
    taken.dedup();
    assert_eq!(taken.len(), 10);
}

#[tokio::test]
async fn a_job_that_is_handed_back_or_resumed_wakes_a_worker_too() {
    let outside = given_outside().start().await;
    let id = pulled(&outside, "any", json!({})).await;
    let lease = outside.post("/v1/leases", r#"{"worker":"w"}"#).await.json()["leases"][0]["lease"].clone();
    let mut worker = waits(&outside, &[], 1).await;
    outside.post(&format!("/v1/leases/{}/release", lease.as_str().unwrap()), "{}").await;
    assert_eq!(given(&mut worker).await, [id.to_string()]);

    outside.post(&format!("/v1/queues/{PULL}/pause"), "").await;
    let id = pulled(&outside, "any", json!({})).await;
    let mut worker = waits(&outside, &[], 1).await;
    outside.post(&format!("/v1/queues/{PULL}/resume"), "").await;
    assert_eq!(given(&mut worker).await, [id.to_string()]);
}

#[tokio::test]
async fn waiting_workers_hold_no_request_and_are_bounded_like_whatever_is_held() {
    let limits = |config: &mut steadfast_api::Config| (config.requests_max, config.held_max) = (1, 2);
    let outside = given_outside().config(limits).start().await;
    let mut workers = [waits(&outside, &[], 1).await, waits(&outside, &[], 2).await];
    let refused = outside.send(&waiting(&[], Duration::from_secs(30))).await;
    problem(&refused, "overloaded");
    for worker in &mut workers {
        let id = pulled(&outside, "any", json!({})).await;
        assert_eq!(given(worker).await, [id.to_string()]);
    }
}

#[tokio::test]
async fn when_the_server_drains_nobody_waits_any_longer() {
    let outside = given_outside().start().await;
    let mut workers = [waits(&outside, &[], 1).await, waits(&outside, &["a"], 2).await];
    outside.phase.advance(Phase::LameDuck);
    for worker in &mut workers {
        let answer = worker.answer().await.unwrap().json();
        assert_eq!((&answer["leases"], &answer["directive"]), (&json!([]), &json!("quiet")));
        assert!(answer["retry_after_ms"].is_number());
    }
    outside.app.requests().idle().await;
}

#[tokio::test]
async fn a_worker_that_goes_away_while_it_waits_takes_nothing() {
    let outside = given_outside().start().await;
    let gone = waits(&outside, &[], 1).await;
    let mut stays = waits(&outside, &[], 2).await;
    drop(gone);
    outside.in_flight(1).await;
    let id = pulled(&outside, "any", json!({})).await;
    assert_eq!(given(&mut stays).await, [id.to_string()]);
    assert_eq!(outside.get(&format!("/v1/jobs/{id}")).await.json()["interruptions"], 0);
}

/// Both come at once: whether the server hears of the end first, or only when it has a job for the worker, nothing
/// is lost.
#[tokio::test]
async fn a_worker_that_goes_away_as_its_job_comes_leaves_it_as_it_was() {
    let outside = given_outside().start().await;
    for _ in 0..50 {
        goes_away_as_its_job_comes(&outside, false).await;
    }
}

/// One worker, and whether it says so.
pub(crate) async fn goes_away_as_its_job_comes(outside: &Outside, says_so: bool) {
    let mut gone = waits(outside, &[], 1).await;
    let mut submit = outside.connect().await;
    if says_so {
        gone.close().await.unwrap();
    }
    drop(gone);
    let body = json!({ "kind": "any", "queue": PULL }).to_string();
    submit.post("/v1/jobs", &body).await.unwrap();
    let id = id_of(&submit.answer().await.unwrap());
    is_untouched(outside, id).await;
    outside.post(&format!("/v1/jobs/{id}/cancel"), "").await;
    outside.in_flight(0).await;
}

#[tokio::test]
async fn jobs_whose_answer_cannot_be_sent_go_back_as_they_were() {
    const JOBS: usize = 60;
    let outside = given_outside().start().await;
    let payload = json!("x".repeat(200 * 1024));
    let mut ids = Vec::new();
    for _ in 0..JOBS {
        ids.push(pulled(&outside, "any", payload.clone()).await);
    }
    let mut socket = slow_reader(outside.address).await;
    let body = json!({ "worker": "w", "limit": JOBS }).to_string();
    socket.write_all(&request("POST", "/v1/leases", &[JSON], body.as_bytes())).await.unwrap();
    // The answer has begun, and more of it is on its way than the sockets take in.
    socket.read_u8().await.unwrap();
    socket.set_zero_linger().unwrap();
    drop(socket);
    for id in ids {
        is_untouched(&outside, id).await;
    }
}

#[tokio::test]
async fn an_answer_is_not_larger_than_its_jobs_may_be() {
    let outside = given_outside().start().await;
    let payload = json!("x".repeat(250 * 1024));
    for _ in 0..80 {
        pulled(&outside, "any", payload.clone()).await;
    }
    let first = outside.post("/v1/leases", r#"{"worker":"w","limit":1000}"#).await.json();
    let first = first["leases"].as_array().unwrap().len();
    assert!((32..=64).contains(&first), "{first}");
    let rest = outside.post("/v1/leases", r#"{"worker":"w","limit":1000}"#).await.json();
    assert_eq!(rest["leases"].as_array().unwrap().len(), 80 - first);
}

/// A connection that takes in next to nothing.
async fn slow_reader(address: SocketAddr) -> tokio::net::TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 * 1024).unwrap();
    socket.connect(address).await.unwrap()
}
