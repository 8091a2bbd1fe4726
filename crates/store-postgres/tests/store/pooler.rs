//! Through pgbouncer in transaction mode, as old as Debian 12's: it gives each transaction another session, and loses
//! prepared statements.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use steadfast_domain::JobState;
use steadfast_queue::JobStore;
use steadfast_queue::store::{End, Settlement, Speaker, StoreLimits};
use steadfast_testkit::eventually;
use steadfast_testkit::harness::Process;
use steadfast_testkit::ports::{free_port, loopback};
use steadfast_testkit::postgres::Cluster;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::given::{Given, NEVER, boot, claim, echo, job, live, submit};

/// A running pgbouncer with two sessions for everybody. Dropping it ends it.
struct Pooler {
    _process: Process,
    _dir: TempDir,
    port: u16,
}

impl Pooler {
    async fn before(cluster: &Cluster) -> Self {
        let dir = TempDir::new().unwrap();
        let port = free_port();
        let config = dir.path().join("pgbouncer.ini");
        // postgres://USER:PASSWORD@HOST:PORT/DATABASE
        let url = cluster.url();
        let password = url.split(['@', ':']).nth(2).unwrap();
        let text = format!(
            "[databases]\npostgres = host=127.0.0.1 port={} user=steadfast password={password}\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n\
             pool_mode = transaction\ndefault_pool_size = 2\n",
            cluster.port()
        );
        fs::write(&config, text).unwrap();
        let mut process = Process::start(command(&config));
        eventually("pgbouncer listens", || {
            assert!(process.is_running(), "pgbouncer ended\n{}", process.stderr().text());
            async move { TcpStream::connect(loopback(port)).await.ok() }
        })
        .await;
        Self { _process: process, _dir: dir, port }
    }
}

/// pgbouncer does not run as root: then it becomes nobody, once it has read its settings.
fn command(config: &Path) -> Command {
    let mut command = Command::new("/usr/sbin/pgbouncer");
    assert!(Path::new(command.get_program()).is_file(), "this test needs it: apt-get install pgbouncer");
    let is_root = fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    if is_root {
        command.args(["-u", "nobody"]);
    }
    command.arg(config);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_works_without_a_session() {
    let cluster = Cluster::shared().await;
    let pooler = Pooler::before(cluster).await;
    let schema = cluster.new_schema_name();
    let url =
        format!("postgres://steadfast@127.0.0.1:{}/postgres?schema={schema}&prepare=unnamed", pooler.port);
    let given = Given::at(url, StoreLimits::default());
    let stores = [Arc::new(given.open().await), Arc::new(given.open().await)];
    let mut work = JoinSet::new();
    for n in 0..40 {
        let store = Arc::clone(&stores[n % 2]);
        work.spawn(async move {
            let id = submit(&store, echo()).await.id;
            for claimed in claim(&store, &boot(), 2, NEVER).await {
                let end =
                    Settlement { id: claimed.id, by: Speaker::Server, end: End::Completed { result: None } };
                assert!(store.settle(vec![end]).await.unwrap()[0].is_ok());
            }
            store.upkeep(10).await.unwrap();
            id
        });
    }
    let ids = work.join_all().await;
    for claimed in claim(&stores[0], &boot(), 100, NEVER).await {
        let end = Settlement { id: claimed.id, by: Speaker::Server, end: End::Completed { result: None } };
        assert!(stores[1].settle(vec![end]).await.unwrap()[0].is_ok());
    }
    for id in ids {
        assert_eq!(job(&stores[1], id).await.state, JobState::Completed);
    }
    assert_eq!(live(&stores[0]).await, 0);
    for store in stores {
        store.close(Instant::now() + NEVER).await.unwrap();
    }
}
