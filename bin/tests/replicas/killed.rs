//! A replica that dies, or is frozen for longer than its leases: the others run its jobs soon, and what it says
//! afterwards is not taken.

use std::time::Duration;

use steadfast_domain::JobState;
use steadfast_testkit::gate::{Fate, Gate};
use steadfast_testkit::harness::{Given, Server, Signal};
use steadfast_testkit::history::{Evidence, Expected, History, all_jobs, until_all_ended};
use steadfast_testkit::postgres::Cluster;
use steadfast_testkit::{eventually, within};
use steadfast_wire::JobDocument;
use tokio::time::Instant;

use crate::given::given_replica;

const JOBS: usize = 16;
/// Long enough that whoever lives renews it in time on a busy machine.
const LEASE: Duration = Duration::from_secs(6);
/// The promise is the lease and a second; a busy machine may take ten times as long.
const ELSEWHERE_WITHIN: Duration = Duration::from_secs(10 * (LEASE.as_secs() + 1));
/// What a server says when it reports the end of an attempt whose job another has taken.
const NOT_TAKEN: &str = "an attempt's end is not taken: its claim is lost";

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_a_killed_replica_run_elsewhere_within_its_lease() {
    let mut case = Case::begin().await;
    let killed = Instant::now();
    case.first.kill().await;
    case.until_run_elsewhere(killed).await;
    assert_eq!(case.gate.deliveries().iter().filter(|d| d.fate == Fate::Abandoned).count(), JOBS);

    case.gate.open();
    let jobs = case.all_ended().await;
    let deliveries = case.gate.deliveries();
    let evidence = Evidence { jobs: &jobs, deliveries: Some(&deliveries), handed_back: &[] };
    case.history.assert_kept(evidence, Expected::Ended);
    case.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_frozen_replica_says_afterwards_is_refused() {
    let mut case = Case::begin().await;
    let frozen = Instant::now();
    case.first.signal(Signal::STOP);
    case.until_run_elsewhere(frozen).await;

    // The answers to the frozen replica wait in its sockets: it is to believe that its attempts went well.
    case.gate.open();
    let before = case.all_ended().await;
    case.first.signal(Signal::CONT);
    eventually("each of its ends is refused", async || {
        (case.first.log().events(NOT_TAKEN).len() == JOBS).then_some(())
    })
    .await;
    assert_eq!(case.jobs().await, before, "nothing that it said changed a job");

    let late = case.history.submit(&case.first.client(), "http", &case.gate.payload()).await;
    late.expect("it goes on serving");
    // Its runs overlapped with the others': nobody can stop a process that is frozen. Ended once did they all.
    let jobs = case.all_ended().await;
    let evidence = Evidence { jobs: &jobs, deliveries: None, handed_back: &[] };
    case.history.assert_kept(evidence, Expected::Ended);
    case.first.stop().await.expect_code(0);
    case.stop().await;
}

/// A replica that runs jobs, all held at the gate, and two that came later and have nothing to do.
struct Case {
    gate: Gate,
    history: History,
    first: Server,
    others: Vec<Server>,
}

impl Case {
    async fn begin() -> Self {
        let store = Cluster::shared().await.new_schema();
        let given: Given = given_replica(store).flag("--lease", format!("{}s", LEASE.as_secs()));
        let (gate, history) = (Gate::closed().await, History::new());
        let first = given.clone().start().await;
        for _ in 0..JOBS {
            history.submit(&first.client(), "http", &gate.payload()).await.expect("room");
        }
        gate.until_held(JOBS).await;
        let others = given.start_replicas(2).await;
        Self { gate, history, first, others }
    }

    async fn until_run_elsewhere(&self, since: Instant) {
        let again = within(ELSEWHERE_WITHIN, async || {
            (self.gate.deliveries().len() == 2 * JOBS).then_some(since.elapsed())
        });
        let took = again.await.unwrap_or_else(|| {
            panic!("within {ELSEWHERE_WITHIN:?} ran again: {} of {JOBS}", self.gate.deliveries().len() - JOBS)
        });
        println!("ran elsewhere after {took:?}, with a lease of {LEASE:?}");
    }

    async fn jobs(&self) -> Vec<JobDocument> {
        all_jobs(&self.others[0].client()).await
    }

    /// The jobs once all have ended: completed, and interrupted once if they were the first replica's.
    async fn all_ended(&self) -> Vec<JobDocument> {
        until_all_ended(&self.others[0].client()).await;
        let jobs = self.jobs().await;
        assert!(jobs.iter().all(|job| job.state == JobState::Completed && job.attempt == 1), "{jobs:?}");
        assert_eq!(jobs.iter().map(|job| job.interruptions).sum::<u32>(), JOBS as u32, "once each");
        jobs
    }

    async fn stop(mut self) {
        for server in &mut self.others {
            server.stop().await.expect_code(0);
        }
    }
}
