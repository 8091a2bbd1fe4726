use serde_json::json;
use steadfast_testkit::gate::Gate;
use steadfast_testkit::harness::Keep;

use crate::given::{assert_refused, document, id, run, server, text};

#[tokio::test(flavor = "multi_thread")]
async fn cancel_ends_what_waits_and_asks_what_runs() {
    let gate = Gate::closed().await;
    let server = server().store(Keep::Memory).start().await;
    let at = server.address();
    let waiting = id(&document(at, "submit echo --delay 1h").await);
    assert_eq!(text(at, &format!("cancel {waiting}")).await, format!("job {waiting} is cancelled"));
    // Once more is the same.
    assert_eq!(document(at, &format!("cancel {waiting}")).await["state"], json!("cancelled"));

    let running = id(&document(at, &format!("submit http {}", gate.payload())).await);
    gate.until_held(1).await;
    let asked = text(at, &format!("cancel {running}")).await;
    // It may have stopped by the time of the answer.
    let answers = ["processing, asked to stop", "cancelled"].map(|state| format!("job {running} is {state}"));
    assert!(answers.contains(&asked), "{asked}");

    let done = id(&document(at, "submit echo --wait").await);
    assert_refused(run(at, &format!("cancel {done}")).await, 1, &["state_conflict", "completed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_opens_what_was_given_up() {
    let server = server().store(Keep::Memory).start().await;
    let at = server.address();
    let cancelled = id(&document(at, "submit echo --delay 1h").await);
    document(at, &format!("cancel {cancelled}")).await;
    document(at, "queues pause default").await;
    assert_eq!(text(at, &format!("retry {cancelled}")).await, format!("job {cancelled} is queued"));
    assert_refused(run(at, &format!("retry {cancelled}")).await, 1, &["state_conflict", "queued"]);
    document(at, &format!("cancel {cancelled}")).await;
    let again = document(at, &format!("retry {cancelled} --output json")).await;
    assert_eq!((&again["id"], &again["state"]), (&json!(cancelled), &json!("queued")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_is_paused_and_resumed() {
    let server = server().store(Keep::Memory).start().await;
    let at = server.address();
    assert_eq!(document(at, "queues pause default").await["paused"], json!(true));
    let table = text(at, "queues").await;
    assert!(table.contains("paused"), "{table}");
    let job = id(&document(at, "submit echo").await);
    let resumed = text(at, "queues resume default").await;
    assert!(resumed.lines().count() == 2 && !resumed.contains("paused"), "{resumed}");
    run(at, &format!("watch {job}")).await.expect_code(0);
    for change in ["pause", "resume"] {
        let refused = run(at, &format!("queues {change} nowhere")).await;
        assert_refused(refused, 1, &["queue_not_found"]);
    }
}
