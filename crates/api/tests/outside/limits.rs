use std::time::Duration;

use tokio::time::Instant;

use crate::faulty_store::Fault;
use crate::harness::{given_outside, problem, request};

const JOB: &str = r#"{"kind":"plain"}"#;
/// How long a scraper waits, as a rule.
const PROBE_PATIENCE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn health_and_control_answer_while_submits_are_at_their_limit() {
    let outside = given_outside().config(|config| config.requests_max = 2).start().await;
    let id = outside.submitted().await;
    outside.store.set(Fault::Holds);
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut connection = outside.connect().await;
        connection.post("/v1/jobs", JOB).await.unwrap();
        outside.store.one_is_held().await;
        held.push(connection);
    }

    let refused = outside.post("/v1/jobs", JOB).await;
    assert_eq!(problem(&refused, "overloaded")["outcome"], "none");
    problem(&outside.get(&format!("/v1/jobs/{id}")).await, "overloaded");
    for path in ["/livez", "/healthz", "/readyz", "/metrics", "/"] {
        assert_eq!(outside.get(path).await.status, 200, "{path}");
    }
    assert_eq!(outside.post(&format!("/v1/jobs/{id}/cancel"), "").await.status, 200);
    assert_eq!(outside.post("/v1/queues/default/pause", "").await.status, 200);
    assert_eq!(outside.post("/v1/drain", "").await.status, 202);

    for mut connection in held {
        outside.store.release();
        assert_eq!(connection.answer().await.unwrap().status, 202);
    }
    outside.store.set(Fault::None);
    assert_eq!(outside.post("/v1/jobs", JOB).await.status, 202);
}

#[tokio::test]
async fn bodies_that_do_not_come_keep_nobody_out() {
    let outside = given_outside().config(|config| config.requests_max = 2).start().await;
    let mut stalled = Vec::new();
    for _ in 0..20 {
        let mut connection = outside.connect().await;
        let head = request("POST", "/v1/jobs", &[("Content-Type", "application/json")], JOB.as_bytes());
        connection.send(&head[..head.len() - 1]).await.unwrap();
        stalled.push(connection);
    }
    outside.in_flight(stalled.len()).await;
    outside.submitted().await;
    for mut connection in stalled {
        connection.send(b"}").await.unwrap();
        assert_eq!(connection.answer().await.unwrap().status, 202);
    }
}

#[tokio::test]
async fn a_client_that_goes_away_does_not_take_its_submit_with_it() {
    let outside = given_outside().start().await;
    outside.store.set(Fault::Holds);
    let mut gone = outside.connect().await;
    gone.post("/v1/jobs", JOB).await.unwrap();
    outside.store.one_is_held().await;
    drop(gone);
    outside.in_flight(0).await;
    outside.store.release();
    steadfast_testkit::eventually("the job is stored", || async {
        let jobs = outside.get("/v1/jobs").await.json();
        (jobs["jobs"].as_array().map(Vec::len) == Some(1)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_clients_that_go_away_leave_behind_stays_within_the_limits() {
    let outside = given_outside().config(|config| config.requests_max = 2).start().await;
    outside.store.set(Fault::Holds);
    for path in ["/v1/jobs", "/v1/jobs/batch"] {
        let body = if path == "/v1/jobs" { JOB.to_owned() } else { format!(r#"{{"jobs":[{JOB}]}}"#) };
        let mut gone = outside.connect().await;
        gone.post(path, &body).await.unwrap();
        outside.store.one_is_held().await;
    }
    outside.in_flight(0).await;

    problem(&outside.post("/v1/jobs", JOB).await, "overloaded");

    outside.store.set(Fault::None);
    outside.store.release();
    outside.store.release();
    steadfast_testkit::eventually("their places are free again", || async {
        (outside.post("/v1/jobs", JOB).await.status == 202).then_some(())
    })
    .await;
}

#[tokio::test]
async fn probes_and_scrapes_answer_before_a_store_that_does_not() {
    let outside = given_outside().start().await;
    outside.submitted().await;
    outside.get("/metrics").await;
    outside.store.set(Fault::Silent);
    let asked = Instant::now();
    assert_eq!(outside.get("/readyz").await.status, 200, "not answering yet counts for nothing");
    let scrape = outside.get("/metrics").await;
    assert!(asked.elapsed() < PROBE_PATIENCE, "{:?}", asked.elapsed());
    let text = String::from_utf8(scrape.body).unwrap();
    assert!(text.contains("steadfast_http_connections") && !text.contains("steadfast_jobs{"), "{text}");
    assert!(text.contains("steadfast_jobs_submitted_total{"), "what was counted stays\n{text}");
}
