use serde_json::{Value, json};
use steadfast_testkit::eventually;
use steadfast_testkit::gate::Gate;
use steadfast_testkit::harness::{Keep, Process};
use steadfast_testkit::ports::{free_port, loopback};

use crate::given::{ENDS_WITHIN, assert_refused, command, document, id, json, run, server};

#[tokio::test(flavor = "multi_thread")]
async fn watch_tells_what_happens_until_the_end() {
    let gate = Gate::closed().await;
    let server = server().store(Keep::Memory).start().await;
    let at = server.address();
    let job = id(&document(at, &format!("submit http {}", gate.payload())).await);
    gate.until_held(1).await;
    let mut watching = Process::start(command(at, ["watch", &job]));
    eventually("the first event is told", async || (!watching.stdout().text().is_empty()).then_some(()))
        .await;
    assert!(watching.is_running(), "the job has not ended");
    gate.open();
    let exit = watching.exit_within(ENDS_WITHIN).await.expect("it ends with the job").expect_code(0);
    let events = json(&exit);
    let told = |event: &Value| (event["event"].clone(), event["data"]["state"].clone());
    assert_eq!(told(&events[0]), (json!("state"), json!("queued")));
    let last: Vec<_> = events[events.len() - 2..].iter().map(told).collect();
    assert_eq!(last, [(json!("state"), json!("completed")), (json!("end"), json!("completed"))]);

    let shown = run(at, &format!("watch {job} --output text")).await.expect_code(0).stdout.text();
    let states: Vec<&str> = shown.lines().filter_map(|line| line.split(' ').nth(1)).collect();
    assert_eq!(states, ["queued", "completed"], "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn watch_says_when_the_job_did_not_complete() {
    let server = server().store(Keep::Memory).start().await;
    let at = server.address();
    let job = id(&document(at, "submit echo --delay 1h").await);
    document(at, &format!("cancel {job}")).await;
    let exit = run(at, &format!("watch {job}")).await.expect_code(1);
    assert!(exit.stderr.text().contains(&format!("job {job} is cancelled")), "{}", exit.output());
    let nobody = run(at, "watch 01993c1e-5f2a-7000-8000-4fa1c2d3e4f5").await;
    assert_refused(nobody, 1, &["job_not_found"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn watch_goes_on_over_the_death_of_its_server() {
    let gate = Gate::closed().await;
    let mut server = server().listen(loopback(free_port())).start().await;
    let at = server.address();
    let job = id(&document(at, &format!("submit http {}", gate.payload())).await);
    gate.until_held(1).await;
    let mut watching = Process::start(command(at, ["watch", &job]));
    eventually("the first event is told", async || (!watching.stdout().text().is_empty()).then_some(()))
        .await;
    server.kill().await;
    server.start_again().await;
    gate.open();
    let exit = watching.exit_within(ENDS_WITHIN).await.expect("it ends with the job").expect_code(0);
    let events = json(&exit);
    let queued = events.iter().filter(|event| event["event"] == "state" && event["data"]["version"] == 1);
    assert_eq!(queued.count(), 1, "nothing is told twice: {events:?}");
}
