//! The process dies at each step around commit, claim, settle and hand-back: nothing is lost, and nothing
//! is left stuck.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use steadfast_client::Client;
use steadfast_domain::JobId;
use steadfast_testkit::eventually;
use steadfast_testkit::gate::Gate;
use steadfast_testkit::harness::{Server, Signal, given_server};
use steadfast_testkit::history::{Evidence, Expected, History, all_jobs, until_all_ended};
use tokio::task::JoinSet;

use crate::acting;

const CLIENTS: usize = 8;
/// Answers after which the server is told to hand back, so that it reaches the last points, too.
const ANSWERS: usize = 200;
/// Times a point is passed before it is deadly: the first time, and with work behind and ahead of it.
const PASSED: [usize; 2] = [0, 5];
/// Steps of a server's start or stop, which it takes only once.
const ONCE: [&str; 3] = ["::open::", "::hand_back::", "::close::"];

/// Not a test: the server of the tests here, when this program is started as one.
#[test]
fn serve() {
    acting::serve_if_asked(|server| {
        // A panic at a failpoint is a crash: nothing unwinds, nothing is flushed.
        std::panic::set_hook(Box::new(|_| std::process::abort()));
        // Points are set from the variable FAILPOINTS, until the process ends.
        std::mem::forget(fail::FailScenario::setup());
        server
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_point_of_the_store_loses_nothing() {
    crash_at_each(steadfast_store_sqlite::FAILPOINTS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_point_of_the_pool_loses_nothing() {
    crash_at_each(&steadfast_queue::pool::FAILPOINTS).await;
}

async fn crash_at_each(points: &[&str]) {
    assert!(!points.is_empty());
    for point in points {
        let once = ONCE.iter().any(|step| point.contains(step));
        for passed in PASSED.into_iter().filter(|passed| *passed == 0 || !once) {
            println!("{point}, the time after {passed}");
            Crash::at(point, passed).await.assert_nothing_lost().await;
        }
    }
}

/// A server that died at a point, with what its clients were told.
struct Crash {
    gate: Gate,
    history: Arc<History>,
    server: Server,
}

impl Crash {
    async fn at(point: &str, passed: usize) -> Self {
        let (gate, history) = (Gate::closed().await, Arc::new(History::new()));
        let mut server =
            given_server(env!("CARGO_BIN_EXE_steadfast")).acted_by("crash_points::serve").start().await;
        // A claim left by a crash, so that the next start has something to recover.
        let held = history.submit(&server.client(), "http", &gate.payload()).await;
        held.expect("an empty server has room");
        gate.until_held(1).await;
        server.kill().await;
        gate.until_held(0).await;
        let failpoint = format!("{point}={passed}*off->panic");
        server.launch_again_with(|given| given.env("FAILPOINTS", failpoint));
        if server.until_ready().await {
            submit_until_dead(&mut server, &history, &gate).await;
        }
        let exit = server.exit().await;
        assert_eq!(exit.signal, Some(Signal::ABORT.as_raw()), "it died at the point\n{}", exit.output());
        Self { gate, history, server }
    }

    async fn assert_nothing_lost(mut self) {
        // The crash may have come after the hand-back, which is in no job's account.
        self.gate.until_held(0).await;
        let held: BTreeSet<JobId> = self.gate.deliveries().iter().map(|delivery| delivery.job).collect();
        let handed_back: Vec<JobId> = held.into_iter().collect();
        self.gate.open();
        self.server.start_again_with(|given| given.env("FAILPOINTS", "")).await;
        let client = self.server.client();
        until_all_ended(&client).await;
        let (jobs, deliveries) = (all_jobs(&client).await, self.gate.deliveries());
        let evidence = Evidence { jobs: &jobs, deliveries: Some(&deliveries), handed_back: &handed_back };
        self.history.assert_kept(evidence, Expected::Ended);
        self.server.stop().await.expect_code(0);
    }
}

/// Quick jobs from several clients beside the one that is held again, and SIGQUIT when the flood is under way.
async fn submit_until_dead(server: &mut Server, history: &Arc<History>, gate: &Gate) {
    let answered = Arc::new(AtomicUsize::new(0));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(submit_quick_jobs(server.client(), Arc::clone(history), Arc::clone(&answered)));
    }
    eventually("the flood is under way, or the server is gone", || {
        let under_way = answered.load(Ordering::Relaxed) >= ANSWERS && gate.held() == 1;
        std::future::ready((under_way || !server.process().is_running()).then_some(()))
    })
    .await;
    server.signal(Signal::QUIT);
    clients.join_all().await;
}

async fn submit_quick_jobs(client: Client, history: Arc<History>, answered: Arc<AtomicUsize>) {
    while history.submit(&client, "echo", &json!({})).await.is_ok() {
        answered.fetch_add(1, Ordering::Relaxed);
    }
}
