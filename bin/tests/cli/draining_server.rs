use serde_json::json;
use steadfast_testkit::eventually;
use steadfast_testkit::gate::Gate;
use steadfast_testkit::harness::{Keep, Process};

use crate::given::{ENDS_WITHIN, assert_refused, command, document, documents, id, run, server, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_server_takes_nothing_new_and_answers_the_rest() {
    let gate = Gate::closed().await;
    // Longer than all that is asked of it meanwhile.
    let mut server = server().store(Keep::Memory).flag("--graceful-timeout", "10m").start().await;
    let at = server.address();
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("jobs.ndjson");
    std::fs::write(&file, "{\"kind\":\"echo\"}\n".repeat(3)).expect("a file");
    let held = id(&document(at, &format!("submit http {}", gate.payload())).await);
    let waiting = id(&document(at, "submit echo --delay 1h").await);
    let cancelled = id(&document(at, "submit echo --delay 1h").await);
    document(at, &format!("cancel {cancelled}")).await;
    gate.until_held(1).await;
    assert_eq!(text(at, "drain").await, "the server drains; it was ready");
    let client = server.client();
    eventually("it drains", async || (client.health().await.ok()?.phase == "draining").then_some(())).await;
    assert_eq!(document(at, "drain").await, json!({"status": "draining", "phase": "draining"}));

    for line in ["submit echo".to_owned(), "submit echo --wait".to_owned(), format!("retry {cancelled}")] {
        let refused = run(at, &format!("{line} --retry-for 0s")).await;
        assert_refused(refused, 1, &["shutting_down", "asks to be tried again in"]);
    }
    let refused = run(at, &format!("submit --file {} --retry-for 0s", file.display())).await;
    assert_refused(refused, 1, &["shutting_down", "0 of 3 jobs are accepted", "run the same command again"]);

    assert_eq!(document(at, &format!("get {held}")).await["state"], json!("processing"));
    assert_eq!(documents(at, "list").await.len(), 3);
    assert_eq!(documents(at, "queues").await.len(), 1);
    assert_eq!(document(at, "queues pause default").await["paused"], json!(true));
    assert_eq!(document(at, "queues resume default").await["paused"], json!(false));
    assert_eq!(document(at, &format!("cancel {waiting}")).await["state"], json!("cancelled"));
    let mut last = Process::start(command(at, ["drain", "--wait", "--output", "json"]));
    eventually("it has asked", async || last.stdout().text().contains('{').then_some(())).await;
    assert!(last.is_running(), "it waits for the server");
    gate.open();
    let exit = last.exit_within(ENDS_WITHIN).await.expect("it ends with the server").expect_code(0);
    assert!(exit.stdout.text().contains("\"status\":\"draining\""), "{}", exit.output());
    server.exit().await.expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn watch_goes_on_while_the_server_drains_and_ends_when_it_is_gone() {
    let gate = Gate::closed().await;
    let quick = server().flag("--graceful-timeout", "500ms").flag("--cancel-timeout", "500ms");
    let mut server = quick.flag("--close-timeout", "3s").start().await;
    let at = server.address();
    let job = id(&document(at, &format!("submit http {}", gate.payload())).await);
    gate.until_held(1).await;
    let mut watching = Process::start(command(at, ["watch", &job, "--retry-for", "0s"]));
    eventually("it watches", async || (!watching.stdout().text().is_empty()).then_some(())).await;
    server.stop().await.expect_code(0);
    let exit = watching.exit_within(ENDS_WITHIN).await.expect("it gives up").expect_code(69);
    assert!(exit.stderr.text().contains("cannot reach"), "{}", exit.output());
}
