//! The kinds as a server runs them, without a server.

use std::fs;
use std::time::Duration;

use own_handlers::{Import, Invoice};
use serde_json::{Value, json};
use steadfast::domain::{Job, JobState, RawJson};
use steadfast::queue::Handlers;
use steadfast_testkit::handlers::given_handlers;

fn value(json: Option<&RawJson>) -> Value {
    json.map_or(Value::Null, |json| json.decode().expect("JSON"))
}

fn code(job: &Job) -> &str {
    job.errors.last().map_or("", |error| &error.code)
}

#[tokio::test]
async fn an_invoice_is_added_up() {
    let crew = given_handlers(Handlers::new().with_typed(Invoice)).await;
    let lines = json!({ "lines": [{ "cents": 250, "quantity": 2 }, { "cents": 99, "quantity": 1 }] });
    let job = crew.run("invoice", &lines).await;
    assert_eq!((job.state, value(job.result.as_ref())), (JobState::Completed, json!({ "cents": 599 })));

    let lines = json!({ "lines": [{ "cents": u64::MAX, "quantity": 2 }] });
    let job = crew.run("invoice", &lines).await;
    assert_eq!((job.state, code(&job), job.attempt), (JobState::Dead, "too_large", 1));
}

#[tokio::test]
async fn an_invoice_with_faults_is_refused_at_its_submit() {
    let crew = given_handlers(Handlers::new().with_typed(Invoice)).await;
    for (payload, pointers) in [
        (json!({ "lines": [{ "cents": 250 }] }), vec!["#/payload/lines/0/quantity"]),
        (json!({ "lines": [], "tip": 7 }), vec!["#/payload/tip"]),
        (
            json!({ "lines": [{ "cents": 1, "quantity": 0 }, { "cents": 1, "quantity": 0 }] }),
            vec!["#/payload/lines/0/quantity", "#/payload/lines/1/quantity"],
        ),
    ] {
        let faults = crew.submit("invoice", &payload).await.expect_err("refused");
        let told: Vec<&str> = faults.iter().map(|fault| fault.pointer.as_str()).collect();
        assert_eq!(told, pointers, "{payload}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_import_that_is_stopped_goes_on_and_counts_no_row_twice() {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("november.ndjson"), "{\"cents\":3}\n".repeat(1_000)).expect("a file");
    let import = Import::new(directory.path().to_owned());
    let mut crew = given_handlers(Handlers::new().with_typed(import)).await;

    let id = crew.submit("import", &json!({ "file": "november.ndjson" })).await.expect("it fits");
    tokio::time::sleep(Duration::from_millis(350)).await;
    crew.stop().await;
    let left = crew.job(id).await;
    let rows = value(left.checkpoint.as_ref())["rows"].as_u64().expect("a checkpoint");
    assert_eq!((left.state, left.attempt), (JobState::Queued, 0), "its attempt is refunded");
    assert!((100..900).contains(&rows), "{rows} rows were read");

    crew.start_again();
    let job = crew.ended(id).await;
    assert_eq!((job.state, job.attempt), (JobState::Completed, 1));
    assert_eq!(value(job.result.as_ref()), json!({ "rows": 1_000, "cents": 3_000 }));
}

#[tokio::test]
async fn an_import_says_what_is_wrong_with_its_file() {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("bad.ndjson"), "{\"cents\":3}\n{\"cents\":\"x\"}\n").expect("a file");
    let crew = given_handlers(Handlers::new().with_typed(Import::new(directory.path().to_owned()))).await;
    for (file, said) in [("bad.ndjson", "bad_row"), ("none.ndjson", "no_such_file")] {
        let job = crew.run("import", &json!({ "file": file })).await;
        assert_eq!((job.state, code(&job)), (JobState::Dead, said), "{file}");
    }
    for file in ["../secret", ".hidden", ""] {
        let faults = crew.submit("import", &json!({ "file": file })).await.expect_err("refused");
        assert_eq!(faults[0].pointer, "#/payload/file", "{file}");
    }
}
