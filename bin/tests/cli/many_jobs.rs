//! `STEADFAST_TEST_BULK_JOBS=100000` is the whole of it: CONTRIBUTING.md, "The command line".

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::time::Duration;

use serde_json::json;
use steadfast_domain::JobState;
use steadfast_testkit::eventually;
use steadfast_testkit::harness::{Keep, Memory, Process, Signal};
use steadfast_testkit::history::all_jobs;

use crate::given::{command, json, server};

const JOBS: usize = 20_000;
const CAPACITY: usize = 1_000;
/// Of 50 KB each: more than [`MEMORY_BYTES_MAX`] together.
const LONG_LINES: usize = 1_200;
/// What a debug build of the whole program takes with all its threads, and room for a few batches and their answers.
const MEMORY_BYTES_MAX: usize = 48 * 1024 * 1024;
const ENDS_WITHIN: Duration = Duration::from_secs(600);

/// Looks at a process until it has ended.
async fn peak_until_end(process: &mut Process) -> usize {
    let mut peak = 0;
    while process.is_running() {
        peak = process.memory_bytes(Memory::Peak).unwrap_or(0).max(peak);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    peak
}

#[tokio::test(flavor = "multi_thread")]
async fn more_jobs_than_there_is_room_for_are_each_accepted_once_over_interruptions() {
    let given = std::env::var("STEADFAST_TEST_BULK_JOBS").map(|text| text.parse().expect("a number of jobs"));
    let jobs: usize = given.unwrap_or(JOBS);
    let server = server().capacity(CAPACITY).start().await;
    let file = server.dir().join("jobs.ndjson");
    let mut lines = String::new();
    for n in 0..jobs {
        writeln!(lines, "{{\"kind\":\"echo\",\"tags\":{{\"n\":\"{n}\"}}}}").expect("a string takes all");
    }
    fs::write(&file, lines).expect("a file");
    let path = file.display().to_string();
    let submit = || command(server.address(), ["submit", "--wait", "--file", &path]);

    let client = server.client();
    let until_accepted = async |some: usize| {
        eventually("some are accepted", async || {
            let queue = client.queues().await.ok()?.queues.remove(0);
            (queue.jobs + queue.depth.completed >= some as u64).then_some(())
        })
        .await;
    };
    let mut first = Process::start(submit());
    until_accepted(jobs / 10).await;
    first.signal(Signal::INT);
    let exit = first.exit_within(ENDS_WITHIN).await.expect("it stops").expect_code(130);
    let said = exit.stderr.text();
    assert!(said.contains("interrupted; ") && said.contains("run the same command again"), "{said}");

    let mut second = Process::start(submit());
    until_accepted(jobs / 5).await;
    second.signal(Signal::KILL);
    second.exit_within(ENDS_WITHIN).await.expect("it is killed");

    let mut third = Process::start(submit());
    let peak = peak_until_end(&mut third).await;
    println!("{jobs} jobs: {peak} bytes");
    let exit = third.exit_within(ENDS_WITHIN).await.expect("it ends").expect_code(0);
    let summary = &json(&exit)[0];
    assert_eq!(summary["completed"], json!(jobs), "{summary}");
    let accepted = summary["accepted"].as_u64().zip(summary["accepted_before"].as_u64());
    assert_eq!(accepted.map(|(now, before)| now + before), Some(jobs as u64), "{summary}");
    assert!((1..MEMORY_BYTES_MAX).contains(&peak), "{peak} bytes");

    let all = all_jobs(&client).await;
    let numbers: BTreeSet<usize> = all.iter().filter_map(|job| job.tags.get("n")?.parse().ok()).collect();
    assert_eq!((all.len(), numbers.len()), (jobs, jobs), "each line is one job");
    assert!(all.iter().all(|job| job.state == JobState::Completed));
}

#[tokio::test(flavor = "multi_thread")]
async fn long_lines_take_no_more_memory() {
    let server = server().store(Keep::Memory).capacity_bytes(4 * 1024 * 1024).start().await;
    let file = server.dir().join("jobs.ndjson");
    let line = format!("{{\"kind\":\"echo\",\"payload\":\"{}\"}}\n", "x".repeat(50_000));
    fs::write(&file, line.repeat(LONG_LINES)).expect("a file");
    let path = file.display().to_string();
    let mut submitting = Process::start(command(server.address(), ["submit", "--file", &path]));
    let peak = peak_until_end(&mut submitting).await;
    println!("long lines: {peak} bytes");
    let exit = submitting.exit_within(ENDS_WITHIN).await.expect("it ends").expect_code(0);
    assert_eq!(json(&exit)[0]["accepted"], json!(LONG_LINES));
    assert!((1..MEMORY_BYTES_MAX).contains(&peak), "{peak} bytes of a file of {}", line.len() * LONG_LINES);
}
