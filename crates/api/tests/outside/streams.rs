use std::time::Duration;

use axum::body::Body;
use http_body_util::BodyExt;
use steadfast_domain::RawJson;
use steadfast_lifecycle::Phase;
use steadfast_queue::store::End;
use tokio::time::Instant;
use tower::ServiceExt;

use crate::event_stream::EventStream;
use crate::harness::{given_outside, problem};

fn change(id: &str, state: &str) -> (String, String) {
    (id.to_owned(), state.to_owned())
}

#[tokio::test]
async fn a_stream_tells_every_durable_change_once_and_then_the_end() {
    let outside = given_outside().start().await;
    let payload = "{\"kind\":\"plain\",\"payload\":{\r\n\"n\": 1\n}}";
    let id = crate::harness::id_of(&outside.post("/v1/jobs", payload).await);
    let path = format!("/v1/jobs/{id}/events");
    let mut stream = EventStream::open(&outside, &path, None).await;
    assert_eq!(stream.change().await, change("1", "queued"));
    let claimed = outside.claim().await;
    let after = Duration::from_secs(60);
    outside.settle(&claimed, End::HandBack { checkpoint: None, after }).await;
    assert_eq!(stream.change().await, change("2", "queued"));
    outside.post(&format!("/v1/jobs/{id}/cancel"), "").await;
    assert_eq!(stream.change().await, change("3", "cancelled"));
    let end = stream.next().await.unwrap();
    assert_eq!((end.name.as_str(), end.id.as_deref()), ("end", Some("3")));
    assert_eq!((&end.data["state"], &end.data["payload"]["n"]), (&"cancelled".into(), &1.into()));
    assert!(stream.next().await.is_none());

    let mut resumed = EventStream::open(&outside, &path, Some("1")).await;
    assert_eq!(resumed.change().await, change("2", "queued"));
    let after_end = outside.request("GET", &path, &[("Last-Event-ID", "3")], "").await;
    assert_eq!((after_end.status, after_end.body.len()), (204, 0));
}

#[tokio::test]
async fn running_and_progress_are_hints_without_an_id() {
    let outside = given_outside().start().await;
    let id = outside.submitted().await;
    let mut stream = EventStream::open(&outside, &format!("/v1/jobs/{id}/events"), None).await;
    assert_eq!(stream.change().await, change("1", "queued"));
    let claimed = outside.claim().await;
    outside.hub.report_processing(&claimed.job);
    let running = stream.next().await.unwrap();
    assert_eq!((running.name.as_str(), running.id.is_none()), ("state", true));
    assert_eq!((&running.data["state"], &running.data["attempt"]), (&"processing".into(), &1.into()));
    outside.hub.report_progress(&claimed.job, &RawJson::parse(r#"{"done":3}"#).unwrap());
    let progress = stream.next().await.unwrap();
    assert_eq!((progress.name.as_str(), &progress.data["progress"]["done"]), ("progress", &3.into()));
}

#[tokio::test]
async fn a_stream_says_when_the_server_goes_and_a_new_one_too() {
    let outside = given_outside().start().await;
    let id = outside.submitted().await;
    let path = format!("/v1/jobs/{id}/events");
    let mut open = EventStream::open(&outside, &path, None).await;
    assert_eq!(open.change().await, change("1", "queued"));
    outside.phase.advance(Phase::Draining);
    let mut new = EventStream::open(&outside, &path, None).await;
    for stream in [&mut open, &mut new] {
        let last = stream.next().await.unwrap();
        assert_eq!(last.name, "server_shutdown");
        assert_eq!(last.retry, last.data["reconnect_after_ms"].as_u64());
        assert!(last.retry.is_some_and(|ms| (1_000..5_000).contains(&ms)));
        assert!(stream.next().await.is_none());
    }
}

#[tokio::test]
async fn a_stream_is_not_to_be_buffered_or_stored() {
    let outside = given_outside().start().await;
    let id = outside.submitted().await;
    let stream = EventStream::open(&outside, &format!("/v1/jobs/{id}/events"), None).await;
    let head = stream.head.to_ascii_lowercase();
    for header in ["content-type: text/event-stream", "cache-control: no-store", "x-accel-buffering: no"] {
        assert!(head.contains(header), "{head}");
    }
    let unknown = "00000000-0000-7000-8000-000000000000";
    problem(&outside.get(&format!("/v1/jobs/{unknown}/events")).await, "job_not_found");
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_sends_a_comment_every_15_seconds() {
    // Paused time and real sockets do not go together: the requests go straight to the router.
    let outside = given_outside().start().await;
    let router = steadfast_api::router(outside.app);
    let submit = http::Request::post("/v1/jobs").header("content-type", "application/json");
    let submit = submit.body(Body::from(r#"{"kind":"plain"}"#)).unwrap();
    let submitted = router.clone().oneshot(submit).await.unwrap();
    let path = submitted.headers()["location"].to_str().unwrap();
    let events = http::Request::get(format!("{path}/events")).body(Body::empty()).unwrap();
    let mut body = router.oneshot(events).await.unwrap().into_body();
    let mut next = async || body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(next().await.starts_with(b"event: state"));
    for _ in 0..3 {
        let began = Instant::now();
        assert_eq!(next().await, ":\n\n");
        assert_eq!(began.elapsed().as_secs(), 15);
    }
}
