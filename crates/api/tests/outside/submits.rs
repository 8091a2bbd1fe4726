use steadfast_domain::JobState;
use steadfast_queue::store::End;

use crate::harness::{given_outside, id_of, problem};

const JSON: (&str, &str) = ("Content-Type", "application/json");

#[tokio::test]
async fn a_submit_is_answered_with_the_job_its_place_and_its_durability() {
    let outside = given_outside().start().await;
    let answer = outside.post("/jobs", r#"{"kind":"plain","payload":{"n":1},"tags":{"team":"a"}}"#).await;
    assert_eq!(answer.status, 202);
    let id = id_of(&answer);
    assert_eq!(answer.header("location"), Some(format!("/v1/jobs/{id}").as_str()));
    let mut submitted = answer.json();
    assert_eq!((&submitted["durability"], &submitted["payload_bytes"]), (&"memory".into(), &7.into()));
    assert!(submitted.get("deduplicated").is_none());

    // What is read later is the same, without what only the submit says.
    let read = outside.get(&format!("/v1/jobs/{id}")).await;
    submitted.as_object_mut().unwrap().remove("durability");
    assert_eq!(read.json(), submitted);
}

#[tokio::test]
async fn a_key_makes_one_job_of_many_submits() {
    let outside = given_outside().capacity(1, 1_000).start().await;
    let body = r#"{"kind":"plain"}"#;
    let bare = [JSON, ("Idempotency-Key", "order-7")];
    let quoted = [JSON, ("Idempotency-Key", "\"order-7\"")];
    let first = outside.request("POST", "/v1/jobs", &bare, body).await;
    assert_eq!((first.status, first.header("idempotency-replayed")), (202, None));
    // The queue is full by now; a replay needs no room.
    for (path, headers) in [("/v1/jobs", &quoted), ("/jobs", &bare)] {
        let again = outside.request("POST", path, headers, body).await;
        assert_eq!((again.status, again.header("idempotency-replayed")), (202, Some("true")));
        assert_eq!(again.json(), first.json());
    }
    let other = outside.request("POST", "/v1/jobs", &bare, r#"{"kind": "plain"}"#).await;
    assert_eq!(problem(&other, "idempotency_mismatch")["outcome"], "none");
}

#[tokio::test]
async fn a_unique_key_answers_with_the_live_job() {
    let outside = given_outside().start().await;
    let body = r#"{"kind":"plain","unique_key":"nightly"}"#;
    let first = outside.post("/v1/jobs", body).await;
    let second = outside.post("/v1/jobs", body).await;
    assert_eq!((second.status, id_of(&second)), (202, id_of(&first)));
    assert_eq!(second.json()["deduplicated"], true);
}

#[tokio::test]
async fn a_batch_is_accepted_whole_and_replayed_whole() {
    let outside = given_outside().start().await;
    let headers = [JSON, ("Idempotency-Key", "b")];
    let body = r#"{"jobs":[{"kind":"plain"},{"kind":"plain","priority":"low"}]}"#;
    let answer = outside.request("POST", "/v1/jobs/batch", &headers, body).await;
    assert_eq!((answer.status, &answer.json()["durability"]), (202, &"memory".into()));
    assert_eq!(answer.json()["jobs"][1]["priority"], "low");
    let again = outside.request("POST", "/v1/jobs/batch", &headers, body).await;
    assert_eq!((again.header("idempotency-replayed"), again.json()), (Some("true"), answer.json()));
}

#[tokio::test]
async fn lists_go_back_in_time_page_by_page() {
    let outside = given_outside().start().await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(outside.submitted().await.to_string());
    }
    ids.reverse();
    let mut listed = Vec::new();
    let mut path = "/v1/jobs?limit=2&queue=default&state=queued&kind=plain".to_owned();
    loop {
        let page = outside.get(&path).await.json();
        for job in page["jobs"].as_array().unwrap() {
            assert!(job.get("payload").is_none() && job.get("result").is_none());
            listed.push(job["id"].as_str().unwrap().to_owned());
        }
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/jobs?limit=2&queue=default&state=queued&kind=plain&cursor={cursor}");
    }
    assert_eq!(listed, ids);
}

#[tokio::test]
async fn cancel_and_retry_do_what_the_state_allows() {
    let outside = given_outside().start().await;
    let id = outside.submitted().await;
    let (cancel, retry) = (format!("/v1/jobs/{id}/cancel"), format!("/v1/jobs/{id}/retry"));
    for _ in 0..2 {
        let cancelled = outside.post(&cancel, "").await;
        assert_eq!((cancelled.status, &cancelled.json()["state"]), (200, &"cancelled".into()));
    }
    let reopened = outside.post(&retry, "").await;
    assert_eq!((reopened.status, &reopened.json()["state"]), (200, &"queued".into()));

    let claimed = outside.claim().await;
    let requested = outside.post(&cancel, "").await;
    assert_eq!((requested.status, &requested.json()["cancel_requested"]), (202, &true.into()));
    outside.settle(&claimed, End::Completed { result: None }).await;
    let late = outside.post(&cancel, "").await;
    assert_eq!(problem(&late, "state_conflict")["state"], JobState::Completed.as_str());
    problem(&outside.post(&retry, "").await, "state_conflict");
}

#[tokio::test]
async fn queues_are_shown_paused_and_resumed() {
    let outside = given_outside().capacity(7, 70).start().await;
    outside.submitted().await;
    let queue = outside.get("/v1/queues/default").await.json();
    assert_eq!(
        (&queue["depth"]["queued"], &queue["jobs"], &queue["bytes"]),
        (&1.into(), &1.into(), &2.into())
    );
    assert_eq!((&queue["capacity"], &queue["capacity_bytes"]), (&7.into(), &70.into()));
    assert!(queue["oldest_ready_age_ms"].is_u64());
    assert_eq!(queue["mode"], "push");
    assert_eq!(queue["rates"]["submitted_per_second"].as_f64().map(|rate| rate > 0.0), Some(true), "{queue}");
    assert_eq!(queue["rates"]["finished_per_second"], 0.0);
    assert_eq!(outside.post("/v1/queues/default/pause", "").await.json()["paused"], true);
    assert_eq!(outside.get("/v1/queues").await.json()["queues"][0]["paused"], true);
    assert_eq!(outside.post("/v1/queues/default/resume", "").await.json()["paused"], false);
    problem(&outside.post("/v1/queues/none/pause", "").await, "queue_not_found");
}

#[tokio::test]
async fn metrics_tell_of_the_store_and_of_requests() {
    let outside = given_outside().capacity(7, 70).start().await;
    assert_eq!(outside.get("/metrics").await.status, 200, "before the first job");
    outside.submitted().await;
    outside.get("/no/such/route").await;
    let answer = outside.get("/metrics").await;
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4"));
    let text = String::from_utf8(answer.body).unwrap();
    for line in [
        r#"steadfast_jobs{queue="default",state="queued"} 1"#,
        r#"steadfast_queue_capacity_jobs{queue="default"} 7"#,
        r#"steadfast_queue_capacity_bytes{queue="default"} 70"#,
        r#"steadfast_queue_bytes{queue="default"} 2"#,
        r#"steadfast_http_requests_total{method="POST",route="/v1/jobs",status="202"} 1"#,
        r#"steadfast_http_requests_total{method="GET",route="other",status="404"} 1"#,
        r#"steadfast_http_requests_in_flight 1"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    assert!(text.contains("steadfast_oldest_ready_age_seconds{queue=\"default\"}"));
}
