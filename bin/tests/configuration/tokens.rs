//! Tokens of a whole server: its file is read again, and neither its answers nor its log betray one.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::json;
use steadfast_client::{Client, Error, SubmitOptions};
use steadfast_domain::{JobState, RawJson};
use steadfast_testkit::eventually;
use steadfast_testkit::harness::{ALL_SCOPES, Given, Server, Signal, given_server, token_entry};
use steadfast_testkit::history::{History, until_all_ended};
use steadfast_wire::SubmitRequest;
use tempfile::TempDir;

use crate::workers::{GivenWorker, Language, url};

const PROGRAM: &str = env!("CARGO_BIN_EXE_steadfast");
const IN_FORCE: &str = "read again, and in force";
const WRONG: &str = "read again, but wrong: what was in force stays so";
/// A token that nobody knows, and that nobody is to read.
const SECRET: &str = "sf_5ec4e70000000000000000000000000000000000000000000000000000000007";
/// Far more than a worker takes to end that has nothing to do.
const WITHIN: Duration = Duration::from_secs(30);
/// What the file is called.
const FILE: &str = "tokens.toml";

/// The entry of a token that may do everything.
fn entry(token: &str) -> String {
    token_entry("it", &ALL_SCOPES, token)
}

/// Puts files into the directory as Kubernetes does: by a link to a directory, which is swapped.
fn mount(dir: &Path, version: &str, tokens: &str) {
    fs::create_dir(dir.join(version)).expect("a directory");
    fs::write(dir.join(version).join(FILE), tokens).expect("a file");
    symlink(version, dir.join("..new")).expect("a link");
    fs::rename(dir.join("..new"), dir.join("..data")).expect("a swap");
}

async fn guarded(change: impl FnOnce(Given) -> Given) -> Server {
    let dir = TempDir::new().expect("a directory");
    mount(dir.path(), "v1", &entry("first"));
    symlink("..data/tokens.toml", dir.path().join(FILE)).expect("a link");
    let given = given_server(PROGRAM).flag("--token-file", dir.path().join(FILE));
    change(given).start_in(dir).await
}

async fn is_taken(server: &Server, token: &str) -> bool {
    let client = Client::with_token(&format!("http://{}", server.address()), token).expect("a client");
    match client.queues().await {
        Ok(_) => true,
        Err(Error::Refused(problem)) if problem.code == "unauthenticated" => false,
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_file_comes_into_force_by_itself_and_a_wrong_one_does_not() {
    let mut server = guarded(|given| given).await;
    assert!(is_taken(&server, "first").await && !is_taken(&server, "second").await);
    mount(server.dir(), "v2", &entry("second"));
    eventually("the new token is taken", async || is_taken(&server, "second").await.then_some(())).await;
    assert!(!is_taken(&server, "first").await, "the old one is not");

    mount(server.dir(), "v3", "[[token]]\nname = \"it\"\nsha256 = \"third\"");
    let said = server.until_logged(WRONG).await;
    let error = said["error"].as_str().expect("a text");
    assert!(error.contains(FILE) && error.contains("token 1 (it): scopes"), "{error}");
    assert!(is_taken(&server, "second").await, "what was in force stays so");
    mount(server.dir(), "v4", &entry("fourth"));
    eventually("the repaired file is taken", async || is_taken(&server, "fourth").await.then_some(())).await;
    server.stop().await.expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_reads_the_file_at_once_changed_or_not() {
    let mut server = guarded(|given| given).await;
    server.signal(Signal::HUP);
    server.until_logged(IN_FORCE).await;
    assert!(is_taken(&server, "first").await);
    fs::remove_file(server.dir().join(FILE)).expect("a link is gone");
    server.signal(Signal::HUP);
    let said = server.until_logged(WRONG).await;
    assert!(said["error"].as_str().is_some_and(|error| error.contains(FILE)), "{said}");
    assert!(is_taken(&server, "first").await, "a file that is gone takes nothing back");
    server.stop().await.expect_code(0);
}

/// The head and the body that curl gets.
fn curl(server: &Server, arguments: &[&str], path: &str) -> String {
    let url = format!("http://{}{path}", server.address());
    let mut run = Command::new("curl");
    run.args(["--silent", "--show-error", "--include"]).args(arguments).arg(url);
    let run = run.output().expect("curl runs");
    assert!(run.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&run.stderr));
    String::from_utf8(run.stdout).expect("text")
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_is_in_any_answer_or_in_the_log_at_its_most_talkative() {
    let mut server = guarded(|given| given.flag("--log", "trace")).await;
    fs::write(server.dir().join("v1").join(FILE), format!("{}[[token]]\n{SECRET} = 1", entry("first")))
        .expect("a file");
    server.signal(Signal::HUP);
    server.until_logged(WRONG).await;
    let wrong = format!("Authorization: Bearer {SECRET}");
    let malformed = format!("Authorization: Basic {SECRET}");
    let right = "Authorization: Bearer first";
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        for header in [wrong.as_str(), &malformed, right] {
            let job = json!({ "kind": "echo" }).to_string();
            for arguments in
                [&[version, "--header", header, "--json", &job][..], &[version, "--header", header]]
            {
                let answer = curl(&server, arguments, "/v1/jobs");
                let expected = if header == right { " 20" } else { " 401" };
                assert!(answer.lines().next().is_some_and(|line| line.contains(expected)), "{answer}");
                assert!(!answer.contains(SECRET), "{answer}");
            }
        }
    }
    let exit = server.stop().await.expect_code(0);
    let log = exit.stderr.text();
    assert!(log.contains("\"DEBUG\"") && log.contains("unauthenticated"), "the log has it all");
    assert!(!log.contains(SECRET) && !log.contains("Bearer first"), "the log betrays a token");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_workers_bring_their_token() {
    let mut server = guarded(|given| given.settings("[queues.default]\nmode = \"pull\"\n")).await;
    let client = Client::with_token(&url(&server), "first").expect("a client");
    for language in [Language::Python, Language::Node] {
        let mut stranger = GivenWorker::new(language).token(SECRET).start(&url(&server));
        let exit = stranger.exit_within(WITHIN).await.expect("it is refused for good");
        assert!(exit.output().contains("unauthenticated"), "{}", exit.output());

        let id = History::new().submit(&client, "any", &json!({})).await.expect("room").id;
        let mut worker = GivenWorker::new(language).token("first").start(&url(&server));
        until_all_ended(&client).await;
        assert_eq!(client.job(id).await.expect("an answer").state, JobState::Completed);
        worker.signal(Signal::TERM);
        worker.exit_within(WITHIN).await.expect("it ends").expect_code(0);
    }
    server.stop().await.expect_code(0);
}

/// A job goes out from the server's own machine, to where a client chose.
#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_to_the_server_itself_drains_nothing() {
    let mut server = guarded(|given| given).await;
    let client = Client::with_token(&url(&server), "first").expect("a client");
    let payload = RawJson::encode(&json!({ "url": format!("{}/v1/drain", url(&server)) })).expect("JSON");
    let job = SubmitRequest { kind: "http".into(), payload: Some(payload), ..SubmitRequest::default() };
    let id = client.submit(&job, &SubmitOptions::default()).await.expect("room").job.id;
    let job = client.job_when_ended(id, WITHIN).await.expect("it ends");
    assert!(job.state == JobState::Dead && job.errors[0].message.contains("401"), "{job:?}");
    client.ready().await.expect("it serves on");
    server.stop().await.expect_code(0);
}
