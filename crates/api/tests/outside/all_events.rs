use serde_json::{Value, json};
use steadfast_domain::{KindName, NewJob, QueueName, RawJson};
use steadfast_lifecycle::Phase;
use steadfast_queue::store::{End, JobStore, QueueSpec, Submission};
use steadfast_testkit::PATIENCE;
use tokio::time::Instant;

use crate::event_stream::{Event, EventStream};
use crate::harness::{Outside, given_outside, problem};

/// Opens a stream that hears everything from now on.
pub(crate) async fn listen(outside: &Outside, path: &str, last: Option<&str>) -> EventStream {
    let mut stream = EventStream::open(outside, path, last).await;
    let greeting = stream.next().await.unwrap();
    assert_eq!((greeting.name.as_str(), greeting.id.as_deref()), ("", Some("0")));
    stream
}

/// Submits jobs to a queue that admission does not know of, as another server of the store would.
pub(crate) async fn submit_to(outside: &Outside, queue: &str, jobs: usize) -> Vec<String> {
    let name = QueueName::new(queue).unwrap();
    let spec = QueueSpec { name: name.clone(), capacity_jobs: None, capacity_bytes: None };
    outside.store.inner.declare(&[spec]).await.unwrap();
    let job = || NewJob {
        queue: name.clone(),
        ..NewJob::new(KindName::new("plain").unwrap(), RawJson::empty_object())
    };
    let jobs = (0..jobs).map(|_| job()).collect();
    let submission = Submission { jobs, key: None, give_up_at: Instant::now() + PATIENCE };
    let submitted = outside.store.inner.submit(submission).await.unwrap();
    submitted.into_iter().map(|submitted| submitted.job.id.to_string()).collect()
}

fn told(event: &Event) -> Value {
    assert_eq!(event.data["type"], event.name.as_str());
    let mut told = event.data.clone();
    told.as_object_mut().unwrap().remove("at");
    told
}

#[tokio::test]
async fn every_change_of_every_job_is_told_with_its_queue() {
    let outside = given_outside().start().await;
    let mut stream = listen(&outside, "/v1/events", None).await;
    let id = outside.submitted().await;
    let event = stream.next().await.unwrap();
    assert!(event.data["at"].is_string(), "{}", event.data);
    let of = |version: u64, state: &str| json!({ "type": "state", "id": id, "queue": "default", "version": version, "state": state });
    assert_eq!(told(&event), of(1, "queued"));

    let claimed = outside.claim().await;
    outside.hub.report_processing(&claimed.job);
    let mut running = of(1, "processing");
    running["attempt"] = json!(1);
    assert_eq!(told(&stream.next().await.unwrap()), running);
    outside.hub.report_progress(&claimed.job, &RawJson::parse("{\n\"done\": 3}").unwrap());
    let progress =
        json!({ "type": "progress", "id": id, "queue": "default", "version": 1, "progress": { "done": 3 } });
    assert_eq!(told(&stream.next().await.unwrap()), progress);
    outside.settle(&claimed, End::Completed { result: None }).await;
    assert_eq!(told(&stream.next().await.unwrap()), of(2, "completed"));

    let elsewhere = submit_to(&outside, "reports", 1).await;
    assert_eq!(stream.next().await.unwrap().data["id"], elsewhere[0].as_str());
}

#[tokio::test]
async fn a_stream_of_one_queue_tells_of_no_other() {
    let outside = given_outside().start().await;
    problem(&outside.get("/v1/events?queue=reports").await, "queue_not_found");
    problem(&outside.get("/v1/events?queue=No%20name").await, "queue_not_found");
    problem(&outside.get("/v1/events?kind=plain").await, "invalid_parameter");
    submit_to(&outside, "reports", 1).await;
    let mut stream = listen(&outside, "/v1/events?queue=reports", None).await;
    outside.submitted().await;
    let reports = submit_to(&outside, "reports", 1).await;
    let event = stream.next().await.unwrap();
    assert_eq!((&event.data["id"], &event.data["queue"]), (&json!(reports[0]), &json!("reports")));
}

#[tokio::test]
async fn after_a_gap_a_reader_is_told_to_list() {
    let outside = given_outside().start().await;
    // An EventSource that was here before has missed something.
    let mut returning = listen(&outside, "/v1/events", Some("0")).await;
    let resync = returning.next().await.unwrap();
    assert_eq!((resync.name.as_str(), &resync.data), ("resync", &json!({ "type": "resync" })));
    let id = outside.submitted().await;
    assert_eq!(returning.next().await.unwrap().data["id"], id.to_string());

    // More at once than the hub can be behind: on one thread it hears of them only afterwards.
    for _ in 0..5 {
        submit_to(&outside, "reports", 1_000).await;
    }
    let event = returning.next().await.unwrap();
    assert_eq!(event.name, "resync");
    assert_eq!(returning.next().await.unwrap().name, "state");
}

#[tokio::test]
async fn a_reader_of_all_is_told_that_the_server_goes() {
    let outside = given_outside().start().await;
    let mut open = listen(&outside, "/v1/events", None).await;
    outside.phase.advance(Phase::Draining);
    let mut new = EventStream::open(&outside, "/v1/events", None).await;
    for stream in [&mut open, &mut new] {
        let last = stream.next().await.unwrap();
        assert_eq!(
            (last.name.as_str(), last.retry),
            ("server_shutdown", last.data["reconnect_after_ms"].as_u64())
        );
        assert!(stream.next().await.is_none());
    }
}

#[tokio::test]
async fn streams_beyond_what_may_be_held_are_refused() {
    let outside = given_outside().config(|config| config.held_max = 1).start().await;
    let stream = listen(&outside, "/v1/events", None).await;
    problem(&outside.get("/v1/events").await, "overloaded");
    drop(stream);
    steadfast_testkit::eventually("the slot is free again", || async {
        (outside.get("/v1/events?queue=none").await.status == 404).then_some(())
    })
    .await;
}
