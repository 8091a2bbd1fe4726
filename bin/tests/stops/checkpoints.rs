//! A checkpoint survives what a drain never gets to see: SIGKILL.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use steadfast_domain::{InvalidField, JobState, KindName, RawJson};
use steadfast_queue::{Failure, Finish, JobContext, JobHandler};
use steadfast_testkit::eventually;
use steadfast_testkit::harness::given_server;
use steadfast_testkit::history::History;

use crate::acting;

const HALFWAY: &str = "halfway";

/// Not a test: the server, when this program is started as one.
#[test]
fn serve() {
    let kind = KindName::new("halves").expect("a valid kind");
    acting::serve_if_asked(|server| server.handlers(|built_in| built_in.with(kind, Halves)));
}

/// Stores a checkpoint and then waits for ever; an attempt that finds one completes with it.
struct Halves;

#[async_trait]
impl JobHandler for Halves {
    fn check(&self, _payload: &RawJson) -> Result<(), Vec<InvalidField>> {
        Ok(())
    }

    async fn run(&self, context: JobContext) -> Result<Finish, Failure> {
        if let Some(found) = &context.job().checkpoint {
            return Ok(Finish::Completed(Some(found.clone())));
        }
        context.checkpoint(HALFWAY).await.expect("the store is well");
        // Said only after it was stored: whoever sees this may kill the process.
        context.progress("stored").expect("a short text");
        std::future::pending().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_attempt_after_a_kill_finds_the_checkpoint() {
    let given = given_server(env!("CARGO_BIN_EXE_steadfast")).acted_by("checkpoints::serve");
    let (mut server, history) = (given.start().await, History::new());
    let id = history.submit(&server.client(), "halves", &json!({})).await.expect("room").id;
    let client = server.client();
    eventually("the handler has its answer", async || {
        client.job(id).await.expect("the job is there").progress.map(|_| ())
    })
    .await;
    server.kill().await;
    server.start_again().await;

    let job = server.client().job_when_ended(id, Duration::from_secs(30)).await.expect("the job is there");
    assert_eq!((job.state, job.interruptions, job.attempt), (JobState::Completed, 1, 1), "{job:?}");
    assert_eq!(job.result.expect("a member").decode::<String>().expect("a text"), HALFWAY);
    server.stop().await.expect_code(0);
}
