//! What the server does for a claim and a settlement, and that neither ended jobs nor early statistics change it.

use steadfast_domain::NewJob;
use steadfast_queue::JobStore;
use steadfast_queue::store::{End, Settlement, Speaker, StoreLimits, Submission};
use steadfast_store_postgres::PostgresStore;
use steadfast_testkit::postgres::{Cluster, Plans, explained, in_schema};
use tokio::time::Instant;

use crate::given::{Given, NEVER, boot, claim, echo};

/// Jobs of each claim that is looked at, and those that wait.
const CLAIMED: usize = 10;
const WAITING: usize = 100;
/// Enough for their index to be a level deeper.
const ENDED: usize = 5_000;
/// Submitted and settled at once.
const BATCH: usize = 1_000;

async fn submit_all(store: &PostgresStore, count: usize) {
    let jobs: Vec<NewJob> = vec![echo(); count];
    store.submit(Submission { jobs, key: None, give_up_at: Instant::now() + NEVER }).await.unwrap();
}

/// Claims and settles; returns what the server did for the claim.
async fn run(store: &PostgresStore, cluster: &Cluster, count: usize) -> Plans {
    let (claimed, plans) = cluster.plans_of(claim(store, &boot(), count, NEVER)).await;
    assert_eq!(claimed.len(), count);
    let ends = claimed.into_iter().map(|one| Settlement {
        id: one.id,
        by: Speaker::Server,
        end: End::Completed { result: None },
    });
    assert!(store.settle(ends.collect()).await.unwrap().iter().all(Result::is_ok));
    plans
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_walks_the_index_of_ready_jobs_however_many_have_ended() {
    let cluster = Cluster::shared().await;
    let given = Given::at(explained(&cluster.new_schema()), StoreLimits::default());
    let store = given.open().await;
    submit_all(&store, WAITING).await;
    let with_none = run(&store, cluster, CLAIMED).await;
    for _ in 0..ENDED / BATCH {
        submit_all(&store, BATCH).await;
        run(&store, cluster, BATCH).await;
    }
    let with_many = run(&store, cluster, CLAIMED).await;

    let shapes = &with_many.shapes;
    assert!(shapes.iter().any(|shape| shape.contains("Index Scan bystanders waiting")), "{shapes:#?}");
    assert!(!shapes.iter().any(|shape| shape.contains("Seq Scan jobs")), "{shapes:#?}");
    assert_eq!(with_none.shapes, with_many.shapes);
    // A deeper index is a page more for each job that is looked up in it; the jobs' order is the claim's.
    assert!(with_many.pages < 2 * with_none.pages, "{} pages, then {}", with_none.pages, with_many.pages);
    store.close(Instant::now() + NEVER).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settlement_looks_up_its_own_claims_alone_whatever_the_statistics_say() {
    // Its own: what is logged meanwhile is all its.
    let cluster = Cluster::start().await;
    let schema = cluster.new_schema_name();
    let given = Given::at(explained(&in_schema(&cluster.url(), &schema)), StoreLimits::default());
    let store = given.open().await;
    submit_all(&store, CLAIMED).await;
    let claimed = claim(&store, &boot(), 3, NEVER).await;
    // From now on the server believes that there are hardly any jobs and claims.
    cluster.sql(&format!("ANALYZE {schema}.jobs, {schema}.claims")).await;
    let ends = claimed.into_iter().map(|one| Settlement {
        id: one.id,
        by: Speaker::Server,
        end: End::Completed { result: None },
    });
    let (settled, plans) = cluster.plans_of(store.settle(ends.collect())).await;
    assert!(settled.unwrap().iter().all(Result::is_ok));
    let one_by_one = "LockRows [Nested Loop [Index Scan jobs_pkey jobs, Index Scan claims_pkey claims]]";
    assert!(plans.shapes.iter().any(|shape| shape.contains(one_by_one)), "{:#?}", plans.shapes);
    store.close(Instant::now() + NEVER).await.unwrap();
}
