//! Clients that mean ill, or hang: a hundred of each kind at once, while the server serves the others and when
//! it stops.

use std::time::Duration;

use serde_json::json;
use steadfast_domain::limits::WAIT_MAX;
use steadfast_testkit::eventually;
use steadfast_testkit::harness::{Server, given_server};
use steadfast_testkit::history::{Evidence, Expected, History, all_jobs, until_all_ended};
use steadfast_testkit::raw::RawConnection;

use crate::crowd::{BODIES, Crowd, KINDS};

const OF_EACH: usize = 100;
/// Fewer than there are clients of one kind.
const REQUESTS_MAX: usize = 50;
/// Rounds of what the others ask for.
const ROUNDS: usize = 20;
/// The defaults' sum: graceful, cancel and close.
const BUDGET: Duration = Duration::from_secs(30 + 5 + 5);

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_of_each_kind_neither_keep_others_out_nor_the_server_up() {
    let mut server = given_server(env!("CARGO_BIN_EXE_steadfast"))
        .flag("--requests-max", REQUESTS_MAX.to_string())
        // No timeout of theirs ends what the clients do.
        .flag("--header-timeout", "10m")
        .flag("--body-timeout", "10m")
        .start()
        .await;
    let (client, history) = (server.client(), History::new());
    let large = history.submit(&client, "echo", &json!("x".repeat(60 * 1024))).await.expect("a large job");
    let later = history.submit(&client, "sleep", &json!({ "ms": 600_000 })).await.expect("a long job");
    let crowd = Crowd::gather(server.address(), OF_EACH, large.id, later.id).await;
    until_hanging(&server).await;

    for round in 0..ROUNDS {
        let job = history.submit(&client, "echo", &json!(round)).await.expect("a submit is accepted");
        client.job_when_ended(job.id, WAIT_MAX).await.expect("its job runs");
        client.jobs(&Default::default()).await.expect("a list is read");
        client.queues().await.expect("queues are read");
        for path in ["/livez", "/readyz", "/metrics"] {
            let mut connection = RawConnection::open(server.address()).await.expect("a connection");
            connection.get(path).await.expect("the request is sent");
            assert_eq!(connection.answer().await.expect("a whole answer").status, 200, "{path}");
        }
    }
    // They still hang: the server has not got rid of them in the meantime.
    until_hanging(&server).await;
    client.cancel(later.id).await.expect("a cancel is done");
    client.job_when_ended(later.id, WAIT_MAX).await.expect("the job ends");

    let exit = server.stop().await.expect_code(0);
    assert!(exit.took < BUDGET, "{:?}", exit.took);
    let ledger = exit.ledger();
    let ended = |how: &str| ledger[how].as_u64().expect("a number") as usize;
    assert!(ended("connections_cut") + ended("connections_closed") >= OF_EACH, "{ledger}");
    drop(crowd);

    server.start_again().await;
    let client = server.client();
    until_all_ended(&client).await;
    let jobs = all_jobs(&client).await;
    let evidence = Evidence { jobs: &jobs, ..Evidence::default() };
    history.assert_kept(evidence, Expected::Ended);
    assert_eq!(jobs.len(), history.accepted().len());
}

/// Waits until all clients are connected, and their bodies awaited.
async fn until_hanging(server: &Server) {
    eventually("all hang", || async {
        let mut connection = RawConnection::open(server.address()).await.ok()?;
        connection.get("/metrics").await.ok()?;
        let text = String::from_utf8(connection.answer().await.ok()?.body).ok()?;
        let gauge = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
            value.parse::<usize>().ok()
        };
        let connected = gauge("steadfast_http_connections")? >= KINDS * OF_EACH;
        let awaited = gauge("steadfast_http_requests_in_flight")? >= BODIES * OF_EACH;
        (connected && awaited).then_some(())
    })
    .await;
}
