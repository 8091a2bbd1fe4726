use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::json;
use steadfast_testkit::eventually;
use steadfast_testkit::gate::Gate;
use steadfast_testkit::harness::{Exit, Keep, Process, Server, Signal};
use steadfast_testkit::history::{all_jobs, until_all_ended};
use steadfast_testkit::ports::{free_port, loopback};

use crate::given::{ENDS_WITHIN, assert_refused, command, document, end_of, json, run, server, shell, text};
use crate::lossy_proxy::{Fate, LossyProxy};

const ECHO: &str = "{\"kind\":\"echo\"}\n";

fn file(server: &Server, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = server.dir().join(name);
    std::fs::write(&path, content).expect("a file");
    path
}

async fn submit(at: SocketAddr, path: &Path) -> Exit {
    run(at, &format!("submit --file {}", path.display())).await
}

async fn stored(server: &Server) -> usize {
    all_jobs(&server.client()).await.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_submitted_once_however_often_it_is_run() {
    let server = server().start().await;
    let at = server.address();
    let path = file(&server, "jobs.ndjson", ECHO.repeat(250));
    let first = document(at, &format!("submit --file {}", path.display())).await;
    let name = path.display().to_string();
    assert_eq!(first, json!({"file": name, "accepted": 250, "accepted_before": 0, "deduplicated": 0}));
    let again = text(at, &format!("submit --file {}", path.display())).await;
    assert_eq!(again, format!("0 jobs of {name} accepted, 250 before"));

    // What is added is new.
    file(&server, "jobs.ndjson", ECHO.repeat(253));
    let more = document(at, &format!("submit --file {} --wait", path.display())).await;
    assert_eq!((&more["accepted"], &more["completed"]), (&json!(3), &json!(253)));
    assert_eq!(stored(&server).await, 253);

    // Without its journal it is another submission.
    std::fs::remove_file(server.dir().join("jobs.ndjson.steadfast")).expect("the journal is beside the file");
    submit(at, &path).await.expect_code(0);
    assert_eq!(stored(&server).await, 506);
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_that_are_no_jobs_are_named_before_anything_is_sent() {
    let server = server().store(Keep::Memory).start().await;
    let path = file(&server, "jobs.ndjson", format!("{ECHO}\n{{\"kind\":7}}\n{ECHO}{{\"kind\":\n\u{fe}"));
    let refused = submit(server.address(), &path).await;
    assert_refused(refused, 2, &["line 3: #/kind", "line 5: not valid JSON", "nothing is sent"]);
    assert_eq!(stored(&server).await, 0);
    // Of a stream, what came before is accepted.
    let line = format!("cat {} | steadfast submit --file -", path.display());
    let refused = end_of(shell(server.address(), &line)).await;
    assert_refused(refused, 2, &["line 3: #/kind", "1 job of - were accepted before that"]);
    assert_eq!(stored(&server).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_the_server_refuses_is_found_and_what_precedes_it_accepted() {
    let server = server().store(Keep::Memory).start().await;
    let lines = |bad: &str| format!("{}{bad}{}", ECHO.repeat(437), ECHO.repeat(200));
    let path = file(&server, "jobs.ndjson", lines("{\"kind\":\"nothing\"}\n"));
    let refused = submit(server.address(), &path).await;
    assert_refused(refused, 1, &["unknown_kind", "line 438 of", "437 of 638 jobs are accepted"]);
    file(&server, "jobs.ndjson", lines("{\"kind\":\"sleep\",\"payload\":{\"ms\":0}}\n"));
    let done = document(server.address(), &format!("submit --file {}", path.display())).await;
    assert_eq!((&done["accepted"], &done["accepted_before"]), (&json!(201), &json!(437)));
    assert_eq!(stored(&server).await, 638);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_has_changed_or_goes_elsewhere_is_not_gone_on_with() {
    let (server, other) = (server().start().await, server().store(Keep::Memory).start().await);
    let path = file(&server, "jobs.ndjson", ECHO.repeat(3));
    // A server that was never reached has no part in it.
    let nowhere = format!("submit --file {} --retry-for 0s", path.display());
    run(SocketAddr::from(([127, 0, 0, 1], 1)), &nowhere).await.expect_code(69);
    submit(server.address(), &path).await.expect_code(0);
    let elsewhere = submit(other.address(), &path).await;
    assert_refused(elsewhere, 2, &["was submitted to", "--journal"]);
    let own = server.dir().join("other.journal");
    let line = format!("submit --file {} --journal {}", path.display(), own.display());
    assert_eq!(document(other.address(), &line).await["accepted"], json!(3));

    file(&server, "jobs.ndjson", ECHO.repeat(3).replacen("echo", "sleep", 1));
    assert_refused(
        submit(server.address(), &path).await,
        2,
        &["the first 3 jobs of", "jobs.ndjson.steadfast"],
    );
    file(&server, "jobs.ndjson", ECHO.repeat(2));
    assert_refused(submit(server.address(), &path).await, 2, &["the first 3 jobs of"]);
    file(&server, "jobs.ndjson.steadfast", "notes\n");
    assert_refused(submit(server.address(), &path).await, 2, &["is not a journal"]);
    assert_eq!((stored(&server).await, stored(&other).await), (3, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_with_a_unique_key_are_counted_apart_and_the_wait_says_how_all_ended() {
    let gate = Gate::closed().await;
    let server = server().store(Keep::Memory).start().await;
    let unique = "{\"kind\":\"echo\",\"delay_ms\":1,\"unique_key\":\"u\"}\n";
    let dead =
        "{\"kind\":\"http\",\"payload\":{\"url\":\"http://127.0.0.1:1/\"},\"retry\":{\"max_attempts\":1}}\n";
    let held = format!("{{\"kind\":\"http\",\"payload\":{}}}\n", gate.payload());
    let path = file(&server, "jobs.ndjson", format!("{unique}{unique}{dead}{held}"));
    let mut waiting = Process::start(command(
        server.address(),
        ["submit", "--wait", "--file", &path.display().to_string()],
    ));
    gate.until_held(1).await;
    assert!(waiting.is_running(), "it waits for the last");
    gate.open();
    let exit = waiting.exit_within(ENDS_WITHIN).await.expect("it ends with the last").expect_code(1);
    assert!(exit.stderr.text().contains("1 job did not complete"), "{}", exit.output());
    let summary = &json(&exit)[0];
    for (member, count) in
        [("accepted", 4), ("deduplicated", 1), ("completed", 2), ("dead", 1), ("removed", 0)]
    {
        assert_eq!(summary[member], json!(count), "{member}: {summary}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_at_once_are_one() {
    let server = server().store(Keep::Memory).capacity(100).start().await;
    let at = server.address();
    document(at, "queues pause default").await;
    let path = file(&server, "jobs.ndjson", ECHO.repeat(300));
    let mut first = Process::start(command(at, ["submit", "--file", &path.display().to_string()]));
    eventually("the queue is full", async || (stored(&server).await == 100).then_some(())).await;
    assert_refused(submit(at, &path).await, 1, &["another process is submitting this file"]);
    document(at, "queues resume default").await;
    first.exit_within(ENDS_WITHIN).await.expect("there is room").expect_code(0);
    assert_eq!(stored(&server).await, 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_whose_answer_was_lost_is_sent_again_and_accepted_once() {
    let server = server().start().await;
    let proxy = LossyProxy::to(server.address(), 2, Fate::Closed).await;
    let path = file(&server, "jobs.ndjson", ECHO.repeat(600));
    let done = document(proxy.address(), &format!("submit --file {} --wait", path.display())).await;
    assert_eq!(done["completed"], json!(600));
    assert_eq!(stored(&server).await, 600);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_whose_sender_was_killed_before_its_answer_is_accepted_once() {
    let server = server().start().await;
    let proxy = LossyProxy::to(server.address(), 2, Fate::Held).await;
    let path = file(&server, "jobs.ndjson", ECHO.repeat(600));
    let line = format!("submit --file {} --wait", path.display());
    let mut killed = Process::start(command(proxy.address(), line.split(' ')));
    proxy.until_answered().await;
    // A new run would begin with a smaller batch.
    assert_eq!(stored(&server).await, 100 + 126 + 158, "the jobs are there, and their sender does not know");
    killed.signal(Signal::KILL);
    killed.exit_within(ENDS_WITHIN).await.expect("it is killed");
    let done = document(proxy.address(), &line).await;
    assert_eq!(done["completed"], json!(600));
    assert_eq!(stored(&server).await, 600);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_goes_on_over_the_deaths_of_its_server() {
    let mut server = server().listen(loopback(free_port())).start().await;
    let path = file(&server, "jobs.ndjson", ECHO.repeat(8_000));
    let mut submitting =
        Process::start(command(server.address(), ["submit", "--file", &path.display().to_string()]));
    for jobs in [500, 2_500, 5_000] {
        let client = server.client();
        eventually("some more are accepted", async || {
            let queues = client.queues().await.ok()?;
            let depth = queues.queues[0].depth;
            (depth.completed + queues.queues[0].jobs >= jobs).then_some(())
        })
        .await;
        server.kill().await;
        server.start_again().await;
    }
    let exit = submitting.exit_within(ENDS_WITHIN).await.expect("it ends").expect_code(0);
    assert_eq!(json(&exit)[0]["accepted"], json!(8_000));
    until_all_ended(&server.client()).await;
    assert_eq!(stored(&server).await, 8_000);
}
