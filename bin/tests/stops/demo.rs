//! The demonstrations: the program's own, as whoever tries Steadfast for the first time runs it, and that of a stop under
//! load.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use steadfast_testkit::eventually;
use steadfast_testkit::harness::{Process, Signal};

/// Many times what it takes.
const ENDED_WITHIN: Duration = Duration::from_secs(300);

fn demo(arguments: &[&str]) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_steadfast"));
    command.arg("demo").args(arguments);
    Process::start(command)
}

#[tokio::test(flavor = "multi_thread")]
async fn it_floods_stops_starts_again_and_finds_every_accepted_job_ended_once() {
    let mut told = demo(&["--flood-for", "500ms", "--output", "text"]);
    // However short, a flood goes on until somebody was refused.
    let mut judged = demo(&["--flood-for", "0s", "--output", "json"]);

    let exit = told.exit_within(ENDED_WITHIN).await.expect("it ends");
    assert_eq!(exit.code, Some(0), "{}", exit.output());
    let story = exit.stdout.text();
    for part in [
        "1. A server",
        "2. SIGTERM",
        "exit code 0",
        "jobs finished",
        "3. The same server",
        "4. The crowd",
        "5.",
    ] {
        assert!(story.contains(part), "{part}: {story}");
    }
    assert!(story.ends_with("Every accepted job ended once."), "{story}");
    assert!(!directory_in(&story).exists(), "nothing is left behind");

    let exit = judged.exit_within(ENDED_WITHIN).await.expect("it ends");
    assert_eq!(exit.code, Some(0), "{}", exit.output());
    let verdict: Value = serde_json::from_str(&exit.stdout.text()).expect("one document");
    let count = |name: &str| verdict[name].as_u64().unwrap_or_else(|| panic!("{name}: {verdict}"));
    assert!(count("accepted") > 0 && count("refused_full") > 0 && count("refused_away") > 0, "{verdict}");
    assert_eq!((count("stored"), count("completed")), (count("accepted"), count("accepted")), "{verdict}");
    assert_eq!(verdict["violations"], serde_json::json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interruption_leaves_no_server_and_no_store_behind() {
    let mut demo = demo(&["--flood-for", "1h", "--output", "text"]);
    let story = eventually("it has begun", async || {
        let story = demo.stdout().text();
        story.contains("a crowd").then_some(story)
    })
    .await;
    let dir = directory_in(&story);
    assert!(dir.exists(), "{story}");

    demo.signal(Signal::INT);
    let exit = demo.exit_within(ENDED_WITHIN).await.expect("it ends");
    assert_eq!(exit.code, Some(130), "{}", exit.output());
    assert!(!dir.exists(), "nothing is left behind");
    eventually("no server runs in it", async || (!runs_in(&dir)).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_script_shows_a_stop_under_load_and_that_nothing_is_lost() {
    // Many times what a look takes, and less than the jobs that run do with the graceful time on top.
    let mut shown = script(&["100", "--lame-duck", "3s"], Path::new(env!("CARGO_BIN_EXE_steadfast")));
    let exit = shown.exit_within(ENDED_WITHIN).await.expect("it ends");
    assert_eq!(exit.code, Some(0), "{}", exit.output());
    let story = exit.stdout.text();
    for part in [
        "lame_duck    /readyz 503   steadfast_draining 1",
        "draining     /readyz 503   steadfast_draining 1",
        "exit code 0 after",
        "drained in",
        "jobs checkpointed",
        "each of the 100 jobs completed once",
    ] {
        assert!(story.contains(part), "{part}: {story}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_script_says_what_it_waits_for_in_vain() {
    let dir = tempfile::tempdir().expect("a directory");
    let program = dir.path().join("steadfast");
    let submits_nothing =
        concat!("#!/bin/sh\n[ $1 = submit ] || exec ", env!("CARGO_BIN_EXE_steadfast"), " \"$@\"\n");
    fs::write(&program, submits_nothing).expect("written");
    fs::set_permissions(&program, Permissions::from_mode(0o755)).expect("its owner may");
    for (jobs, said) in [
        ("10", "10 jobs are no flood: 100 at least"),
        ("100", "the flood ended before all workers were at work"),
    ] {
        let exit = script(&[jobs], &program).exit_within(ENDED_WITHIN).await.expect("it ends");
        assert_eq!(exit.code, Some(1), "{}", exit.output());
        assert!(exit.stderr.text().contains(said), "{}", exit.output());
    }
}

/// The script with this program.
fn script(arguments: &[&str], program: &Path) -> Process {
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/shutdown-demo"));
    command.args(arguments).env("STEADFAST", program);
    Process::start(command)
}

/// Where the story says that the store is.
fn directory_in(story: &str) -> PathBuf {
    let (_, rest) = story.split_once(" at once, in ").expect("it says where");
    rest.split_once(';').expect("it goes on").0.into()
}

/// Whether a process has its working directory there, removed or not.
fn runs_in(dir: &Path) -> bool {
    let processes = fs::read_dir("/proc").expect("Linux").filter_map(Result::ok);
    let cwd = |process: fs::DirEntry| fs::read_link(process.path().join("cwd")).ok();
    processes.filter_map(cwd).any(|cwd| cwd.to_string_lossy().starts_with(&*dir.to_string_lossy()))
}
