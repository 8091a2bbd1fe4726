//! Jobs that do not hear that they are to stop: the server exits on time all the same, gives them back, and
//! takes nothing from them any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use steadfast_domain::{InvalidField, JobId, JobState, KindName, RawJson};
use steadfast_lifecycle::Hooks;
use steadfast_queue::{Failure, Finish, JobContext, JobHandler};
use steadfast_testkit::eventually;
use steadfast_testkit::harness::{Given, Server, given_server};
use steadfast_testkit::history::{Evidence, Expected, History, all_jobs, until_all_ended};
use tokio::sync::Notify;

use crate::acting;

/// The budget of the test's server: 0.2 s until the hand-back, and this for everything after it.
const CLOSE: Duration = Duration::from_secs(5);
/// Set for a server whose `stuck` jobs end at once.
const WELL: &str = "STEADFAST_TEST_WELL";

/// Not a test: the server of the tests here, when this program is started as one.
#[test]
fn serve() {
    acting::serve_if_asked(|server| {
        let late = Arc::new(Late::default());
        let well = std::env::var_os(WELL).is_some();
        let kind = KindName::new("stuck").expect("a valid kind");
        server
            .hooks(Arc::clone(&late).hooks())
            .handlers(move |built_in| built_in.with(kind, Stuck { well, late }))
    });
}

/// Ignores every way of being told to stop. With `{"blocks":true}` it keeps its thread until its claim has
/// been handed back, and then returns a result; else it waits for ever.
struct Stuck {
    well: bool,
    late: Arc<Late>,
}

#[async_trait]
impl JobHandler for Stuck {
    fn check(&self, _payload: &RawJson) -> Result<(), Vec<InvalidField>> {
        Ok(())
    }

    async fn run(&self, context: JobContext) -> Result<Finish, Failure> {
        if self.well {
            return Ok(completed("well"));
        }
        let payload: Value = context.payload().decode().expect("a payload is JSON");
        if payload["blocks"] == true {
            self.late.block_until_handed_back();
            return Ok(completed("late"));
        }
        std::future::pending().await
    }
}

fn completed(result: &str) -> Finish {
    Finish::Completed(Some(RawJson::encode(result).expect("a text has a JSON form")))
}

/// Where a handler that blocks and the drain's last hook meet: the hook runs after the hand-back.
#[derive(Default)]
struct Late {
    blocks: AtomicBool,
    handed_back: AtomicBool,
    returned: Notify,
}

impl Late {
    fn block_until_handed_back(&self) {
        self.blocks.store(true, Ordering::SeqCst);
        while !self.handed_back.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        self.returned.notify_one();
    }

    /// A hook that lets the blocked handler return, and keeps the process until it has.
    fn hooks(self: Arc<Self>) -> Hooks {
        let mut hooks = Hooks::new();
        hooks.post.add("late result", CLOSE, async move {
            self.handed_back.store(true, Ordering::SeqCst);
            if self.blocks.load(Ordering::SeqCst) {
                self.returned.notified().await;
            }
            Ok(())
        });
        hooks
    }
}

fn given() -> Given {
    given_server(env!("CARGO_BIN_EXE_steadfast"))
        .acted_by("stuck_job::serve")
        .flag("--graceful-timeout", "100ms")
        .flag("--cancel-timeout", "100ms")
        .flag("--close-timeout", format!("{}s", CLOSE.as_secs()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deaf_job_is_cut_off_and_handed_back() {
    let mut server = given().start().await;
    let (history, id) = submit_stuck(&server, json!({})).await;
    let exit = server.stop().await.expect_code(0);
    assert!(exit.took < CLOSE, "within the budget: {:?}", exit.took);
    assert_eq!(exit.ledger()["jobs_handed_back"], json!([id.to_string()]), "{}", exit.ledger());
    assert_runs_well_after_restart(&mut server, &history, id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_blocks_its_thread_is_named_and_its_late_result_refused() {
    let mut server = given().start().await;
    let (history, id) = submit_stuck(&server, json!({ "blocks": true })).await;
    let exit = server.stop().await.expect_code(0);
    assert!(exit.took < CLOSE, "within the budget: {:?}", exit.took);
    let ledger = exit.ledger();
    assert_eq!(ledger["jobs_abandoned"], json!([id.to_string()]), "{ledger}");
    assert!(exit.stderr.text().contains(&id.to_string()), "the block names it, too");
    assert_eq!(ledger["hooks"], json!([{ "name": "late result", "end": "done" }]), "{ledger}");
    assert_runs_well_after_restart(&mut server, &history, id).await;
}

async fn submit_stuck(server: &Server, payload: Value) -> (History, JobId) {
    let (client, history) = (server.client(), History::new());
    let id = history.submit(&client, "stuck", &payload).await.expect("room").id;
    eventually("the job is being processed", async || {
        (client.job(id).await.ok()?.state == JobState::Processing).then_some(())
    })
    .await;
    (history, id)
}

/// The job was back in its queue as if it had never run: the next server runs it, and only that run counts.
async fn assert_runs_well_after_restart(server: &mut Server, history: &History, id: JobId) {
    server.start_again_with(|given| given.env(WELL, "1")).await;
    let client = server.client();
    until_all_ended(&client).await;
    let jobs = all_jobs(&client).await;
    history.assert_kept(Evidence { jobs: &jobs, ..Evidence::default() }, Expected::Ended);
    let job = client.job(id).await.expect("it is there");
    assert_eq!((job.state, job.attempt, job.interruptions), (JobState::Completed, 1, 0), "{job:?}");
    assert_eq!(job.result.expect("a member").as_str(), r#""well""#, "the late result was not taken");
    server.stop().await.expect_code(0);
}
