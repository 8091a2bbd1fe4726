use std::collections::BTreeSet;
use std::net::SocketAddr;

use steadfast_testkit::harness::{Keep, Memory};
use steadfast_testkit::history::all_jobs;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::mutations::Mutations;
use crate::{all_said_to, answers, assert_no_complaint, given};

const REQUESTS: usize = 10_000;
/// After so many everything that is made once has been made.
const WARM_UP: usize = 2_000;
const AT_ONCE: usize = 200;
const SEED: u64 = 1;
/// What the server's own memory may grow by in the other 8,000: it goes up and down by 2 MiB, and would be above this if
/// it kept 1 KiB of each.
const GROWTH_BYTES_MAX: usize = 8_000 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_malformed_requests_leave_the_server_as_it_was() {
    let mut server = given()
        .store(Keep::Memory)
        // What never becomes whole holds nobody up.
        .flag("--header-timeout", "200ms")
        .flag("--body-timeout", "200ms")
        .start()
        .await;
    let (mut mutations, mut told, began) = (Mutations::new(SEED), BTreeSet::new(), Instant::now());
    send(server.address(), &mut mutations, WARM_UP, &mut told).await;
    let before = server.memory_bytes(Memory::Own);
    send(server.address(), &mut mutations, REQUESTS - WARM_UP, &mut told).await;
    let after = server.memory_bytes(Memory::Own);
    println!(
        "{REQUESTS} in {:?}, {} jobs told of, {before} and then {after} bytes",
        began.elapsed(),
        told.len()
    );

    let jobs = all_jobs(&server.client()).await;
    let untold: Vec<_> = jobs.iter().filter(|job| !told.contains(&job.id.to_string())).collect();
    assert!(untold.is_empty(), "jobs that nobody was told of: {untold:?}");
    assert!(after.saturating_sub(before) < GROWTH_BYTES_MAX, "{before} bytes became {after}");
    server.assert_serves().await;
    assert_no_complaint(&server);
    server.stop().await.expect_code(0);
}

/// Sends the next `count`, and notes every job that an answer accepts.
async fn send(address: SocketAddr, mutations: &mut Mutations, count: usize, told: &mut BTreeSet<String>) {
    let mut sending = JoinSet::new();
    for _ in 0..count {
        if sending.len() == AT_ONCE {
            note(sending.join_next().await.expect("one is being sent").expect("it has ended in order"), told);
        }
        let request = mutations.next();
        sending.spawn(async move { all_said_to(address, &request).await });
    }
    for said in sending.join_all().await {
        note(said, told);
    }
}

/// Only a 202 tells of a job that was accepted: another answer may name one that was there before.
fn note(said: String, told: &mut BTreeSet<String>) {
    let accepted = answers(&said).filter(|answer| answer.starts_with("202"));
    let ids = accepted.flat_map(|answer| answer.split("\"id\":\"").skip(1));
    told.extend(ids.filter_map(|rest| rest.get(..36)).map(str::to_owned));
}
