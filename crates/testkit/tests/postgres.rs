//! The cluster of a test: it keeps what it commits, and leaves nothing behind.
#![allow(clippy::expect_used, reason = "a panic is how a test fails")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use steadfast_testkit::eventually;
use steadfast_testkit::harness::{Process, Signal};
use steadfast_testkit::postgres::Cluster;

/// Set for the program that holds a cluster until it is killed.
const HOLDS: &str = "STEADFAST_TEST_HOLDS";
/// How it says where the cluster is.
const IN: &str = "cluster in ";
const GONE_WITHIN: Duration = Duration::from_secs(30);

/// Not a test: the program of the test below, when this one is started as it.
#[tokio::test]
async fn holds() {
    if std::env::var_os(HOLDS).is_none() {
        return;
    }
    let cluster = Cluster::shared().await;
    println!("{IN}{}", directory(cluster).await.display());
    std::future::pending().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_test_program_leaves_no_server_and_no_files() {
    let mut command = Command::new(std::env::current_exe().expect("a test knows its own program"));
    command.args(["--exact", "holds", "--nocapture"]).env(HOLDS, "1");
    let mut program = Process::start(command);
    let dir = eventually("the program has its cluster", async || {
        let said = program.stdout().text();
        said.lines().find_map(|line| line.split_once(IN)).map(|(_, dir)| PathBuf::from(dir))
    })
    .await;
    assert!(dir.is_dir() && runs_in(&dir), "the server runs");

    program.signal(Signal::KILL);
    program.exit_within(GONE_WITHIN).await.expect("a killed program is gone");
    eventually("the server is gone", async || (!runs_in(&dir)).then_some(())).await;
    eventually("its files are gone", async || (!dir.exists()).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_committed_is_there_after_a_kill() {
    let mut cluster = Cluster::start().await;
    assert_eq!(cluster.sql("show fsync").await, "on");
    cluster.sql("create table kept as select 7 as n").await;
    let port = cluster.port();
    cluster.kill().await;
    cluster.restart().await;
    assert_eq!(cluster.sql("select n from kept").await, "7");
    assert_eq!(cluster.port(), port, "clients find it where it was");

    let dir = directory(&cluster).await;
    drop(cluster);
    assert!(!dir.exists() && !runs_in(&dir), "and nothing when it is dropped");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shared_cluster_is_one_and_its_schemas_are_many() {
    let (one, same) = (Cluster::shared().await, Cluster::shared().await);
    assert_eq!(one.port(), same.port());
    assert_ne!(one.new_schema(), one.new_schema());
}

#[tokio::test(flavor = "multi_thread")]
async fn terminated_backends_are_gone_and_the_server_goes_on() {
    let mut cluster = Cluster::start().await;
    let sleeper = cluster.sql("select pg_sleep(600)");
    let backends = "select count(*) from pg_stat_activity where query = 'select pg_sleep(600)'";
    let others = async {
        eventually("it sleeps", async || (cluster.sql(backends).await == "1").then_some(())).await;
    };
    tokio::select! {
        slept = sleeper => panic!("it sleeps on: {slept}"),
        () = others => {}
    }
    cluster.terminate_backends().await;
    eventually("it is gone", async || (cluster.sql(backends).await == "0").then_some(())).await;
}

/// Where the cluster's files are, without the data directory's own name.
async fn directory(cluster: &Cluster) -> PathBuf {
    let data = PathBuf::from(cluster.sql("show data_directory").await);
    data.parent().expect("the data directory is in the cluster's").to_owned()
}

/// Whether any process works in the cluster's data directory.
fn runs_in(dir: &Path) -> bool {
    let processes = std::fs::read_dir("/proc").expect("Linux shows its processes").flatten();
    let mut places = processes.filter_map(|process| std::fs::read_link(process.path().join("cwd")).ok());
    places.any(|place| place.starts_with(dir))
}
