//! Connections that are lost and databases that go away: what is answered is true, and nothing hangs.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use steadfast_domain::JobState;
use steadfast_queue::JobStore;
use steadfast_queue::store::{End, Settlement, Speaker, StoreError, StoreLimits, SubmitError};
use steadfast_store_postgres::PostgresStore;
use steadfast_testkit::postgres::{Cluster, in_schema};
use steadfast_testkit::proxy::{Cut, Proxy};
use steadfast_testkit::{PATIENCE, eventually};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::given::{Given, NEVER, boot, claim, echo, job, live, request, submit, try_submit};

/// A proxy to the shared cluster, and a schema by way of it.
async fn behind_a_proxy() -> (Proxy, Given) {
    let cluster = Cluster::shared().await;
    let proxy = Proxy::to(SocketAddr::from((Ipv4Addr::LOCALHOST, cluster.port()))).await;
    let url = in_schema(&cluster.url_through(proxy.address().port()), &cluster.new_schema_name());
    (proxy, Given::at(url, StoreLimits::default()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_cut_at_any_moment_leaves_no_answer_wrong() {
    let (proxy, given) = behind_a_proxy().await;
    let store = Arc::new(given.open().await);
    let (mut accepted, mut refused, mut unknown) = (0, 0, 0);
    for round in 0..30 {
        let mut submits = JoinSet::new();
        for _ in 0..5 {
            let store = Arc::clone(&store);
            submits.spawn(async move { try_submit(&store, echo()).await });
        }
        // Each round at another moment of a transaction.
        sleep(Duration::from_micros(300 * round)).await;
        proxy.cut(if round % 2 == 0 { Cut::Reset } else { Cut::End });
        for answer in timeout(PATIENCE, submits.join_all()).await.unwrap() {
            match answer {
                Ok(_) => accepted += 1,
                Err(SubmitError::Store(StoreError::Unavailable(_))) => refused += 1,
                // The database is there, so that its end is found out, but for a machine too slow to do it in time.
                Err(SubmitError::Store(StoreError::Unknown { .. })) => unknown += 1,
                Err(other) => panic!("{other:?}"),
            }
        }
    }
    let found = eventually("every job there is is counted", async || {
        let queues = store.queues().await.ok()?;
        (queues[0].live() == queues[0].counts.all().submitted).then_some(queues[0].live())
    })
    .await;
    let told = format!("{refused} were told that nothing happened, {unknown} that nobody knows");
    assert!((accepted..=accepted + unknown).contains(&found), "{found} of {accepted}: {told}");
    assert!(accepted > 0);
}

/// Whoever asked is told that nobody knows, once nobody knew for some seconds. The job is counted when the database is
/// there to say that it exists, without anybody asking again.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_in_doubt_is_counted_when_it_is_found_out() {
    let (proxy, given) = behind_a_proxy().await;
    let store = in_doubt(&proxy, &given).await;
    proxy.pass();
    until_counted(&store).await;
}

/// The way to the database is there again, and lost without a word while it is asked.
#[tokio::test(flavor = "multi_thread")]
async fn a_question_for_a_doubt_that_is_never_answered_is_asked_again() {
    let (proxy, given) = behind_a_proxy().await;
    let store = in_doubt(&proxy, &given).await;
    let (cluster, schema) = (Cluster::shared().await, given.schema());
    cluster.sql(&waiting_begins(schema)).await;
    proxy.pass();
    until_sleeping(schema).await;
    proxy.cut(Cut::Silent);
    cluster.sql(&format!("INSERT INTO {schema}.go DEFAULT VALUES")).await;
    until_counted(&store).await;
}

/// A store whose only job is committed, though nobody has told it so: the proxy refuses it.
async fn in_doubt(proxy: &Proxy, given: &Given) -> Arc<PostgresStore> {
    let store = Arc::new(given.open().await);
    let (cluster, schema) = (Cluster::shared().await, given.schema());
    cluster.sql(&waiting_inserts(schema)).await;
    let mut submitting = JoinSet::new();
    let submitter = Arc::clone(&store);
    submitting.spawn(async move { try_submit(&submitter, echo()).await });
    until_sleeping(schema).await;
    proxy.stall();
    cluster.sql(&format!("INSERT INTO {schema}.go DEFAULT VALUES")).await;
    let stored = format!("SELECT count(*) FROM {schema}.jobs");
    eventually("it is committed", async || (cluster.sql(&stored).await == "1").then_some(())).await;
    proxy.cut_off(Cut::Reset);
    let answer = timeout(PATIENCE, submitting.join_all()).await.unwrap().remove(0);
    assert!(matches!(answer, Err(SubmitError::Store(StoreError::Unknown { .. }))), "{answer:?}");
    store
}

/// Waits until a statement that names the schema waits for a row in `go`.
async fn until_sleeping(schema: &str) {
    let sleeping = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND query LIKE '%\"{schema}\"%'"
    );
    let cluster = Cluster::shared().await;
    eventually("it waits for a row", async || (cluster.sql(&sleeping).await != "0").then_some(())).await;
}

async fn until_counted(store: &PostgresStore) {
    eventually("it is counted", async || {
        let queues = store.queues().await.ok()?;
        assert_eq!(queues[0].live(), 1);
        (queues[0].counts.all().submitted == 1).then_some(())
    })
    .await;
}

/// Makes transactions that write wait when they begin, until there are two rows in `go`.
fn waiting_begins(schema: &str) -> String {
    format!(
        "CREATE OR REPLACE FUNCTION {schema}.begin(seat bigint) RETURNS void LANGUAGE plpgsql AS $$ BEGIN \
         WHILE seat IS NOT NULL AND (SELECT count(*) FROM {schema}.go) < 2 LOOP PERFORM pg_sleep(0.01); \
         END LOOP; END $$"
    )
}

/// Makes inserts of jobs wait until there is a row in `go`.
fn waiting_inserts(schema: &str) -> String {
    format!(
        "CREATE TABLE {schema}.go (); \
         CREATE FUNCTION {schema}.wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         WHILE NOT EXISTS (SELECT FROM {schema}.go) LOOP PERFORM pg_sleep(0.01); END LOOP; \
         RETURN NULL; END $$; \
         CREATE TRIGGER wait AFTER INSERT ON {schema}.jobs EXECUTE FUNCTION {schema}.wait()"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settlement_is_recorded_once_whatever_is_cut() {
    let (proxy, given) = behind_a_proxy().await;
    let store = given.open().await;
    for round in 0..15 {
        let id = submit(&store, echo()).await.id;
        let claimed = claim(&store, &boot(), 1, NEVER).await.remove(0);
        let settle = async {
            loop {
                let end =
                    Settlement { id: claimed.id, by: Speaker::Server, end: End::Completed { result: None } };
                match store.settle(vec![end]).await {
                    Ok(answers) => return answers,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        };
        let cut = async {
            sleep(Duration::from_micros(400 * round)).await;
            proxy.cut(Cut::Reset);
        };
        let (answers, ()) = tokio::join!(timeout(PATIENCE, settle), cut);
        assert!(answers.unwrap()[0].is_ok(), "round {round}");
        let ended = loop {
            if let Ok(jobs) = store.get(&[id]).await {
                break jobs.into_iter().flatten().next().unwrap();
            }
        };
        assert_eq!((ended.state, ended.version.0), (JobState::Completed, 2));
        // The other connections were cut as well: what comes next is on new ones.
        let deadline = Instant::now() + PATIENCE;
        while store.claim(request(&boot(), 1)).await.is_err()
            || store.check().await.is_err()
            || store.upkeep(1).await.is_err()
        {
            assert!(Instant::now() < deadline);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_database_is_told_at_once_and_used_again_when_it_is_back() {
    let mut cluster = Cluster::start().await;
    let given = Given::at(cluster.new_schema(), StoreLimits::default());
    let store = given.open().await;
    let kept = submit(&store, echo()).await;
    cluster.kill().await;
    for _ in 0..3 {
        let began = Instant::now();
        let answer = try_submit(&store, echo()).await;
        assert!(matches!(answer, Err(SubmitError::Store(StoreError::Unavailable(_)))), "{answer:?}");
        assert!(store.check().await.is_err());
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }
    cluster.restart().await;
    let back = Instant::now();
    while try_submit(&store, echo()).await.is_err() {
        assert!(back.elapsed() < PATIENCE, "it is back for {:?}", back.elapsed());
    }
    assert_eq!(job(&store, kept.id).await.state, JobState::Queued);
    assert_eq!(live(&store).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_answers_nothing_fails_readiness_and_hangs_nobody() {
    let (proxy, given) = behind_a_proxy().await;
    let store = given.open().await;
    proxy.stall();
    assert!(timeout(Duration::from_secs(4), store.check()).await.unwrap().is_err());
    let answer = timeout(PATIENCE * 2, try_submit(&store, echo())).await.unwrap();
    assert!(matches!(answer, Err(SubmitError::Store(_))), "{answer:?}");
    proxy.pass();
    let deadline = Instant::now() + PATIENCE;
    while try_submit(&store, echo()).await.is_err() {
        assert!(Instant::now() < deadline);
    }
    let closed = timeout(PATIENCE, store.close(Instant::now() + 2 * PATIENCE)).await.unwrap();
    assert!(closed.is_ok(), "{closed:?}");
}
