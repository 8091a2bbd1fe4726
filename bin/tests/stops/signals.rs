//! What each signal does, what the exit code and the ledger say, and what the next start finds.

use std::time::Duration;

use serde_json::{Value, json};
use steadfast_client::SubmitOptions;
use steadfast_domain::{JobId, JobState};
use steadfast_lifecycle::Hooks;
use steadfast_testkit::gate::{Fate, Gate};
use steadfast_testkit::harness::{Exit, Given, Server, Signal, given_server};
use steadfast_testkit::history::{Evidence, Expected, History, Marked as _, all_jobs, until_all_ended};
use steadfast_testkit::{PATIENCE, eventually};
use tokio::task::JoinSet;

use crate::acting;

const PROGRAM: &str = env!("CARGO_BIN_EXE_steadfast");
/// Below any budget, far above what a stop takes that waits for nothing.
const AT_ONCE: Duration = Duration::from_secs(20);

/// A server whose one running job is held at the gate.
struct Busy {
    gate: Gate,
    server: Server,
    history: History,
    job: JobId,
}

impl Busy {
    async fn with(given: Given) -> Self {
        let (gate, history) = (Gate::closed().await, History::new());
        let server = given.start().await;
        let job = history.submit(&server.client(), "http", &gate.payload()).await;
        gate.until_held(1).await;
        Self { gate, server, history, job: job.expect("an empty server has room").id }
    }

    async fn server() -> Self {
        Self::with(given_server(PROGRAM)).await
    }

    async fn until_phase(&self, phase: &str) {
        let client = self.server.client();
        let what = format!("the phase {phase}");
        let reached = async || (client.health().await.ok()?.phase == phase).then_some(());
        eventually(&what, reached).await;
    }

    async fn until_ignored(&self, signal: &str) {
        let message = "nothing to do: under way already";
        let what = format!("{signal} ignored, in the log");
        eventually(&what, async || {
            let events = self.server.log().events(message);
            events.iter().any(|event| event["cause"] == signal).then_some(())
        })
        .await;
    }

    /// The held job was cut off and is back in its queue: the next server runs it, as if for the first
    /// time.
    async fn assert_handed_back(mut self, exit: Exit) {
        let ledger = exit.ledger();
        assert_eq!(ledger["jobs_handed_back"], json!([self.job.to_string()]), "{ledger}");
        // The gate sees the end of a connection in its own time.
        let abandoned = async || (self.gate.deliveries()[0].fate == Fate::Abandoned).then_some(());
        eventually("its delivery was cut off", abandoned).await;
        self.gate.open();
        self.server.start_again().await;
        self.assert_completed(&[self.job]).await;
        assert_eq!(self.gate.deliveries().len(), 2);
    }

    async fn assert_completed(&self, handed_back: &[JobId]) {
        let client = self.server.client();
        until_all_ended(&client).await;
        let (jobs, deliveries) = (all_jobs(&client).await, self.gate.deliveries());
        let evidence = Evidence { jobs: &jobs, deliveries: Some(&deliveries), handed_back };
        self.history.assert_kept(evidence, Expected::Ended);
        let job = jobs.iter().find(|job| job.id == self.job).expect("the checker found it");
        assert_eq!((job.state, job.attempt, job.interruptions), (JobState::Completed, 1, 0), "{job:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_server_stops_at_once() {
    let mut server = given_server(PROGRAM).start().await;
    let exit = server.stop().await.expect_code(0);
    assert!(exit.took < AT_ONCE, "{:?}", exit.took);
    assert_eq!(exit.ledger()["jobs_finished"], json!(0));
    let block = exit.stderr.text();
    assert!(block.contains("after SIGTERM, exit code 0"), "a block for people:\n{block}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_waits_for_the_running_job_and_a_repeat_changes_nothing() {
    let mut busy = Busy::server().await;
    busy.server.signal(Signal::TERM);
    busy.until_phase("draining").await;
    busy.server.signal(Signal::TERM);
    busy.until_ignored("SIGTERM").await;
    assert!(busy.server.process().is_running(), "pending while the job runs");
    busy.gate.open();
    let exit = busy.server.exit().await.expect_code(0);
    assert_eq!(exit.ledger()["jobs_finished"], json!(1));
    busy.server.start_again().await;
    busy.assert_completed(&[]).await;
    assert_eq!(busy.gate.deliveries().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_sigint_hands_back() {
    let mut busy = Busy::server().await;
    busy.server.signal(Signal::INT);
    busy.until_phase("draining").await;
    assert_eq!(busy.gate.held(), 1, "the first one only drains");
    busy.server.signal(Signal::INT);
    let exit = busy.server.exit().await.expect_code(0);
    assert!(exit.took < AT_ONCE, "{:?}", exit.took);
    busy.assert_handed_back(exit).await;
}

/// Not a test: a server with a last step that never ends, when this program is started as one.
#[test]
fn serve_with_an_endless_hook() {
    acting::serve_if_asked(|server| {
        let mut hooks = Hooks::new();
        hooks.post.add("endless", Duration::from_secs(60), std::future::pending());
        server.hooks(hooks)
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_third_sigint_exits_at_once_and_loses_nothing() {
    let given =
        given_server(PROGRAM).acted_by("signals::serve_with_an_endless_hook").flag("--close-timeout", "60s");
    let mut busy = Busy::with(given).await;
    busy.server.signal(Signal::INT);
    busy.until_phase("draining").await;
    busy.server.signal(Signal::INT);
    eventually("the server is in its last phase", async || {
        let phases = busy.server.log().events("phase entered");
        phases.iter().any(|event| event["phase"] == "stopped").then_some(())
    })
    .await;
    assert!(busy.server.process().is_running(), "it waits for the hook");
    busy.server.signal(Signal::INT);
    let exit = busy.server.exit().await.expect_code(130);
    assert!(exit.took < AT_ONCE, "{:?}", exit.took);
    let block = exit.stderr.text();
    assert!(block.contains("not finished") && block.contains(&busy.job.to_string()), "{block}");

    busy.gate.open();
    busy.server.start_again().await;
    busy.assert_completed(&[busy.job]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigquit_hands_back_at_once() {
    let mut busy = Busy::server().await;
    busy.server.signal(Signal::QUIT);
    let exit = busy.server.exit().await.expect_code(0);
    assert!(exit.took < AT_ONCE, "{:?}", exit.took);
    busy.assert_handed_back(exit).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_stops_nothing() {
    let mut busy = Busy::server().await;
    busy.server.signal(Signal::HUP);
    busy.server.until_logged("no files to read again").await;
    assert_eq!(busy.server.client().health().await.expect("an answer").phase, "ready");
    busy.gate.open();
    until_all_ended(&busy.server.client()).await;
    busy.server.stop().await.expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lame_duck_accepts_what_it_is_sent() {
    let mut busy = Busy::with(given_server(PROGRAM).concurrency(1).flag("--lame-duck", "60s")).await;
    busy.server.signal(Signal::TERM);
    busy.until_phase("lame_duck").await;
    let client = busy.server.client();
    let unready = client.ready().await.expect_err("it is to get no new traffic");
    assert_eq!(unready.problem().map(|problem| &*problem.code), Some("not_ready"));
    let late = busy.history.submit(&client, "http", &busy.gate.payload()).await;
    let late = late.expect("what comes all the same is accepted");

    busy.gate.open();
    let ended = client.job_when_ended(busy.job, PATIENCE).await.expect("it is there");
    assert_eq!(ended.state, JobState::Completed, "what runs goes on: {ended:?}");
    // The rest of its time would show nothing more.
    busy.server.signal(Signal::QUIT);
    let exit = busy.server.exit().await.expect_code(0);
    assert!(exit.took < AT_ONCE, "{:?}", exit.took);
    assert!(exit.ledger().to_string().contains("lame_duck"), "{}", exit.ledger());
    let ids: Vec<JobId> = busy.gate.deliveries().iter().map(|delivery| delivery.job).collect();
    assert!(!ids.contains(&late.id), "no work is begun");
    busy.server.start_again().await;
    busy.assert_completed(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigint_has_no_lame_duck() {
    let mut server = given_server(PROGRAM).flag("--lame-duck", "60s").start().await;
    server.signal(Signal::INT);
    let exit = server.exit().await.expect_code(0);
    assert!(exit.took < AT_ONCE, "{:?}", exit.took);
}

#[tokio::test(flavor = "multi_thread")]
async fn held_answers_are_given_when_the_drain_begins() {
    let mut busy = Busy::server().await;
    let client = busy.server.client();
    let mut waiting = JoinSet::new();
    let (reader, job, history) = (client.clone(), busy.job, std::sync::Arc::new(History::new()));
    waiting
        .spawn(async move { reader.job_when_ended(job, Duration::from_secs(30)).await.map(|job| job.state) });
    let request = history.begin(1).job("http", &busy.gate.payload());
    let options = SubmitOptions { wait: Some(Duration::from_secs(30)), ..SubmitOptions::default() };
    waiting
        .spawn(async move { client.submit(&request, &options).await.map(|submitted| submitted.job.state) });
    busy.gate.until_held(2).await;
    assert!(waiting.try_join_next().is_none(), "both are held");

    busy.server.signal(Signal::TERM);
    for answer in waiting.join_all().await {
        assert_eq!(answer.expect("the job as it is"), JobState::Processing);
    }
    assert_eq!(busy.gate.held(), 2, "answered while the jobs run");
    busy.gate.open();
    busy.server.exit().await.expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sleep_leaves_a_checkpoint_and_goes_on_after_the_restart() {
    let hour: Value = json!({ "ms": 3_600_000 });
    let mut server = given_server(PROGRAM).flag("--graceful-timeout", "0s").start().await;
    let history = History::new();
    let id = history.submit(&server.client(), "sleep", &hour).await.expect("room").id;
    until_processing(&server, id).await;
    let exit = server.stop().await.expect_code(0);
    assert_eq!(exit.ledger()["jobs_checkpointed"], json!([id.to_string()]), "{}", exit.ledger());
    assert_eq!(exit.ledger()["jobs_handed_back"], json!([]), "{}", exit.ledger());

    server.start_again().await;
    until_processing(&server, id).await;
    let job = server.client().job(id).await.expect("it is there");
    assert_eq!((job.attempt, job.interruptions), (1, 0), "the attempt was refunded: {job:?}");
    let checkpoint: Value = job.checkpoint.expect("a member").decode().expect("JSON");
    let remaining_ms = checkpoint["remaining_ms"].as_u64().expect("the rest");
    assert!(remaining_ms < 3_600_000, "{checkpoint}");
}

async fn until_processing(server: &Server, id: JobId) {
    let client = server.client();
    eventually("the job is being processed", async || {
        (client.job(id).await.ok()?.state == JobState::Processing).then_some(())
    })
    .await;
}
