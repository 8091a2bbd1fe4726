use steadfast_lifecycle::Phase;
use steadfast_testkit::raw::RawConnection;

use crate::harness::{Outside, given_outside, id_of, problem, request};

/// A connection on which an answer is being held.
async fn held(outside: &Outside, request: &[u8]) -> RawConnection {
    let mut connection = outside.connect().await;
    connection.send(request).await.unwrap();
    outside.in_flight(1).await;
    connection
}

fn waiting_submit(wait: &str) -> Vec<u8> {
    let headers = [("Content-Type", "application/json"), ("Prefer", wait)];
    request("POST", "/v1/jobs", &headers, br#"{"kind":"plain"}"#)
}

#[tokio::test]
async fn a_long_poll_is_answered_when_the_job_ends() {
    let outside = given_outside().start().await;
    let id = outside.submitted().await;
    let mut poll = held(&outside, &request("GET", &format!("/v1/jobs/{id}?wait_ms=30000"), &[], b"")).await;
    outside.complete_next().await;
    let answer = poll.answer().await.unwrap();
    assert_eq!((answer.status, &answer.json()["state"]), (200, &"completed".into()));
    assert_eq!(answer.json()["result"], 7);
}

#[tokio::test]
async fn a_long_poll_ends_with_its_time() {
    let outside = given_outside().start().await;
    let id = outside.submitted().await;
    let answer = outside.get(&format!("/v1/jobs/{id}?wait_ms=20")).await;
    assert_eq!((answer.status, &answer.json()["state"]), (200, &"queued".into()));
    let unknown = "00000000-0000-7000-8000-000000000000";
    problem(&outside.get(&format!("/v1/jobs/{unknown}?wait_ms=30000")).await, "job_not_found");
}

#[tokio::test]
async fn a_submit_that_prefers_to_wait_is_answered_with_the_end() {
    let outside = given_outside().start().await;
    let mut submit = held(&outside, &waiting_submit("wait=30")).await;
    outside.complete_next().await;
    let answer = submit.answer().await.unwrap();
    assert_eq!((answer.status, &answer.json()["state"]), (200, &"completed".into()));
    assert_eq!(answer.header("preference-applied"), Some("wait=30"));
    assert_eq!(answer.json()["durability"], "memory");
}

#[tokio::test]
async fn what_is_held_is_answered_when_the_drain_begins() {
    let outside = given_outside().start().await;
    let id = outside.submitted().await;
    let mut poll = held(&outside, &request("GET", &format!("/v1/jobs/{id}?wait_ms=30000"), &[], b"")).await;
    let mut submit = outside.connect().await;
    submit.send(&waiting_submit("wait=30")).await.unwrap();
    outside.in_flight(2).await;
    outside.phase.advance(Phase::LameDuck);
    outside.in_flight(2).await;

    outside.phase.advance(Phase::Draining);
    let polled = poll.answer().await.unwrap();
    assert_eq!((polled.status, id_of(&polled)), (200, id));
    let submitted = submit.answer().await.unwrap();
    assert_eq!((submitted.status, &submitted.json()["state"]), (202, &"queued".into()));
    assert!(polled.closes() && submitted.closes());
    outside.app.requests().idle().await;
}

#[tokio::test]
async fn what_waits_holds_no_request_place() {
    let outside = given_outside().config(|config| config.requests_max = 1).start().await;
    let id = outside.submitted().await;
    let mut poll = held(&outside, &request("GET", &format!("/v1/jobs/{id}?wait_ms=30000"), &[], b"")).await;
    let mut submit = outside.connect().await;
    submit.send(&waiting_submit("wait=30")).await.unwrap();
    outside.in_flight(2).await;
    assert_eq!(outside.get(&format!("/v1/jobs/{id}")).await.status, 200);
    outside.complete_next().await;
    outside.complete_next().await;
    assert_eq!(poll.answer().await.unwrap().status, 200);
    assert_eq!(submit.answer().await.unwrap().status, 200);
}

#[tokio::test]
async fn without_a_slot_a_poll_is_refused_and_a_submit_answered_at_once() {
    let outside = given_outside().config(|config| config.held_max = 0).start().await;
    let id = outside.submitted().await;
    problem(&outside.get(&format!("/v1/jobs/{id}?wait_ms=1000")).await, "overloaded");
    problem(&outside.get(&format!("/v1/jobs/{id}/events")).await, "overloaded");
    let answer = outside.send(&waiting_submit("wait=30")).await;
    assert_eq!((answer.status, answer.header("preference-applied")), (202, None));
}
