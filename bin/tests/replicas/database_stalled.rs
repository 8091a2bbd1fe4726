//! One replica loses sight of the database, which is well: its jobs stop before another runs them, it says that it
//! is not ready, and a drain of it ends on time.

use std::time::Duration;

use serde_json::json;
use steadfast_domain::JobState;
use steadfast_testkit::eventually;
use steadfast_testkit::gate::{Delivery, Fate, Gate};
use steadfast_testkit::harness::{Given, Server, Signal};
use steadfast_testkit::history::{Evidence, Expected, History, all_jobs, until_all_ended};
use steadfast_testkit::ports::loopback;
use steadfast_testkit::postgres::{Cluster, in_schema};
use steadfast_testkit::proxy::{Cut, Proxy};
use steadfast_wire::{ErrorCode, Outcome};
use tokio::time::Instant;

use crate::given::given_replica;

const JOBS: usize = 8;
/// A tenth of it is left when the last of a replica's jobs has stopped: long enough for a busy machine.
const LEASE: Duration = Duration::from_secs(10);
/// Of those who are gone before it ends.
const SHORT_LEASE: Duration = Duration::from_secs(5);
const REQUEST: Duration = Duration::from_secs(2);
/// What may come on top of a time that is kept to: this machine may be busy. Whoever waited for the database would wait
/// for longer than the test does.
const BEYOND: Duration = Duration::from_secs(20);
/// The budget of a drain.
const GRACEFUL: Duration = Duration::from_millis(500);
const CANCEL: Duration = Duration::from_millis(500);
const CLOSE: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_replica_stops_its_jobs_before_another_runs_them() {
    let case = Case::begin(LEASE).await;
    let mut other = case.direct.clone().start().await;
    case.proxy.stall();
    let stalled = Instant::now();

    let submit = case.assert_submit_is_refused_in_time();
    let stops = case.until_deliveries("stopped", |delivery| delivery.fate == Fate::Abandoned, JOBS);
    let runs = case.until_deliveries("begun elsewhere", |_| true, 2 * JOBS);
    let client = case.server.client();
    let unready = eventually("it is not ready", async || client.ready().await.err());
    tokio::join!(submit, stops, runs, unready);
    println!("not ready after {:?}", stalled.elapsed());
    other.client().ready().await.expect("the other never lost sight");

    case.proxy.pass();
    eventually("it is ready again", async || case.server.client().ready().await.ok()).await;
    case.history.submit(&case.server.client(), "echo", &json!({})).await.expect("it accepts again");
    case.gate.open();
    case.assert_all_completed(&other, 1).await;
    let mut server = case.server;
    server.stop().await.expect_code(0);
    other.stop().await.expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_without_an_answer_from_the_database_ends_on_time() {
    drains_without_database(|proxy| proxy.stall()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_without_a_connection_to_the_database_ends_on_time() {
    drains_without_database(|proxy| proxy.cut_off(Cut::Reset)).await;
}

async fn drains_without_database(lose: impl FnOnce(&Proxy)) {
    let mut case = Case::begin(SHORT_LEASE).await;
    lose(&case.proxy);
    case.server.signal(Signal::TERM);
    let exit = case.server.exit().await.expect_code(75);
    assert!(exit.took < GRACEFUL + CANCEL + CLOSE + BEYOND, "within its budget: {:?}", exit.took);
    let mut named = exit.jobs_named("jobs_unsettled");
    named.sort();
    let mut running = case.history.accepted();
    running.sort();
    assert_eq!(named, running, "what could not be handed back\n{}", exit.output());

    case.gate.open();
    let other = case.direct.clone().start().await;
    case.assert_all_completed(&other, 1).await;
}

/// A replica that sees the database through a proxy, and runs jobs that are held at the gate.
struct Case {
    gate: Gate,
    history: History,
    proxy: Proxy,
    server: Server,
    /// A replica that sees the database itself.
    direct: Given,
}

impl Case {
    async fn begin(lease: Duration) -> Self {
        let cluster = Cluster::shared().await;
        let schema = cluster.new_schema_name();
        let proxy = Proxy::to(loopback(cluster.port())).await;
        let store = in_schema(&cluster.url_through(proxy.address().port()), &schema);
        let server = given(store, lease).start().await;
        let direct = given(in_schema(&cluster.url(), &schema), lease);
        let (gate, history) = (Gate::closed().await, History::new());
        for _ in 0..JOBS {
            history.submit(&server.client(), "http", &gate.payload()).await.expect("room");
        }
        gate.until_held(JOBS).await;
        Self { gate, history, proxy, server, direct }
    }

    /// A submit that the database does not answer says so, within the request's time.
    async fn assert_submit_is_refused_in_time(&self) {
        let asked = Instant::now();
        let refused = self.history.submit(&self.server.client(), "echo", &json!({})).await;
        let (error, took) = (refused.expect_err("the database does not answer"), asked.elapsed());
        assert!(took < REQUEST + BEYOND, "within its request time: {took:?}");
        match error.code() {
            Some(ErrorCode::StoreUnavailable) => {}
            Some(ErrorCode::TimedOut) => assert_eq!(error.outcome(), Outcome::Unknown, "{error}"),
            _ => panic!("neither unavailable nor timed out: {error}"),
        }
        println!("a submit was answered after {took:?}: {error}");
    }

    /// Waits until so many deliveries are as `which` wants them.
    async fn until_deliveries(&self, what: &str, which: impl Fn(&Delivery) -> bool, count: usize) {
        let begun = Instant::now();
        eventually(what, async || {
            let deliveries = self.gate.deliveries();
            (deliveries.iter().filter(|delivery| which(delivery)).count() == count).then_some(())
        })
        .await;
        println!("{count} deliveries {what} after {:?}", begun.elapsed());
    }

    /// Every job ends once, never runs twice at a time, and those that were held were interrupted so often.
    async fn assert_all_completed(&self, server: &Server, interruptions: u32) {
        until_all_ended(&server.client()).await;
        let (jobs, deliveries) = (all_jobs(&server.client()).await, self.gate.deliveries());
        let evidence = Evidence { jobs: &jobs, deliveries: Some(&deliveries), handed_back: &[] };
        self.history.assert_kept(evidence, Expected::Ended);
        let held = jobs.iter().filter(|job| job.kind == "http");
        for job in held {
            assert_eq!((job.state, job.interruptions), (JobState::Completed, interruptions), "{job:?}");
        }
    }
}

fn given(store: String, lease: Duration) -> Given {
    let millis = |time: Duration| format!("{}ms", time.as_millis());
    given_replica(store)
        .flag("--lease", millis(lease))
        .flag("--request-timeout", millis(REQUEST))
        .flag("--graceful-timeout", millis(GRACEFUL))
        .flag("--cancel-timeout", millis(CANCEL))
        .flag("--close-timeout", millis(CLOSE))
}
