//! A rolling deploy under load: three replicas behind HAProxy, with the configuration of `deploy/rolling`, are
//! replaced one after the other, and no client notices more than a wait.
#![allow(clippy::expect_used, reason = "a panic is how a test fails")]
#![allow(clippy::print_stdout, reason = "figures of a run, shown when it fails or with --nocapture")]

mod acting;
#[path = "replicas/given.rs"]
mod replicas;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use replicas::given_replica;
use serde_json::{Value, json};
use steadfast_client::{Client, Error};
use steadfast_domain::JobState;
use steadfast_testkit::eventually;
use steadfast_testkit::gate::Gate;
use steadfast_testkit::haproxy::HaProxy;
use steadfast_testkit::harness::{Exit, Server, Signal};
use steadfast_testkit::history::{Evidence, Expected, History, all_jobs, until_all_ended};
use steadfast_testkit::ports::{free_port, loopback};
use steadfast_testkit::postgres::Cluster;
use steadfast_testkit::stubborn::STUBBORN;
use steadfast_wire::ErrorCode;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

const PROXY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/rolling/haproxy.cfg");
const REPLICAS: usize = 3;
/// Longer than the proxy needs to see that a replica drains, as a platform needs to take it out of its endpoints.
const LAME_DUCK: Duration = Duration::from_millis(1_500);
const GRACEFUL: Duration = Duration::from_secs(1);
const CANCEL: Duration = Duration::from_millis(500);
const CLOSE: Duration = Duration::from_secs(2);
/// Longer than a drain lets a job finish: it is told to stop, and stops.
const SLOW: Duration = Duration::from_secs(4);
/// Longer than the whole drain, for a job that hears nothing.
const STUCK: Duration = Duration::from_secs(8);
/// Seconds that the load goes on and replicas are replaced: one round of replacements unless it is set.
const SECONDS: &str = "STEADFAST_TEST_ROLLING_SECONDS";

/// Not a test: the replicas, when this program is started as one.
#[test]
fn serve() {
    replicas::serve_if_asked();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_deploy_under_load_loses_nothing_and_shows_no_client_a_broken_connection() {
    let (mut servers, haproxy) = deploy().await;
    let gate = Gate::closed().await;
    gate.open();
    let history = Arc::new(History::new());
    let client = Client::new(&format!("http://{}", haproxy.address())).expect("an address");

    let begun = Instant::now();
    let time = Duration::from_secs(seconds());
    let load = Load::start(&client, &history, &gate);
    let mut handed_back = Vec::new();
    let mut abandoned = 0;
    let mut replacements = 0;
    while replacements < REPLICAS || begun.elapsed() < time {
        let replica = replacements % REPLICAS;
        let exit = replace(&mut servers[replica]).await;
        // Whose run ended without a result: it is in no job's account.
        let members = ["jobs_handed_back", "jobs_checkpointed", "jobs_abandoned"];
        handed_back.extend(members.into_iter().flat_map(|member| exit.jobs_named(member)));
        abandoned += exit.jobs_named("jobs_abandoned").len();
        replacements += 1;
        haproxy.until_back(replica + 1, replacements.div_ceil(REPLICAS)).await;
    }
    let failures = load.end().await;

    until_all_ended(&client).await;
    println!(
        "{replacements} replacements in {:?}: {} jobs accepted, {failures:?}, {} runs given back",
        begun.elapsed(),
        history.accepted().len(),
        handed_back.len()
    );
    assert_eq!(failures.broken, 0, "no connection breaks behind the proxy\n{}", haproxy.log());
    assert!(!handed_back.is_empty(), "some jobs were longer than a drain");
    assert!(abandoned > 0, "no drain waits for a job that is stuck");
    let (jobs, deliveries) = (all_jobs(&client).await, gate.deliveries());
    let evidence = Evidence { jobs: &jobs, deliveries: Some(&deliveries), handed_back: &handed_back };
    history.assert_kept(evidence, Expected::Ended);
    assert!(jobs.iter().all(|job| job.state == JobState::Completed), "every accepted job completes");
    for server in &mut servers {
        server.stop().await.expect_code(0);
    }
}

/// What one client submits, and how long it waits after each answer: the load is steady, and not all that the
/// machine can do.
struct Submits {
    kind: &'static str,
    payload: Value,
    pause: Duration,
}

fn clients(gate: &Gate) -> Vec<Submits> {
    let quick = || Submits { kind: "http", payload: gate.payload(), pause: Duration::from_millis(20) };
    let empty = || Submits { kind: "echo", payload: json!({}), pause: Duration::from_millis(20) };
    let slow =
        || Submits { kind: "http", payload: gate.slow_payload(SLOW), pause: Duration::from_millis(500) };
    let stuck = Submits { kind: STUBBORN, payload: gate.slow_payload(STUCK), pause: Duration::from_secs(1) };
    vec![quick(), quick(), quick(), quick(), empty(), empty(), empty(), empty(), slow(), slow(), stuck]
}

/// Clients of the proxy, each submitting one job after the other under a key of its own until it is accepted.
struct Load {
    failures: Arc<Mutex<Failures>>,
    ended: watch::Sender<bool>,
    clients: JoinSet<()>,
}

/// What clients were told before they were told 202.
#[derive(Debug, Clone, Copy, Default)]
struct Failures {
    /// 502, from the proxy.
    bad_gateway: usize,
    /// 503, from a replica.
    refused: usize,
    /// 503, from the proxy.
    no_replica: usize,
    /// No answer: the connection to the proxy broke, or did not come about.
    broken: usize,
}

impl Failures {
    fn count(&mut self, error: &Error) {
        let kind = match error {
            Error::Refused(problem) if problem.status == 503 => &mut self.refused,
            Error::Unexpected { status: 502, .. } => &mut self.bad_gateway,
            Error::Unexpected { status: 503, .. } => &mut self.no_replica,
            Error::Unreachable { .. } | Error::Interrupted { .. } => &mut self.broken,
            _ => panic!("not to be repeated: {error}"),
        };
        *kind += 1;
    }
}

impl Load {
    fn start(client: &Client, history: &Arc<History>, gate: &Gate) -> Self {
        let (failures, ended) = (Arc::new(Mutex::default()), watch::Sender::new(false));
        let mut clients = JoinSet::new();
        for Submits { kind, payload, pause } in self::clients(gate) {
            let (client, history) = (client.clone(), Arc::clone(history));
            let (failures, mut ended) = (Arc::<Mutex<Failures>>::clone(&failures), ended.subscribe());
            clients.spawn(async move {
                let failed = |error: &Error| failures.lock().count(error);
                while !*ended.borrow_and_update() {
                    history.submit_until_accepted(&client, kind, &payload, failed).await;
                    // Over when the load is.
                    let _ = tokio::time::timeout(pause, ended.changed()).await;
                }
            });
        }
        Self { failures, ended, clients }
    }

    async fn end(self) -> Failures {
        self.ended.send_replace(true);
        self.clients.join_all().await;
        *self.failures.lock()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_drains_sends_clients_to_another_at_once() {
    let store = Cluster::shared().await.new_schema();
    let mut server = given_replica(store).start().await;
    let (gate, history, client) = (Gate::closed().await, History::new(), server.client());
    history.submit(&client, "http", &gate.payload()).await.expect("room");
    gate.until_held(1).await;
    server.signal(Signal::TERM);
    let refused = eventually("the drain refuses", async || {
        let error = history.submit(&client, "echo", &json!({})).await.err()?;
        (error.code() == Some(ErrorCode::ShuttingDown)).then_some(error)
    })
    .await;
    let again = refused.retry_after().expect("a time to come back");
    assert!(again < Duration::from_secs(2), "a second, spread, and not the whole drain: {again:?}");
    gate.open();
    server.exit().await.expect_code(0);
}

fn seconds() -> u64 {
    std::env::var(SECONDS).map_or(0, |text| text.parse().expect("a number of seconds"))
}

/// The replicas, each on a port of its own that it comes back on, and the proxy before them.
async fn deploy() -> (Vec<Server>, HaProxy) {
    let millis = |time: Duration| format!("{}ms", time.as_millis());
    let store = Cluster::shared().await.new_schema();
    let given = given_replica(store)
        .flag("--lame-duck", millis(LAME_DUCK))
        .flag("--graceful-timeout", millis(GRACEFUL))
        .flag("--cancel-timeout", millis(CANCEL))
        .flag("--close-timeout", millis(CLOSE));
    let mut servers = Vec::new();
    for _ in 0..REPLICAS {
        servers.push(given.clone().listen(loopback(free_port())).start().await);
    }
    let addresses: Vec<_> = servers.iter().map(Server::address).collect();
    let haproxy = HaProxy::start(Path::new(PROXY), &addresses).await;
    (servers, haproxy)
}

/// SIGTERM, the end, and a start in its place.
async fn replace(server: &mut Server) -> Exit {
    let exit = server.stop().await.expect_code(0);
    server.start_again().await;
    exit
}
