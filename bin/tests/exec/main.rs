//! Programs as jobs, run by the real server under real guards: what they are given, what becomes of their ends, and
//! that nothing of them outlives their attempt, whatever they do and however the server goes.
#![cfg(target_os = "linux")]
#![allow(clippy::expect_used, reason = "a panic is how a test fails")]

#[path = "../acting/mod.rs"]
mod acting;
mod documented;
mod guards;
mod leases;
mod processes;
mod runs;
mod stops;

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use steadfast_client::{Client, SubmitOptions};
use steadfast_domain::{JobId, RawJson};
use steadfast_testkit::eventually;
use steadfast_testkit::harness::{Given, Keep, Server, given_server};
use steadfast_wire::{JobDocument, SubmitRequest};
use tempfile::TempDir;

use processes::Mark;

/// Longer than any of it takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Shell scripts that a server runs as its programs, and the processes that came of them.
struct Programs {
    dir: TempDir,
    mark: Mark,
    settings: String,
}

impl Programs {
    fn new() -> Self {
        Self { dir: TempDir::new().expect("a directory"), mark: Mark::new(), settings: String::new() }
    }

    /// The program `name` runs this script; `arguments`, a list in TOML, follow it. In the script `$MARK` is a number
    /// of seconds that no other test sleeps, and `told NAME` makes a file that the test waits for.
    fn script(mut self, name: &str, arguments: &str, body: &str) -> Self {
        let path = self.dir.path().join(format!("{name}.sh"));
        let told = self.dir.path().display().to_string();
        fs::write(&path, format!("told() {{ : > {told}/$1; }}\n{body}\n")).expect("a script can be written");
        let (path, mark) = (path.display(), &self.mark);
        let between = if arguments.is_empty() { "" } else { ", " };
        self.settings += &format!(
            "[exec.{name}]\ncommand = \"/bin/sh\"\narguments = [\"{path}\"{between}{arguments}]\n\
             environment = {{ MARK = \"{mark}\" }}\n"
        );
        self
    }

    /// A server that has these programs.
    fn given(&self) -> Given {
        given_server(env!("CARGO_BIN_EXE_steadfast")).store(Keep::Memory).settings(&self.settings)
    }

    /// Waits until a script has told this.
    async fn until_told(&self, name: &str) {
        let path = self.dir.path().join(name);
        eventually(name, async || path.exists().then_some(())).await;
    }

    /// Every process that came of the scripts must be gone, now.
    #[track_caller]
    fn assert_gone(&self) {
        let left = self.mark.processes();
        assert!(left.is_empty(), "{left:#?}");
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        // A test that fails leaves nothing behind either.
        self.mark.kill_all();
    }
}

/// A job of the program `name`, with further fields of its payload.
fn job(name: &str, fields: Value) -> SubmitRequest {
    let mut payload = fields;
    payload["program"] = json!(name);
    SubmitRequest {
        kind: "exec".to_owned(),
        payload: Some(RawJson::encode(&payload).expect("a JSON value is a payload")),
        ..SubmitRequest::default()
    }
}

async fn submit(client: &Client, job: &SubmitRequest) -> JobId {
    client.submit(job, &SubmitOptions::default()).await.expect("room").job.id
}

async fn ended(client: &Client, id: JobId) -> JobDocument {
    client.job_when_ended(id, PATIENCE).await.expect("it is there")
}

/// Submits a job and waits for its end.
async fn run(server: &Server, job: &SubmitRequest) -> JobDocument {
    let client = server.client();
    ended(&client, submit(&client, job).await).await
}

fn value(json: Option<&RawJson>) -> Value {
    json.map_or(Value::Null, |json| json.decode().expect("JSON"))
}

/// Every guard was waited for.
#[track_caller]
fn assert_no_children(server: &mut Server) {
    let children = children(server.process().id());
    assert!(children.is_empty(), "{children:?}");
}

/// The ids of a process's children, those that nobody has waited for included.
fn children(id: u32) -> Vec<u32> {
    let mut children = Vec::new();
    for thread in fs::read_dir(Path::new("/proc").join(id.to_string()).join("task")).expect("it runs") {
        let listed = thread.map(|thread| thread.path().join("children")).and_then(fs::read_to_string);
        // A thread may have ended since.
        let listed = listed.unwrap_or_default();
        children.extend(listed.split_ascii_whitespace().map(|id| id.parse::<u32>().expect("a process id")));
    }
    children
}
