use std::net::SocketAddr;

use steadfast_testkit::eventually;
use steadfast_testkit::gate::Gate;
use steadfast_testkit::harness::{Keep, Process};

use crate::given::{ENDS_WITHIN, command, document, documents, id, server};

/// Starts a command line at a terminal.
fn at_terminal(server: SocketAddr, line: &str) -> Process {
    let mut command = command(server, line.split(' '));
    command.env("TERM", "xterm");
    Process::start_on_terminal(command)
}

/// What a command line shows at a terminal.
async fn screen(server: SocketAddr, line: &str) -> String {
    let exit = at_terminal(server, line).exit_within(ENDS_WITHIN).await.expect("it ends");
    exit.expect_code(0).stdout.text()
}

#[tokio::test(flavor = "multi_thread")]
async fn at_a_terminal_every_command_prints_for_people() {
    let server = server().store(Keep::Memory).start().await;
    let at = server.address();
    let job = id(&document(at, "submit echo --delay 1h").await);
    assert!(screen(at, "submit echo").await.contains("accepted: "));
    assert!(screen(at, "submit echo --wait").await.contains("state            completed"));
    assert!(screen(at, "list").await.starts_with("ID  "));
    assert!(screen(at, "queues").await.starts_with("NAME  "));
    assert!(screen(at, &format!("get {job}")).await.starts_with("id               "));
    assert!(screen(at, &format!("cancel {job}")).await.starts_with("job "));
    assert!(screen(at, &format!("retry {job}")).await.starts_with("job "));
    assert!(screen(at, "check").await.contains("shutdown budget"));
    assert!(screen(at, "list --output json").await.starts_with("{\"id\":"));
    assert!(screen(at, "drain").await.starts_with("the server drains"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bar_shows_how_far_a_job_is() {
    let gate = Gate::closed().await;
    let server = server().store(Keep::Memory).start().await;
    let at = server.address();
    // Some of its reports are shown long before it ends, and then it need not.
    let mut waiting = at_terminal(at, "submit sleep {\"ms\":30000} --wait");
    eventually("the bar moves", async || waiting.stdout().text().contains("[==").then_some(())).await;
    assert!(waiting.stdout().text().contains("processing, attempt 1"), "{}", waiting.stdout().text());
    let jobs = documents(at, "list --state processing").await;
    document(at, &format!("cancel {}", id(&jobs[0]))).await;
    let exit = waiting.exit_within(ENDS_WITHIN).await.expect("it ends with the job").expect_code(1);
    assert!(exit.stdout.text().contains("state            cancelled"), "{}", exit.output());

    let job = id(&document(at, &format!("submit http {}", gate.payload())).await);
    gate.until_held(1).await;
    let mut watching = at_terminal(at, &format!("watch {job}"));
    gate.open();
    let exit = watching.exit_within(ENDS_WITHIN).await.expect("it ends").expect_code(0);
    assert!(exit.stdout.text().contains(" completed"), "{}", exit.output());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bar_shows_how_many_jobs_of_a_file_are_accepted() {
    let server = server().store(Keep::Memory).capacity(150).start().await;
    let at = server.address();
    document(at, "queues pause default").await;
    let file = server.dir().join("jobs.ndjson");
    std::fs::write(&file, "{\"kind\":\"echo\"}\n".repeat(400)).expect("a file");
    let mut submitting = at_terminal(at, &format!("submit --file {} --wait", file.display()));
    eventually("the bar says what it waits for", async || {
        submitting.stdout().text().contains("the queue is full").then_some(())
    })
    .await;
    assert!(submitting.is_running());
    document(at, "queues resume default").await;
    let exit = submitting.exit_within(ENDS_WITHIN).await.expect("it ends").expect_code(0);
    let shown = exit.stdout.text();
    for part in ["/400 jobs accepted", "jobs ended", "400 jobs of ", "ended: 400 completed, 0 dead"] {
        assert!(shown.contains(part), "{part:?} is missing in:\n{shown}");
    }
}
