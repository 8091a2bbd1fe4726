//! Several stores on one schema: what holds for one holds for all of them together.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use steadfast_domain::{IdempotencyToken, JobState, NewJob, QueueName, Tenant, UniqueKey};
use steadfast_queue::JobStore;
use steadfast_queue::store::{
    Cancel, ClaimLost, End, Hint, How, IdempotencyKey, KeyScope, Refusal, Settlement, Speaker, StoreLimits,
    Submission, SubmitError,
};
use steadfast_store_postgres::{OpenError, PostgresStore};
use steadfast_testkit::postgres::Cluster;
use steadfast_testkit::{PATIENCE, eventually};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::given::{Given, NEVER, boot, claim, echo, job, live, submit, try_submit};

async fn three(given: &Given) -> Vec<Arc<PostgresStore>> {
    let mut stores = Vec::new();
    for _ in 0..3 {
        stores.push(Arc::new(given.open().await));
    }
    stores
}

#[tokio::test(flavor = "multi_thread")]
async fn three_stores_share_one_capacity_to_the_last_job() {
    const CAPACITY: u64 = 50;
    let given = Given::with(StoreLimits { capacity_jobs: CAPACITY, ..StoreLimits::default() }).await;
    let stores = three(&given).await;
    for round in 0..3 {
        let mut submits = JoinSet::new();
        for n in 0..120 {
            let store = Arc::clone(&stores[n % 3]);
            submits.spawn(async move { try_submit(&store, echo()).await });
        }
        let (mut accepted, mut refused) = (0, 0);
        for answer in submits.join_all().await {
            match answer {
                Ok(_) => accepted += 1,
                Err(SubmitError::Refused(Refusal::QueueFull { capacity: CAPACITY, .. })) => refused += 1,
                Err(other) => panic!("{other:?}"),
            }
        }
        assert_eq!((accepted, refused), (CAPACITY, 120 - CAPACITY), "round {round}");
        // Every replica frees some: what one gives back another takes.
        let owner = boot();
        for (n, claimed) in claim(&stores[round], &owner, 100, NEVER).await.into_iter().enumerate() {
            let end =
                Settlement { id: claimed.id, by: Speaker::Server, end: End::Completed { result: None } };
            assert!(stores[n % 3].settle(vec![end]).await.unwrap()[0].is_ok());
        }
        assert_eq!(live(&stores[0]).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn room_of_a_replica_that_is_gone_is_not_lost() {
    let given = Given::with(StoreLimits { capacity_jobs: 10, ..StoreLimits::default() }).await;
    let (first, second) = (given.open().await, given.open().await);
    submit(&first, echo()).await;
    submit(&second, echo()).await;
    first.close(Instant::now() + NEVER).await.unwrap();
    drop(second);
    let third = given.open().await;
    for _ in 0..8 {
        submit(&third, echo()).await;
    }
    let refused = try_submit(&third, echo()).await;
    assert!(
        matches!(refused, Err(SubmitError::Refused(Refusal::QueueFull { depth: 10, .. }))),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_of_replicas_at_once_are_disjoint_and_complete() {
    const JOBS: usize = 300;
    let given = Given::new().await;
    let stores = three(&given).await;
    let jobs = (0..JOBS).map(|_| echo()).collect();
    let submission = Submission { jobs, key: None, give_up_at: Instant::now() + NEVER };
    stores[0].submit(submission).await.unwrap();
    let mut workers = JoinSet::new();
    for n in 0..6 {
        let store = Arc::clone(&stores[n % 3]);
        workers.spawn(async move {
            let (owner, mut taken) = (boot(), Vec::new());
            // Others may hold what is left for a moment, so one empty answer says little.
            while store.queues().await.unwrap()[0].depth_in(JobState::Queued) > 0 {
                taken.extend(claim(&store, &owner, 7, NEVER).await.into_iter().map(|claimed| claimed.id));
            }
            taken
        });
    }
    let taken: Vec<_> = workers.join_all().await.into_iter().flatten().collect();
    let jobs: BTreeSet<_> = taken.iter().map(|id| id.job).collect();
    let fences: BTreeSet<_> = taken.iter().map(|id| id.fence).collect();
    assert_eq!((taken.len(), jobs.len(), fences.len()), (JOBS, JOBS, JOBS));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lapsed_lease_is_recovered_by_another_replica_and_its_holder_is_stale() {
    let given = Given::new().await;
    let (first, second) = (given.open().await, given.open().await);
    let id = submit(&first, echo()).await.id;
    let owner = boot();
    let lost = claim(&first, &owner, 1, Duration::from_millis(1)).await.remove(0);
    eventually("the other replica recovers it", || async {
        second.upkeep(100).await.unwrap();
        (job(&second, id).await.interruptions == 1).then_some(())
    })
    .await;
    let again = claim(&second, &boot(), 1, NEVER).await.remove(0);
    assert!(again.id.fence > lost.id.fence);
    let stale = Settlement { id: lost.id, by: Speaker::Server, end: End::Completed { result: None } };
    assert_eq!(first.settle(vec![stale]).await.unwrap(), [Err(ClaimLost)]);
    assert_eq!(job(&first, id).await.state, JobState::Processing);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_given_to_three_replicas_at_once_makes_one_job() {
    let given = Given::new().await;
    let stores = three(&given).await;
    let key = IdempotencyKey {
        tenant: Tenant::default(),
        scope: KeyScope::Submit,
        token: IdempotencyToken::new("one").unwrap(),
        fingerprint: [7; 32],
    };
    let mut submits = JoinSet::new();
    for n in 0..60 {
        let (store, key) = (Arc::clone(&stores[n % 3]), Some(key.clone()));
        submits.spawn(async move {
            let give_up_at = Instant::now() + NEVER;
            store.submit(Submission { jobs: vec![echo()], key, give_up_at }).await.unwrap().remove(0)
        });
    }
    let answers = submits.join_all().await;
    let ids: BTreeSet<_> = answers.iter().map(|answer| answer.job.id).collect();
    let made = answers.iter().filter(|answer| answer.how == How::Accepted).count();
    assert_eq!((ids.len(), made, live(&stores[0]).await), (1, 1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_unique_key_has_one_live_job_whoever_ends_it() {
    let given = Given::new().await;
    let stores = three(&given).await;
    let unique = || NewJob { unique_key: Some(UniqueKey::new("u").unwrap()), ..echo() };
    for round in 0..5 {
        let mut submits = JoinSet::new();
        for n in 0..30 {
            let (store, new) = (Arc::clone(&stores[n % 3]), unique());
            submits.spawn(async move { submit(&store, new).await.id });
        }
        let ids: BTreeSet<_> = submits.join_all().await.into_iter().collect();
        assert_eq!(ids.len(), 1, "round {round}");
        let ended = stores[round % 3].cancel(*ids.first().unwrap()).await.unwrap();
        assert!(matches!(ended, Cancel::Done(_)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_on_one_replica_stops_the_claims_of_all() {
    let given = Given::new().await;
    let (first, second) = (Arc::new(given.open().await), Arc::new(given.open().await));
    let stopped = Arc::new(AtomicBool::new(false));
    let mut claimer = JoinSet::new();
    {
        let (second, stopped) = (Arc::clone(&second), Arc::clone(&stopped));
        claimer.spawn(async move {
            let owner = boot();
            loop {
                let is_paused = stopped.load(Ordering::SeqCst);
                let claimed = claim(&second, &owner, 1, NEVER).await;
                assert!(!is_paused || claimed.is_empty(), "claimed after the pause");
                if is_paused {
                    return;
                }
            }
        });
    }
    for _ in 0..20 {
        submit(&first, echo()).await;
    }
    first.pause(&QueueName::default_queue(), true).await.unwrap();
    stopped.store(true, Ordering::SeqCst);
    claimer.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_hears_what_another_has_done() {
    let given = Given::new().await;
    let (first, second) = (given.open().await, given.open().await);
    let mut hints = second.hints();
    let heard = async {
        // The second one does nothing itself.
        loop {
            if let Ok(Hint::Changed(_, queue)) = hints.recv().await {
                assert_eq!(queue, QueueName::default_queue());
                return;
            }
        }
    };
    // Only what is told while the other listens arrives, so it is told until something does.
    let told = async {
        loop {
            submit(&first, echo()).await;
        }
    };
    let first = async {
        tokio::select! {
            () = heard => {}
            () = told => {}
        }
    };
    tokio::time::timeout(PATIENCE, first).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_schema_is_refused_and_left_alone() {
    let given = Given::new().await;
    given.open().await.close(Instant::now() + NEVER).await.unwrap();
    let schema = given.url.split("schema=").nth(1).unwrap().to_owned();
    let cluster = Cluster::shared().await;
    cluster.sql(&format!("update {schema}.schema_version set version = 99")).await;
    let error = given.try_open().await.err().unwrap();
    assert!(matches!(error, OpenError::NewerSchema { found: 99, .. }), "{error}");
    assert_eq!(cluster.sql(&format!("select version from {schema}.schema_version")).await, "99");
}
