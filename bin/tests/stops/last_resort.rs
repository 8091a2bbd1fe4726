//! Everything that could end the drain hangs: a plain thread ends the process on time all the same.

use std::thread::available_parallelism;
use std::time::Duration;

use steadfast_lifecycle::Hooks;
use steadfast_testkit::gate::Gate;
use steadfast_testkit::harness::{Signal, given_server};
use steadfast_testkit::history::{Evidence, Expected, History, all_jobs, until_all_ended};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::acting;

/// The budget of the test's server.
const GRACEFUL: Duration = Duration::from_millis(100);
const CANCEL: Duration = Duration::from_millis(100);
const CLOSE: Duration = Duration::from_secs(5);
/// What may come on top of the budget: ending a process takes time, and this machine may be busy. Without the last resort
/// the process would not end at all.
const BEYOND: Duration = Duration::from_secs(20);
/// Set for a server whose hook does nothing.
const WELL: &str = "STEADFAST_TEST_WELL";

/// Not a test: the server of the test here, when this program is started as one.
#[test]
fn serve() {
    acting::serve_if_asked(|server| {
        if std::env::var_os(WELL).is_some() {
            return server;
        }
        let mut hooks = Hooks::new();
        hooks.post.add("block every thread", CLOSE, async {
            // More than the runtime has: nothing that needs it goes on from here, no timer either.
            let mut blocked = JoinSet::new();
            for _ in 0..=available_parallelism().map_or(2, |cores| cores.get().max(2)) {
                blocked.spawn(async { block_for_ever() });
            }
            block_for_ever()
        });
        server.hooks(hooks)
    });
}

fn block_for_ever() -> ! {
    loop {
        std::thread::park();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_whose_threads_all_hang_is_ended_on_time_with_75() {
    let gate = Gate::closed().await;
    let mut server = given_server(env!("CARGO_BIN_EXE_steadfast"))
        .acted_by("last_resort::serve")
        .flag("--graceful-timeout", format!("{}ms", GRACEFUL.as_millis()))
        .flag("--cancel-timeout", format!("{}ms", CANCEL.as_millis()))
        .flag("--close-timeout", format!("{}ms", CLOSE.as_millis()))
        .start()
        .await;
    let history = History::new();
    let id = history.submit(&server.client(), "http", &gate.payload()).await.expect("room").id;
    gate.until_held(1).await;

    let asked = Instant::now();
    server.signal(Signal::TERM);
    let exit = server.exit().await.expect_code(75);
    let took = asked.elapsed();
    assert!(took < GRACEFUL + CANCEL + CLOSE + BEYOND, "within the budget: {took:?}");
    let said = exit.stderr.text();
    assert!(said.contains("the last resort ended the process"), "the ledger says why: {said}");
    assert!(said.contains(&id.to_string()), "and what was handed back before: {said}");

    gate.open();
    server.start_again_with(|given| given.env(WELL, "1")).await;
    let client = server.client();
    until_all_ended(&client).await;
    let (jobs, deliveries) = (all_jobs(&client).await, gate.deliveries());
    let evidence = Evidence { jobs: &jobs, deliveries: Some(&deliveries), handed_back: &[id] };
    history.assert_kept(evidence, Expected::Ended);
    assert_eq!(jobs[0].interruptions, 0, "a job that was handed back was not interrupted: {:?}", jobs[0]);
    server.stop().await.expect_code(0);
}
