//! The programs of docs/OPERATIONS.md do what it says of them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::json;
use steadfast_domain::JobState;
use steadfast_testkit::eventually;
use steadfast_testkit::harness::{Keep, given_server};
use tempfile::TempDir;

use crate::{ended, job, run, submit, value};

/// Where the page has its own script.
const SCRIPT: &str = "/srv/jobs/count.sh";

/// The text of the first block in this language after the page's mark.
fn block(language: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/OPERATIONS.md");
    let page = fs::read_to_string(page).expect("docs/OPERATIONS.md");
    let (_, marked) = page.split_once("<!-- exec: run by").expect("the mark");
    let (_, block) = marked.split_once(&format!("```{language}\n")).expect("a block");
    block.split_once("```").expect("its end").0.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_programs_run_and_go_on() {
    let dir = TempDir::new().expect("a directory");
    let script = dir.path().join("count.sh");
    fs::write(&script, block("sh")).expect("a script can be written");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("it may be executed");
    let settings = block("toml").replace(SCRIPT, script.to_str().expect("a path"));
    let given = given_server(env!("CARGO_BIN_EXE_steadfast")).store(Keep::Sqlite);
    let mut server = given.settings(&settings).flag("--graceful-timeout", "100ms").start().await;

    let file = "common-licenses/Apache-2.0";
    let digest = run(&server, &job("digest", json!({ "file": file }))).await;
    let output = value(digest.result.as_ref())["output"].as_str().expect("text").to_owned();
    assert!(output.starts_with(&format!("SHA256 ({file}) = ")), "{output}");

    let client = server.client();
    let id = submit(&client, &job("count", json!({ "input": { "to": 1_000_000 } }))).await;
    eventually("progress is reported", async || client.job(id).await.ok()?.progress).await;
    let exit = server.stop().await.expect_code(0);
    assert_eq!(exit.jobs_named("jobs_checkpointed"), [id], "{}", exit.ledger());

    server.start_again().await;
    let client = server.client();
    let left =
        eventually("it goes on", async || client.job(id).await.ok().filter(|job| job.started_at.is_some()));
    let at = value(left.await.checkpoint.as_ref())["at"].as_u64().expect("a number");
    assert!(at > 0);
    client.cancel(id).await.expect("it is there");
    assert_eq!(ended(&client, id).await.state, JobState::Cancelled);
    let counted = run(&server, &job("count", json!({ "input": { "to": 2 } }))).await;
    assert_eq!(value(counted.result.as_ref()), json!({ "counted": 2 }));
    server.stop().await.expect_code(0);
}
