//! A real Prometheus with the shipped configuration and alerts, only quicker.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use serde_json::{Value, json};
use steadfast_testkit::eventually;
use steadfast_testkit::gate::Gate;
use steadfast_testkit::harness::{Process, Signal, given_server};
use steadfast_testkit::history::History;
use steadfast_testkit::ports::{free_port, loopback};
use steadfast_testkit::raw::RawConnection;
use tempfile::TempDir;

use crate::exposition::PROGRAM;
use crate::shipped;

/// How often it scrapes and evaluates, and how long an answer may take: a busy machine is slow to give it.
const EVERY: &str = "1s";
/// The alerts that this test is about. Others keep the time for which they have to hold: a busy machine may be slow to
/// commit, too.
const AT_ONCE: [&str; 3] = ["SteadfastDown", "SteadfastQueueFilling", "SteadfastRefusing"];

/// A Prometheus that scrapes one server. Dropping it ends it.
struct Prometheus {
    // Dropped in this order: the process is gone before its directory.
    _process: Process,
    _dir: TempDir,
    address: SocketAddr,
}

impl Prometheus {
    /// With the shipped files, but for the intervals, the target, and the time for which some alerts have to hold.
    fn scraping(target: SocketAddr) -> Self {
        let (dir, address) = (tempfile::tempdir().expect("a directory"), loopback(free_port()));
        let config = shipped::read("deploy/prometheus/prometheus.yml");
        let config = config.replace("15s", EVERY).replace("127.0.0.1:8080", &target.to_string());
        assert!(config.contains(EVERY) && config.contains(&target.to_string()), "{config}");
        let rules = shipped::read("deploy/prometheus/alerts.yml");
        let mut alert = "";
        let at_once = rules.lines().map(|line| {
            alert = line.trim_start().strip_prefix("- alert: ").unwrap_or(alert);
            let holds = line.trim_start().starts_with("for: ");
            if holds && AT_ONCE.contains(&alert) { "        for: 0s" } else { line }
        });
        let rules: Vec<&str> = at_once.collect();
        fs::write(dir.path().join("prometheus.yml"), config).expect("written");
        fs::write(dir.path().join("alerts.yml"), rules.join("\n")).expect("written");
        let mut command = Command::new("prometheus");
        command.current_dir(dir.path()).args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"]);
        command.arg(format!("--web.listen-address={address}"));
        Self { _process: Process::start(command), _dir: dir, address }
    }

    /// What its API answers; `None` while it does not.
    async fn ask(&self, path: &str) -> Option<Value> {
        let mut connection = RawConnection::open(self.address).await.ok()?;
        // HTTP/1.0 has no chunks: the answer ends with the connection.
        connection.send(format!("GET {path} HTTP/1.0\r\nHost: test\r\n\r\n").as_bytes()).await.ok()?;
        let answer = String::from_utf8(connection.until_eof().await.ok()?).ok()?;
        let (_, body) = answer.split_once("\r\n\r\n")?;
        Some(serde_json::from_str::<Value>(body).ok()?["data"].take())
    }

    /// The names of the alerts that fire.
    async fn firing(&self) -> Option<BTreeSet<String>> {
        let alerts = self.ask("/api/v1/alerts").await?;
        let firing = alerts["alerts"].as_array()?.iter().filter(|alert| alert["state"] == "firing");
        Some(firing.filter_map(|alert| alert["labels"]["alertname"].as_str()).map(str::to_owned).collect())
    }

    async fn until_firing(&self, names: &[&str]) {
        let names: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let what = format!("exactly these fire: {names:?}");
        eventually(&what, async || (self.firing().await? == names).then_some(())).await;
    }

    /// The value of the one series that a query has.
    async fn value(&self, query: &str) -> Option<String> {
        let answer = self.ask(&format!("/api/v1/query?query={query}")).await?;
        answer["result"][0]["value"][1].as_str().map(str::to_owned)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_prometheus_sees_a_queue_fill_and_a_server_drain() {
    let (gate, history) = (Gate::closed().await, History::new());
    let mut server = given_server(PROGRAM).capacity(2).start().await;
    let prometheus = Prometheus::scraping(server.address());
    eventually("it scrapes", async || {
        (prometheus.value("steadfast_phase{phase=\"ready\"}").await? == "1").then_some(())
    })
    .await;
    prometheus.until_firing(&[]).await;

    let client = server.client();
    for _ in 0..2 {
        history.submit(&client, "http", &gate.payload()).await.expect("room");
    }
    eventually("the full queue is told of, and that it refuses", async || {
        history.submit(&client, "echo", &json!({})).await.expect_err("the queue is full");
        let firing = prometheus.firing().await?;
        ["SteadfastQueueFilling", "SteadfastRefusing"].iter().all(|name| firing.contains(*name)).then_some(())
    })
    .await;
    gate.let_pass(1);
    // What was refused stays in the last five minutes.
    prometheus.until_firing(&["SteadfastRefusing"]).await;

    server.signal(Signal::TERM);
    eventually("it sees the drain", async || {
        (prometheus.value("steadfast_draining").await? == "1").then_some(())
    })
    .await;
    gate.open();
    server.exit().await.expect_code(0);
    prometheus.until_firing(&["SteadfastDown", "SteadfastRefusing"]).await;
}
