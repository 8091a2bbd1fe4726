//! Many jobs at once: they are written together, and claimed from where the last claim found the first one.

use std::time::Duration;

use steadfast_domain::{Job, JobId, KindName, NewJob, Priority, RawJson, Start, Timestamp, TraceParent};
use steadfast_queue::JobStore;
use steadfast_queue::store::{StoreLimits, Submission};
use steadfast_testkit::postgres::{Cluster, in_schema};
use tokio::time::Instant;

use crate::given::{Given, NEVER, boot, claim, echo, live};

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Jobs that differ in one thing each, and one of each again.
fn different() -> Vec<NewJob> {
    let start = |start| NewJob { start, ..echo() };
    let jobs = [
        echo(),
        NewJob { kind: KindName::new("sleep").unwrap(), ..echo() },
        NewJob { priority: Priority::High, ..echo() },
        start(Start::After(Duration::from_secs(60))),
        NewJob { deadline: Some(Timestamp::from_unix_ms(4_000_000_000_000)), ..echo() },
        NewJob { max_wait: Some(Duration::from_secs(60)), ..echo() },
        NewJob { trace: Some(TraceParent::new(TRACE).unwrap()), ..echo() },
        NewJob { payload: RawJson::parse(r#"{"text":"größer"}"#).unwrap(), ..echo() },
    ];
    [jobs.clone(), jobs].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_one_batch_come_back_as_they_were_accepted() {
    let given = Given::new().await;
    let store = given.open().await;
    // From both ends, so that each is among the first ones once: those are written in another way than the rest.
    for jobs in [different(), different().into_iter().rev().collect()] {
        let submission = Submission { jobs, key: None, give_up_at: Instant::now() + NEVER };
        let accepted: Vec<Job> =
            store.submit(submission).await.unwrap().into_iter().map(|submitted| submitted.job).collect();
        let ids: Vec<JobId> = accepted.iter().map(|job| job.id).collect();
        let stored: Vec<Job> = store.get(&ids).await.unwrap().into_iter().map(Option::unwrap).collect();
        assert_eq!(stored, accepted);
    }
    assert_eq!(live(&store).await, 2 * different().len() as u64);
    store.close(Instant::now() + NEVER).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_before_the_head_of_a_backlog_are_claimed() {
    let cluster = Cluster::shared().await;
    let schema = cluster.new_schema_name();
    let given = Given::at(in_schema(&cluster.url(), &schema), StoreLimits::default());
    let store = given.open().await;
    let submission = Submission { jobs: vec![echo(); 20], key: None, give_up_at: Instant::now() + NEVER };
    store.submit(submission).await.unwrap();
    let an_hour_older = format!("UPDATE {schema}.waiting SET due_at = due_at - 3600000");
    cluster.sql(&an_hour_older).await;
    let first = claim(&store, &boot(), 10, NEVER).await;
    // As if a transaction that began long ago had only just ended.
    cluster.sql(&an_hour_older).await;
    let rest = claim(&store, &boot(), 20, NEVER).await;
    assert_eq!((first.len(), rest.len()), (10, 10));
    store.close(Instant::now() + NEVER).await.unwrap();
}
