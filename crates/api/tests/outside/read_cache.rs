use steadfast_queue::JobStore;

use crate::faulty_store::Fault;
use crate::harness::{given_outside, id_of, problem};

#[tokio::test]
async fn what_has_ended_for_good_is_read_again_without_the_store() {
    let outside = given_outside().start().await;
    let ended = outside.submitted().await;
    outside.complete_next().await;
    let waits = outside.submitted().await;
    let path = format!("/v1/jobs/{ended}");
    let first = outside.get(&path).await;
    assert_eq!((first.status, &first.json()["state"]), (200, &"completed".into()));
    outside.metric_is("steadfast_read_cache_misses_total", "1").await;

    outside.store.set(Fault::Unavailable);
    let again = outside.get(&path).await;
    assert_eq!((again.status, again.json()), (200, first.json()));
    assert_eq!(again.header("content-type"), Some("application/json"));
    let polled = outside.get(&format!("{path}?wait_ms=30000")).await;
    assert_eq!((polled.status, polled.json()), (200, first.json()));
    problem(&outside.get(&format!("/v1/jobs/{waits}")).await, "store_unavailable");
    outside.metric_is("steadfast_read_cache_hits_total", "2").await;
}

#[tokio::test]
async fn what_may_be_opened_again_is_read_from_the_store() {
    let outside = given_outside().start().await;
    let id = outside.submitted().await;
    let path = format!("/v1/jobs/{id}");
    outside.post(&format!("{path}/cancel"), "").await;
    assert_eq!(outside.get(&path).await.json()["state"], "cancelled");
    // Another replica opens it.
    outside.store.inner.reopen(id).await.unwrap();
    let answer = outside.get(&path).await;
    assert_eq!((id_of(&answer), &answer.json()["state"]), (id, &"queued".into()));
    outside.metric_is("steadfast_read_cache_hits_total", "0").await;
}
