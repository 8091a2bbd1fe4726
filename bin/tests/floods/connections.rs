use std::net::SocketAddr;

use serde_json::json;
use steadfast_testkit::eventually;
use steadfast_testkit::harness::{Memory, given_server, may_open};
use steadfast_testkit::history::History;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::{PROGRAM, ask, what_matters_is_answered};

const CONNECTIONS_MAX: usize = 100;
const CLIENTS: usize = 5_000;
/// Waves of questions while the flood goes on; memory is compared after the first of these and the last.
const SETTLED: usize = 2;
const WAVES: usize = 6;
/// What memory may grow by from then on: far less than a wave of connections takes.
const GROWTH_BYTES_MAX: usize = 16 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn fifty_times_the_connections() {
    may_open(2 * CLIENTS as u64);
    let mut server = given_server(PROGRAM)
        .flag("--connections-max", CONNECTIONS_MAX.to_string())
        .flag("--header-timeout", "10m")
        .start()
        .await;
    let address = server.address();
    let job =
        History::new().submit(&server.client(), "sleep", &json!({ "ms": 600_000 })).await.expect("a job");
    let mut flood = JoinSet::new();
    for _ in 0..CLIENTS {
        flood.spawn(come_again_and_again(address));
    }
    eventually("the connections are taken", || async {
        let answer = ask(address, "GET", "/v1/jobs").await.ok()?;
        (answer.json()["code"] == json!("overloaded")).then_some(())
    })
    .await;

    let mut memory = Vec::new();
    for _ in 0..WAVES {
        what_matters_is_answered(address, &job.id.to_string()).await;
        memory.push(server.memory_bytes(Memory::Resident));
    }
    let growth = memory[WAVES - 1].saturating_sub(memory[SETTLED - 1]);
    assert!(growth < GROWTH_BYTES_MAX, "{memory:?}");

    assert_eq!(ask(address, "POST", "/v1/drain").await.expect("a whole answer").status, 202);
    server.exit().await.expect_code(0);
}

/// Connects, says nothing, and connects again when the server has closed.
async fn come_again_and_again(address: SocketAddr) {
    loop {
        if let Ok(mut stream) = TcpStream::connect(address).await {
            let _ = stream.read_u8().await;
        }
        tokio::task::yield_now().await;
    }
}
