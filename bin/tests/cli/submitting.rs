use serde_json::json;
use steadfast_testkit::gate::Gate;
use steadfast_testkit::harness::{Keep, Process};

use crate::given::{
    ENDS_WITHIN, assert_refused, command, document, end_of, id, json, run, server, shell, text,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_submitted_as_it_was_described() {
    let server = server().settings("[queues.mail]\n").start().await;
    let at = server.address();
    let plain = document(at, "submit echo").await;
    assert_eq!((&plain["kind"], &plain["payload"]), (&json!("echo"), &json!({})));
    assert_eq!(plain["durability"], json!("fsync"));

    let line = r#"submit echo {"n":1.50} --queue mail --priority high --delay 1h --timeout 5s --max-attempts 3
        --deadline 2100-01-01T00:00:00Z --unique-key order-7 --idempotency-key k-1 --tag a=1 --tag b=x=y"#;
    let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    let job = run(at, &line).await.expect_code(0).stdout.text();
    assert!(job.contains(r#""payload":{"n":1.50}"#), "byte for byte: {job}");
    let job = document(at, &format!("get {}", id(&serde_json::from_str(&job).expect("a document")))).await;
    for (member, value) in [
        ("queue", json!("mail")),
        ("priority", json!("high")),
        ("state", json!("scheduled")),
        ("max_attempts", json!(3)),
        ("deadline", json!("2100-01-01T00:00:00.000Z")),
        ("unique_key", json!("order-7")),
        ("idempotency_key", json!("k-1")),
        ("tags", json!({"a": "1", "b": "x=y"})),
    ] {
        assert_eq!(job[member], value, "{member}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_payload_comes_from_the_line_a_file_or_standard_input() {
    let server = server().store(Keep::Memory).start().await;
    let at = server.address();
    let file = server.dir().join("payload.json");
    std::fs::write(&file, "[\"from a file\"]\n").expect("a file");
    assert_eq!(document(at, "submit echo -7").await["payload"], json!(-7));
    let from_file = document(at, &format!("submit echo @{}", file.display())).await;
    assert_eq!(from_file["payload"], json!(["from a file"]));
    let piped = end_of(shell(at, "echo '\"piped\"' | steadfast submit echo -")).await.expect_code(0);
    assert_eq!(json(&piped)[0]["payload"], json!("piped"));
}

#[tokio::test(flavor = "multi_thread")]
async fn text_says_what_became_of_the_submit() {
    let server = server().settings("[queues.mail]\n").start().await;
    let at = server.address();
    document(at, "queues pause default").await;
    let submit = "submit echo --idempotency-key k --unique-key u";
    let job = id(&document(at, submit).await);
    let replayed = text(at, submit).await;
    assert_eq!(replayed, format!("job {job} was accepted before under this key: queued, synced to the disk"));
    let same = text(at, "submit echo --unique-key u").await;
    assert_eq!(same, format!("job {job} has this unique key already: queued, synced to the disk"));
    let other = text(at, "submit echo").await;
    assert!(other.ends_with(" accepted: queued, synced to the disk") && !other.contains(&job), "{other}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wait_ends_with_the_job() {
    let gate = Gate::closed().await;
    let server = server().store(Keep::Memory).start().await;
    let at = server.address();
    let job = document(at, "submit sleep {\"ms\":10} --wait").await;
    assert_eq!(job["state"], json!("completed"));
    let shown = text(at, "submit echo 7 --wait").await;
    assert!(shown.contains("state            completed") && shown.contains("result           7"), "{shown}");

    // Nobody listens on port 1, and there is no second attempt.
    let dead = r#"submit http {"url":"http://127.0.0.1:1/"} --max-attempts 1 --wait"#;
    let exit = run(at, dead).await.expect_code(1);
    assert_eq!(json(&exit)[0]["state"], json!("dead"));
    let error = exit.stderr.text();
    assert!(error.starts_with("steadfast: job ") && error.contains(" is dead: "), "{error}");

    let mut waiting = Process::start(command(at, ["submit", "http", &gate.payload().to_string(), "--wait"]));
    gate.until_held(1).await;
    assert!(waiting.is_running(), "it waits for the job");
    gate.open();
    waiting.exit_within(ENDS_WITHIN).await.expect("it ends with the job").expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_says_why() {
    let server = server().store(Keep::Memory).capacity(1).start().await;
    let at = server.address();
    assert_refused(run(at, "submit nothing").await, 1, &["unknown_kind"]);
    assert_refused(run(at, "submit sleep {}").await, 1, &["invalid_job", "#/payload"]);
    assert_refused(run(at, "submit echo --queue nowhere").await, 1, &["queue_not_found"]);
    document(at, "submit echo --delay 1h --idempotency-key k").await;
    let mismatch = run(at, "submit echo 2 --idempotency-key k").await;
    assert_refused(mismatch, 1, &["idempotency_mismatch"]);
    let full = run(at, "submit echo --retry-for 0s").await;
    assert_refused(full, 1, &["queue_full", "1 of 1", "asks to be tried again in"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_is_waited_for_within_the_time() {
    let gate = Gate::closed().await;
    let server = server().store(Keep::Memory).capacity(1).start().await;
    let at = server.address();
    document(at, &format!("submit http {}", gate.payload())).await;
    gate.until_held(1).await;
    let mut waiting = Process::start(command(at, ["submit", "echo", "--retry-for", "60s"]));
    let refused = server.until_logged("requests refused").await;
    assert!(refused["by_code"].to_string().contains("queue_full"), "{refused}");
    assert!(waiting.is_running(), "it comes back");
    gate.open();
    waiting.exit_within(ENDS_WITHIN).await.expect("there is room").expect_code(0);
}
