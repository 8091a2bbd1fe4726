//! The admin listener of a whole server: open from its start to the end of its drain.

use std::net::SocketAddr;

use steadfast_testkit::eventually;
use steadfast_testkit::gate::Gate;
use steadfast_testkit::harness::{Signal, given_server};
use steadfast_testkit::history::History;
use steadfast_testkit::raw::{RawAnswer, RawConnection};

const PROGRAM: &str = env!("CARGO_BIN_EXE_steadfast");

async fn get(address: SocketAddr, path: &str) -> Option<RawAnswer> {
    let mut connection = RawConnection::open(address).await.ok()?;
    connection.get(path).await.ok()?;
    connection.answer().await.ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_answers_through_the_whole_drain_and_ends_with_the_server() {
    let gate = Gate::closed().await;
    let mut server = given_server(PROGRAM).flag("--admin-listen", "127.0.0.1:0").start().await;
    let admin = server.admin_address().await;
    assert_eq!(get(admin, "/readyz").await.expect("an answer").status, 200);
    History::new().submit(&server.client(), "http", &gate.payload()).await.expect("room");
    gate.until_held(1).await;

    server.signal(Signal::TERM);
    eventually("the drain has begun", async || {
        (get(admin, "/livez").await?.json()["phase"] == "draining").then_some(())
    })
    .await;
    assert_eq!(get(admin, "/readyz").await.expect("an answer").status, 503);
    let metrics = get(admin, "/metrics").await.expect("an answer");
    assert!(String::from_utf8_lossy(&metrics.body).contains("steadfast_draining 1"));
    assert_eq!(get(server.address(), "/metrics").await.expect("an answer").status, 404);
    gate.open();
    let exit = server.exit().await.expect_code(0);
    assert!(exit.ledger()["connections_cut"] == 0, "{}", exit.ledger());
    assert!(RawConnection::open(admin).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_taken_is_named_with_its_flag() {
    let server = given_server(PROGRAM).start().await;
    let taken = server.address().to_string();
    let dir = tempfile::tempdir().expect("a directory");
    let mut second = given_server(PROGRAM).flag("--admin-listen", &taken).launch(dir.path());
    let exit = second.exit_within(std::time::Duration::from_secs(30)).await.expect("it ends").expect_code(1);
    let said = exit.stderr.text();
    assert!(said.contains(&taken) && said.contains("--admin-listen"), "{said}");
}
