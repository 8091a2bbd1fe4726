//! `/metrics` as Prometheus and people read it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::json;
use steadfast_testkit::certificates::{Authority, THIS_MACHINE};
use steadfast_testkit::eventually;
use steadfast_testkit::gate::Gate;
use steadfast_testkit::harness::{Server, Signal, given_server};
use steadfast_testkit::history::{History, until_all_ended};
use steadfast_wire::SubmitRequest;

use crate::everything::{of_kind, submit};
use crate::scrape::{Scrape, get};
use crate::shipped;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_steadfast");

/// Names without labels, or whole series, that other people's dashboards rely on.
const PROMISED: &[&str] = &[
    "steadfast_jobs_submitted_total{kind=\"http\",queue=\"default\"} 2",
    "steadfast_jobs_refused_total{code=\"queue_full\",queue=\"default\"} 1",
    "steadfast_jobs_finished_total{kind=\"http\",queue=\"default\",state=\"completed\"} 2",
    "steadfast_jobs_retried_total 0",
    "steadfast_jobs_live_at_start{queue=\"default\"} 0",
    "steadfast_job_attempts_total{kind=\"http\",outcome=\"completed\",queue=\"default\"} 2",
    "steadfast_attempts_running 0",
    "steadfast_jobs{queue=\"default\",state=\"completed\"} 2",
    "steadfast_queue_capacity_jobs{queue=\"default\"} 2",
    "steadfast_queue_capacity_bytes{queue=\"default\"} ",
    "steadfast_queue_bytes{queue=\"default\"} 0",
    "steadfast_store_capacity_jobs 2",
    "steadfast_store_capacity_bytes 1073741824",
    "steadfast_queue_paused{queue=\"default\"} 0",
    "steadfast_oldest_ready_age_seconds{queue=\"default\"} 0",
    "steadfast_job_wait_seconds_count 2",
    "steadfast_job_run_seconds_count 2",
    "steadfast_submit_seconds_count 3",
    "steadfast_store_commit_seconds_count ",
    "steadfast_store_batch_jobs_count ",
    "steadfast_http_requests_in_flight ",
    "steadfast_http_connections ",
    "steadfast_http_requests_total{method=\"POST\",route=\"/v1/jobs\",status=\"202\"} 2",
    "steadfast_phase{phase=\"ready\"} 1",
    "steadfast_ready 1",
    "steadfast_draining 0",
    "steadfast_shutdown_duration_seconds 0",
    concat!("steadfast_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
];

/// A server that has accepted, refused and ended jobs, and now drains because one job is held at its gate.
pub(crate) struct Draining {
    pub(crate) server: Server,
    pub(crate) scrape: Scrape,
    gate: Gate,
}

impl Draining {
    pub(crate) async fn begin() -> Self {
        let (gate, history) = (Gate::closed().await, History::new());
        let mut server = given_server(PROGRAM).capacity(1).start().await;
        let client = server.client();
        history.submit(&client, "echo", &json!({})).await.expect("room");
        until_all_ended(&client).await;
        history.submit(&client, "http", &gate.payload()).await.expect("room");
        history.submit(&client, "http", &gate.payload()).await.expect_err("the queue is full");
        gate.until_held(1).await;
        server.signal(Signal::TERM);
        let address = server.address();
        let scrape = eventually("the server drains", async || {
            let scrape = Scrape::of(address).await;
            scrape.has_line("steadfast_phase{phase=\"draining\"} 1").then_some(scrape)
        })
        .await;
        Self { server, scrape, gate }
    }

    /// Lets the job end, and the server with it.
    pub(crate) async fn end(mut self) {
        self.gate.open();
        let ledger = self.server.exit().await.expect_code(0).ledger();
        assert_eq!(ledger["jobs_finished"], json!(1));
        let totals = ["live_at_start", "submitted", "retried", "finished", "live"];
        let totals = totals.map(|total| ledger[format!("total_{total}")].as_u64().expect("a figure"));
        assert_eq!(totals, [0, 2, 0, 2, 0], "{ledger}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_agree_with_what_happened() {
    let (gate, history) = (Gate::closed().await, History::new());
    let server = given_server(PROGRAM).capacity(2).start().await;
    let client = server.client();
    for _ in 0..2 {
        history.submit(&client, "http", &gate.payload()).await.expect("room");
    }
    history.submit(&client, "http", &gate.payload()).await.expect_err("the queue is full");
    gate.until_held(2).await;
    until_shown(&server, &["steadfast_attempts_running 2"]).await;
    assert_lints_clean(&Scrape::of(server.address()).await);

    gate.open();
    until_all_ended(&client).await;
    // What the pool counts follows its commits: it may be a moment behind the store.
    until_shown(&server, PROMISED).await;
    assert_eq!(get(server.address()).await.header("content-type"), Some("text/plain; version=0.0.4"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scrape_during_a_drain_says_so_and_names_what_is_documented() {
    let draining = Draining::begin().await;
    let scrape = &draining.scrape;
    assert!(
        scrape.has_line("steadfast_draining 1") && scrape.has_line("steadfast_ready 0"),
        "{}",
        scrape.text
    );
    assert!(scrape.sum("steadfast_shutdown_step_seconds", &[]) >= 0);
    assert_lints_clean(scrape);
    let with_certificate = with_certificate().await;
    assert_lints_clean(&with_certificate);
    let shown: BTreeSet<String> = series(scrape).union(&series(&with_certificate)).cloned().collect();
    assert_eq!(shown, documented(&shipped::read("docs/OPERATIONS.md")));
    draining.end().await;
}

/// Some figures are shown only by a server that has a certificate.
pub(crate) async fn with_certificate() -> Scrape {
    let dir = tempfile::tempdir().expect("a directory");
    let issued = Authority::new(dir.path(), "authority").issue(dir.path(), "server", THIS_MACHINE);
    let given = given_server(PROGRAM).flag("--tls-cert", &issued.certificate).flag("--tls-key", &issued.key);
    let server = given.flag("--admin-listen", "127.0.0.1:0").launch(dir.path());
    let admin = eventually("its admin listener is open", async || {
        server.stderr().events("admin listener open").first()?["address"].as_str()?.parse().ok()
    })
    .await;
    Scrape::of(admin).await
}

/// In a queue that takes any kind, clients choose kinds; they make no series by that, and are counted all the same.
#[tokio::test(flavor = "multi_thread")]
async fn clients_cannot_make_labels() {
    let server = given_server(PROGRAM).settings("[queues.any]\nmode = \"pull\"\n").start().await;
    for n in 0..20 {
        let job = SubmitRequest { queue: Some("any".to_owned()), ..of_kind(&format!("kind-{n}")) };
        submit(&server.client(), &job).await;
    }
    let scrape = Scrape::of(server.address()).await;
    let submitted = scrape.samples().iter().filter(|sample| sample.name == "steadfast_jobs_submitted_total");
    let kinds: Vec<&str> = submitted.map(|sample| sample.labels["kind"].as_str()).collect();
    assert_eq!(
        (kinds, scrape.sum("steadfast_jobs_submitted_total", &[("queue", "any")])),
        (vec!["other"], 20)
    );
}

/// `promtool check metrics` has nothing to say.
fn assert_lints_clean(scrape: &Scrape) {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is there");
    promtool.stdin.take().expect("a pipe").write_all(scrape.text.as_bytes()).expect("it is read");
    let output = promtool.wait_with_output().expect("it ends");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.is_empty(), "{said}\n{}", scrape.text);
}

/// The names of all metrics, as `name{label,…}`, without what a histogram adds of its own.
pub(crate) fn series(scrape: &Scrape) -> BTreeSet<String> {
    let families: BTreeSet<&str> =
        scrape.text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let mut labels = BTreeMap::<&str, BTreeSet<&str>>::new();
    for sample in scrape.samples() {
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|part| sample.name.strip_suffix(part));
        let family = family.filter(|family| families.contains(family)).unwrap_or(&sample.name);
        let own = sample.labels.keys().map(String::as_str).filter(|label| *label != "le");
        labels.entry(family).or_default().extend(own);
    }
    labels.into_iter().map(|(family, labels)| shown(family, labels)).collect()
}

/// The first cells of the table of metrics.
fn documented(text: &str) -> BTreeSet<String> {
    let cells = text.lines().filter_map(|line| line.strip_prefix("| `steadfast_")?.split('`').next());
    let read = |cell: &str| {
        let (name, labels) = cell.split_once('{').unwrap_or((cell, "}"));
        let labels = labels.trim_end_matches('}').split(',').filter(|label| !label.is_empty());
        shown(&format!("steadfast_{name}"), labels.collect())
    };
    cells.map(read).collect()
}

fn shown(name: &str, labels: BTreeSet<&str>) -> String {
    let labels: Vec<&str> = labels.into_iter().collect();
    if labels.is_empty() { name.to_owned() } else { format!("{name}{{{}}}", labels.join(",")) }
}

/// Waits until every one of these is a line, or begins one where it ends in a space.
async fn until_shown(server: &Server, wanted: &[&str]) {
    for wanted in wanted {
        eventually(wanted, async || {
            let scrape = Scrape::of(server.address()).await;
            let shown = |line: &str| line == *wanted || (wanted.ends_with(' ') && line.starts_with(wanted));
            scrape.text.lines().any(shown).then_some(())
        })
        .await;
    }
}
