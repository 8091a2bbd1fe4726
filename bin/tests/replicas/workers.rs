//! Remote workers and replicas: what one replica gave, another renews and settles.

use std::time::Duration;

use serde_json::json;
use steadfast_client::Client;
use steadfast_domain::JobState;
use steadfast_testkit::harness::Server;
use steadfast_testkit::history::{Evidence, Expected, History, all_jobs};
use steadfast_testkit::postgres::Cluster;
use steadfast_wire::lease::{CompleteRequest, HeartbeatRequest, LeaseDocument, LeaseRequest, Settle};
use tokio::task::JoinSet;

use crate::given::given_replica;

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_outlives_the_replica_that_gave_it() {
    let (history, mut servers) = (History::new(), given_two().await);
    history.submit_batch(&servers[0].client(), "any", &json!({}), 3).await.expect("room");
    let leases = take(&servers[0].client(), 3, Duration::ZERO).await;
    assert_eq!(leases.len(), 3);

    servers[0].kill().await;
    let other = servers[1].client();
    for LeaseDocument { lease, .. } in &leases {
        other.heartbeat(*lease, &HeartbeatRequest::default()).await.expect("it holds");
        let done = Settle::Complete(CompleteRequest { result: None });
        let settled = other.settle(*lease, &done).await.expect("it is taken");
        assert_eq!(settled.state, JobState::Completed);
        assert_eq!(other.settle(*lease, &done).await.expect("a repeat gets the first answer"), settled);
    }
    let jobs = all_jobs(&other).await;
    assert!(jobs.iter().all(|job| job.interruptions == 0), "{jobs:?}");
    history.assert_kept(Evidence { jobs: &jobs, ..Evidence::default() }, Expected::Ended);
    servers[1].stop().await.expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_waits_at_one_replica_gets_what_is_submitted_to_another() {
    let (history, mut servers) = (History::new(), given_two().await);
    let mut waiting = JoinSet::new();
    let client = servers[0].client();
    waiting.spawn(async move { take(&client, 1, Duration::from_secs(30)).await });
    let early = tokio::time::timeout(Duration::from_millis(200), waiting.join_next()).await;
    assert!(early.is_err(), "there is nothing to take");

    let job = history.submit(&servers[1].client(), "any", &json!({})).await.expect("room");
    let taken = waiting.join_next().await.expect("it waits").expect("no panic");
    assert_eq!(taken.iter().map(|lease| lease.job.id).collect::<Vec<_>>(), [job.id]);
    for server in &mut servers {
        server.stop().await.expect_code(0);
    }
}

/// Two replicas whose jobs wait for workers.
async fn given_two() -> Vec<Server> {
    let given = given_replica(Cluster::shared().await.new_schema());
    given.settings("[queues.default]\nmode = \"pull\"\n").start_replicas(2).await
}

async fn take(client: &Client, limit: u64, wait: Duration) -> Vec<LeaseDocument> {
    let wait_ms = Some(wait.as_millis() as u64);
    let request = LeaseRequest { limit: Some(limit), wait_ms, ..LeaseRequest::new("tester") };
    client.lease(&request).await.expect("an answer").leases
}
