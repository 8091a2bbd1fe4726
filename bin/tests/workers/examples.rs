//! Workers that die, freeze, or are told to stop, while they hold leases.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use serde_json::json;
use steadfast_client::{Client, JobEvent};
use steadfast_domain::JobState;
use steadfast_testkit::harness::{Process, Server, Signal};
use steadfast_testkit::history::{Evidence, Expected, History, all_jobs};
use steadfast_testkit::{eventually, within};
use steadfast_wire::JobDocument;
use tokio::time::Instant;

use crate::given::{GivenWorker, Language, examples, given_server_without_workers, metrics, url};

const JOBS: usize = 50;
/// Long enough that whoever lives renews it in time on a busy machine.
const LEASE: Duration = Duration::from_secs(8);
/// What a job takes whose worker is struck before it has ended.
const JOB_SECONDS: u64 = 5;
/// The promise is the lease and a second; a busy machine may take ten times as long.
const ELSEWHERE_WITHIN: Duration = Duration::from_secs(10 * (LEASE.as_secs() + 1));

/// Each of these for every language in which there is an example.
macro_rules! for_each_language {
    ($($name:ident)*) => {
        mod python {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() { super::$name(super::Language::Python).await })*
        }
        mod node {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() { super::$name(super::Language::Node).await })*
        }
    };
}

for_each_language! {
    jobs_of_a_killed_worker_are_run_by_another_within_its_lease
    what_a_frozen_worker_says_afterwards_is_refused
    a_worker_that_is_told_to_stop_ends_its_jobs_and_takes_no_more
}

async fn jobs_of_a_killed_worker_are_run_by_another_within_its_lease(language: Language) {
    let mut case = Case::begin(language).await;
    case.first.signal(Signal::KILL);
    case.until_run_by_another(Instant::now()).await;
    case.ended_once_by_another().await;
}

async fn what_a_frozen_worker_says_afterwards_is_refused(language: Language) {
    let mut case = Case::begin(language).await;
    case.first.signal(Signal::STOP);
    case.until_run_by_another(Instant::now()).await;
    let before = case.ended_once_by_another().await;

    case.first.signal(Signal::CONT);
    // One that has heard of its loss stops, and says so; else it says that it is done. Nobody believes either.
    eventually("each late word is refused", async || {
        (answered(&case.server, "/", 409).await == JOBS as u64).then_some(())
    })
    .await;
    assert_eq!(all_jobs(&case.client).await, before, "nothing that it said changed a job");
}

async fn a_worker_that_is_told_to_stop_ends_its_jobs_and_takes_no_more(language: Language) {
    let server = given_server_without_workers().start().await;
    let (client, history) = (server.client(), History::new());
    let worker = GivenWorker::new(language).places(2).lease_ms(5_000);
    let mut worker = worker.start(&url(&server));
    for _ in 0..6 {
        history.submit(&client, "any", &json!({"seconds": 8})).await.expect("room");
    }
    until_processing(&client, 2).await;
    // The answer that gives a job may still be on its way, and what a stop finds there is lost until its lease ends. Before
    // the second round of heartbeats from now on it is there.
    let then = answered(&server, "/heartbeat", 200).await;
    eventually("it renews its leases", async || {
        (answered(&server, "/heartbeat", 200).await >= then + 2).then_some(())
    })
    .await;

    worker.signal(Signal::TERM);
    let exit = worker.exit_within(ELSEWHERE_WITHIN).await.expect("it ends");
    assert_eq!(exit.code, Some(0), "{}", exit.output());
    let jobs = all_jobs(&client).await;
    let in_state = |state| jobs.iter().filter(|job| job.state == state).count();
    assert_eq!((in_state(JobState::Completed), in_state(JobState::Queued)), (2, 4), "{jobs:?}");
    assert!(jobs.iter().all(|job| job.interruptions == 0), "{jobs:?}");
    history.assert_kept(evidence(&jobs), Expected::AtRest);
}

#[test]
fn the_example_workers_are_shorter_than_60_lines() {
    for script in ["worker.py", "worker.mjs"] {
        let text = fs::read_to_string(examples().join(script)).expect("the example");
        assert!(text.lines().count() < 60, "{script}: {}", text.lines().count());
    }
}

/// A server and a worker that holds [`JOBS`] leases; nobody else is there to run the jobs.
struct Case {
    server: Server,
    client: Client,
    history: History,
    first: Process,
    worker: GivenWorker,
    /// Whom the jobs go to.
    second: Option<Process>,
    first_name: String,
}

impl Case {
    async fn begin(language: Language) -> Self {
        let server = given_server_without_workers().start().await;
        let (client, history) = (server.client(), History::new());
        let worker = GivenWorker::new(language).places(JOBS).lease_ms(LEASE.as_millis() as u64);
        let first = worker.start(&url(&server));
        // Who is there already takes them all at once.
        eventually("it asks for as many jobs", async || {
            let asking = format!("steadfast_http_requests_in_flight {}", JOBS + 1);
            metrics(&server).await.lines().any(|line| line == asking).then_some(())
        })
        .await;
        history.submit_batch(&client, "any", &json!({"seconds": JOB_SECONDS}), JOBS).await.expect("room");
        until_processing(&client, JOBS as u64).await;
        let owners: BTreeSet<_> = all_jobs(&client).await.into_iter().filter_map(|job| job.owner).collect();
        let first_name = Vec::from_iter(owners).join(" and ");
        assert!(first_name.ends_with(&format!(":{}", first.id())), "held by one worker, not {first_name}");
        Self { server, client, history, first, worker, second: None, first_name }
    }

    async fn until_run_by_another(&mut self, since: Instant) {
        self.second = Some(self.worker.start(&url(&self.server)));
        let elsewhere = async || {
            let jobs = all_jobs(&self.client).await;
            let by_first =
                |job: &&JobDocument| job.owner.as_ref().is_none_or(|owner| owner.contains(&self.first_name));
            let left = jobs.iter().filter(|job| job.state != JobState::Completed).filter(by_first).count();
            (left == 0).then(|| since.elapsed())
        };
        let took = within(ELSEWHERE_WITHIN, elsewhere).await.expect("another runs all of them");
        println!("run by another after {took:?}, with leases of {LEASE:?}");
    }

    /// The jobs in the end: each completed once, by the second worker, interrupted once, in its first attempt.
    async fn ended_once_by_another(&self) -> Vec<JobDocument> {
        let all_ended = async || {
            let queues = self.client.queues().await.ok()?.queues;
            queues.iter().all(|queue| queue.jobs == 0).then_some(())
        };
        within(ELSEWHERE_WITHIN, all_ended).await.expect("all of them end");
        let jobs = all_jobs(&self.client).await;
        self.history.assert_kept(evidence(&jobs), Expected::Ended);
        for listed in &jobs {
            assert_eq!((listed.attempt, listed.interruptions), (1, 1), "{listed:?}");
            let mut events = self.client.job_events(listed.id, None);
            let mut completions = 0;
            while let Some(event) = events.next().await.expect("its events") {
                match event {
                    JobEvent::State(change) => {
                        completions += usize::from(change.state == JobState::Completed)
                    }
                    JobEvent::End(job) => {
                        let result = job.result.expect("a result");
                        assert!(!result.as_str().contains(&self.first_name), "{result:?}");
                    }
                    JobEvent::Processing { .. } | JobEvent::Progress(_) => {}
                }
            }
            assert_eq!(completions, 1, "{listed:?}");
        }
        jobs
    }
}

fn evidence(jobs: &[JobDocument]) -> Evidence<'_> {
    Evidence { jobs, ..Evidence::default() }
}

async fn until_processing(client: &Client, jobs: u64) {
    eventually("as many jobs are processing", async || {
        let queues = client.queues().await.ok()?.queues;
        (queues.iter().map(|queue| queue.depth.processing).sum::<u64>() == jobs).then_some(())
    })
    .await;
}

/// How many requests to these paths under leases were answered so.
async fn answered(server: &Server, path: &str, status: u16) -> u64 {
    let (path, status) = (format!("/v1/leases{path}"), format!("\"{status}\""));
    let so_answered = |line: &&str| {
        line.starts_with("steadfast_http_requests_total") && line.contains(&path) && line.contains(&status)
    };
    let count = |line: &str| line.rsplit(' ').next().and_then(|count| count.parse::<u64>().ok()).unwrap_or(0);
    metrics(server).await.lines().filter(so_answered).map(count).sum()
}
