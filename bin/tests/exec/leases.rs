//! A lease that may be another's: nothing that the program still did would count.

use serde_json::json;
use steadfast_testkit::eventually;
use steadfast_testkit::harness::Keep;
use steadfast_testkit::ports::loopback;
use steadfast_testkit::postgres::{Cluster, in_schema};
use steadfast_testkit::proxy::Proxy;

use crate::{Programs, job, submit};

#[tokio::test(flavor = "multi_thread")]
async fn a_program_whose_lease_is_lost_is_killed_without_a_word() {
    let cluster = Cluster::shared().await;
    let proxy = Proxy::to(loopback(cluster.port())).await;
    let store = in_schema(&cluster.url_through(proxy.address().port()), &cluster.new_schema_name());
    let programs = Programs::new().script(
        "waits",
        "",
        "trap 'told heard' TERM\ntold started\nsleep $MARK &\nwait\nsleep $MARK",
    );
    let mut server = programs.given().store(Keep::Postgres(store)).flag("--lease", "2s").start().await;
    submit(&server.client(), &job("waits", json!({}))).await;
    programs.until_told("started").await;
    proxy.stall();
    eventually("it is gone", async || programs.mark.processes().is_empty().then_some(())).await;
    assert!(!programs.dir.path().join("heard").exists(), "it was asked to end");
    server.kill().await;
}
