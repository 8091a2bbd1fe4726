//! The server is replaced again and again, gracefully and not, while the example workers work on.

use std::collections::BTreeMap;
use std::env;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use steadfast_client::Client;
use steadfast_domain::{JobId, JobState};
use steadfast_testkit::harness::{Process, Server, Signal};
use steadfast_testkit::history::{Evidence, Expected, History, all_jobs};
use steadfast_testkit::ports::free_port;
use steadfast_testkit::within;
use tokio::time::Instant;

use crate::given::{GivenWorker, Language, given_server_without_workers, url};

/// How many jobs there are; CONTRIBUTING.md says when to take more.
const JOBS: usize = 1_000;
const JOBS_VARIABLE: &str = "STEADFAST_TEST_ROLLING_JOBS";
const BATCH: usize = 1_000;
const WORKERS: usize = 10;
/// Jobs at once in each.
const PLACES: usize = 4;
const REPLACEMENTS: usize = 3;
/// Of workers that are to lose none of them, on a machine that may be busy.
const LONG_LEASE_MS: u64 = 30_000;
/// Of workers that wait until one that was lost has ended.
const SHORT_LEASE_MS: u64 = 5_000;
/// Many times what the whole run takes.
const ENDED_WITHIN: Duration = Duration::from_secs(600);

#[tokio::test(flavor = "multi_thread")]
async fn workers_ride_through_graceful_replacements_and_no_lease_ends() {
    let interrupted = ended_through_replacements(LONG_LEASE_MS, async |server| {
        server.stop().await.expect_code(0);
        server.start_again().await;
    });
    assert_eq!(interrupted.await, BTreeMap::new(), "what a drain cost");
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_ride_through_kills_which_cost_what_was_on_its_way() {
    let interrupted = ended_through_replacements(SHORT_LEASE_MS, async |server| {
        server.kill().await;
        server.start_again().await;
    })
    .await;
    // A server that is killed between taking a job and telling so costs a lease: at most one for each place.
    assert!(interrupted.len() <= REPLACEMENTS * WORKERS * PLACES, "{} leases ended", interrupted.len());
}

/// Runs all jobs by ten workers while the server is replaced. Each completes, once; which leases ended meanwhile, and
/// how often, is what it returns.
async fn ended_through_replacements(
    lease_ms: u64,
    replace: impl AsyncFn(&mut Server),
) -> BTreeMap<JobId, u32> {
    let jobs = env::var(JOBS_VARIABLE).map_or(JOBS, |jobs| jobs.parse().expect("a number of jobs"));
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let mut server = given_server_without_workers().listen(address).start().await;
    let history = History::new();
    for _ in 0..jobs.div_ceil(BATCH) {
        history.submit_batch(&server.client(), "any", &json!({}), BATCH.min(jobs)).await.expect("room");
    }
    let begun = Instant::now();
    let mut workers: Vec<Process> = (0..WORKERS)
        .map(|number| if number % 2 == 0 { Language::Python } else { Language::Node })
        .map(|language| GivenWorker::new(language).places(PLACES).lease_ms(lease_ms).start(&url(&server)))
        .collect();

    for replacement in 1..=REPLACEMENTS {
        until_completed(&server.client(), jobs * replacement / (REPLACEMENTS + 1)).await;
        replace(&mut server).await;
    }
    until_completed(&server.client(), jobs).await;
    let took = begun.elapsed();
    for worker in &mut workers {
        assert!(worker.is_running(), "no worker gives up: {}", worker.stderr().text());
        worker.signal(Signal::TERM);
        let exit = worker.exit_within(ENDED_WITHIN).await.expect("it ends");
        assert_eq!(exit.code, Some(0), "{}", exit.output());
    }
    let found = all_jobs(&server.client()).await;
    assert!(found.iter().all(|job| job.state == JobState::Completed && job.attempt == 1));
    history.assert_kept(Evidence { jobs: &found, ..Evidence::default() }, Expected::Ended);
    let interrupted = found.iter().filter(|job| job.interruptions > 0);
    let interrupted = interrupted.map(|job| (job.id, job.interruptions)).collect();
    println!(
        "{jobs} jobs, {WORKERS} workers, {REPLACEMENTS} replacements: {took:?}; leases ended: {interrupted:?}"
    );
    interrupted
}

async fn until_completed(client: &Client, jobs: usize) {
    let completed = async || {
        let queues = client.queues().await.ok()?.queues;
        let completed: u64 = queues.iter().map(|queue| queue.depth.completed).sum();
        (completed >= jobs as u64).then_some(())
    };
    within(ENDED_WITHIN, completed).await.unwrap_or_else(|| panic!("{jobs} jobs are completed"));
}
