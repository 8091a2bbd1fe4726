//! A client that never finishes what it began to send: the drain cuts it, and it takes nothing from the steps
//! after it.

use std::time::Duration;

use serde_json::json;
use steadfast_lifecycle::Hooks;
use steadfast_testkit::harness::given_server;
use steadfast_testkit::raw::RawConnection;

use crate::acting;

/// What the drain has for connections, hooks, background tasks and the flush together.
const CLOSE: Duration = Duration::from_secs(5);
/// How long the drain's last hook works: little beside what is left for it.
const GOODBYE: Duration = Duration::from_millis(100);

/// Not a test: the server of the test here, when this program is started as one.
#[test]
fn serve() {
    acting::serve_if_asked(|server| {
        let mut hooks = Hooks::new();
        hooks.post.add("goodbye", CLOSE, async {
            tokio::time::sleep(GOODBYE).await;
            Ok(())
        });
        server.hooks(hooks)
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_client_is_cut_and_the_steps_after_it_have_their_time() {
    let mut server = given_server(env!("CARGO_BIN_EXE_steadfast"))
        .acted_by("stuck_client::serve")
        .flag("--close-timeout", format!("{}s", CLOSE.as_secs()))
        .start()
        .await;
    let mut stuck = RawConnection::open(server.address()).await.expect("a connection");
    stuck.send(b"POST /v1/jobs HTTP/1.1\r\nHo").await.expect("half a head");
    let exit = server.stop().await.expect_code(0);

    let ledger = exit.ledger();
    assert_eq!(ledger["connections_cut"], 1, "{ledger}");
    assert_eq!(ledger["hooks"], json!([{ "name": "goodbye", "end": "done" }]), "{ledger}");
    assert_eq!(ledger["background_tasks_overdue"], json!([]), "{ledger}");
}
