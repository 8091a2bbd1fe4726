use steadfast_testkit::harness::Memory;
use tokio::task::JoinSet;

use crate::{all_said_to, assert_no_complaint, given, statuses};

/// Bytes of each head that never ends, and how many of them are sent at once.
const HEAD_BYTES: usize = 8 * 1024 * 1024;
const AT_ONCE: usize = 10;
/// What the server's memory may grow by: a tenth of what is sent at once.
const GROWTH_BYTES_MAX: usize = HEAD_BYTES * AT_ONCE / 10;

#[tokio::test(flavor = "multi_thread")]
async fn a_head_without_end_is_refused_and_not_kept() {
    let server = given().start().await;
    server.assert_serves().await;
    let (before, address) = (server.memory_bytes(Memory::Own), server.address());
    let ways = [
        ("GET /", "x"),
        ("GET /?", "%00&"),
        ("GET / HTTP/1.1\r\nHost: t\r\nX: ", "y"),
        ("GET / HTTP/1.1\r\nHost: t\r\n", "X: y\r\n"),
        ("GET / HTTP/1.1\r\nHost: t\r\n", "X"),
        ("GET / HTTP/1.1\r\nHost: t\r\nCookie: a=b", "; a=b"),
    ];
    for (begin, more) in ways {
        let head = format!("{begin}{}", more.repeat(HEAD_BYTES / more.len()));
        let mut sending = JoinSet::new();
        for _ in 0..AT_ONCE {
            let head = head.clone();
            sending.spawn(async move { all_said_to(address, head.as_bytes()).await });
        }
        for said in sending.join_all().await {
            assert!(matches!(statuses(&said)[..], [400 | 414 | 431]), "{begin:?}{more:?}: {said}");
        }
    }
    let after = server.memory_bytes(Memory::Own);
    assert!(after.saturating_sub(before) < GROWTH_BYTES_MAX, "{before} bytes became {after}");
    server.assert_serves().await;
    assert_no_complaint(&server);
}
