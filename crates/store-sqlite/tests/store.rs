//! What the conformance suite cannot show: the file, its lock, its schema, and what outlives a process.

mod given;

use std::task::Poll;
use std::time::Duration;

use given::{Given, NEVER, boot, echo, failed, key, request};
use steadfast_domain::{Job, JobState, NewJob, Priority, QueueName, RawJson};
use steadfast_queue::JobStore;
use steadfast_queue::store::{
    Cancel, Claimed, End, Hint, How, ListQuery, QueueSpec, Refusal, Retention, Settlement, Speaker,
    StoreError, StoreLimits, SubmitError,
};
use steadfast_store_sqlite::OpenError;
use tokio::time::Instant;

const END: End = End::Completed { result: None };

#[tokio::test]
async fn jobs_are_found_again_after_a_close() {
    let given = Given::new();
    let store = given.open().await;
    let job = given.submit(&store, echo()).await;
    store.close(Instant::now() + NEVER).await.unwrap();
    store.close(Instant::now() + NEVER).await.unwrap();
    assert!(matches!(store.check().await, Err(StoreError::Closed)));
    assert!(matches!(store.get(&[job.id]).await, Err(StoreError::Closed)));
    drop(store);

    let store = given.open().await;
    assert_eq!(store.get(&[job.id]).await.unwrap(), [Some(job)]);
    let claimed = given.claim(&store, boot(2), 10).await;
    assert_eq!(claimed.len(), 1);
}

#[tokio::test]
async fn jobs_of_this_process_and_of_an_earlier_one_are_claimed_in_one_order() {
    let given = Given::new();
    let mut store = given.open().await;
    let mut expected = [const { Vec::new() }; 2];
    for _ in 0..2 {
        for (jobs, priority) in expected.iter_mut().zip([Priority::High, Priority::Normal]) {
            for _ in 0..3 {
                let payload = RawJson::encode(&jobs.len()).unwrap();
                jobs.push(given.submit(&store, NewJob { priority, payload, ..echo() }).await);
            }
        }
        drop(store);
        store = given.open().await;
        for (jobs, priority) in expected.iter_mut().zip([Priority::High, Priority::Normal]) {
            jobs.push(given.submit(&store, NewJob { priority, ..echo() }).await);
        }
    }
    let told = |job: &Job| (job.id, job.payload.clone());
    let claimed = given.claim(&store, boot(1), 100).await;
    let claimed: Vec<_> = claimed.iter().map(|claimed| told(&claimed.job)).collect();
    assert_eq!(claimed, expected.iter().flatten().map(told).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_earlier_process_is_counted_as_an_interruption_and_fences_grow() {
    let given = Given::new();
    let store = given.open().await;
    let job = given.submit(&store, echo()).await;
    let first = given.claim_one(&store, boot(1)).await;
    drop(store);

    let store = given.open().await;
    let found = store.get(&[job.id]).await.unwrap().pop().flatten().unwrap();
    assert_eq!((found.state, found.attempt, found.interruptions), (JobState::Queued, 0, 1));
    assert!(found.started_at.is_some());
    let second = given.claim_one(&store, boot(2)).await;
    assert!(second.id.fence > first.id.fence);
    assert_eq!(second.job.attempt, 1);
    let late = store.settle(vec![Settlement { id: first.id, by: Speaker::Server, end: END }]).await.unwrap();
    assert!(late[0].is_err(), "a stale worker cannot speak");
    let settled =
        store.settle(vec![Settlement { id: second.id, by: Speaker::Server, end: END }]).await.unwrap();
    assert!(settled[0].is_ok());
}

#[tokio::test]
async fn a_job_that_kills_its_processes_is_dead_in_the_end() {
    let given = Given::with(StoreLimits { interruptions_max: 3, ..StoreLimits::default() });
    let mut store = given.open().await;
    let job = given.submit(&store, echo()).await;
    for n in 1..=3 {
        given.claim_one(&store, boot(n)).await;
        drop(store);
        store = given.open().await;
    }
    let found = store.get(&[job.id]).await.unwrap().pop().flatten().unwrap();
    assert_eq!((found.state, found.interruptions), (JobState::Dead, 3));
    assert_eq!(found.errors[0].code, "interrupted");
}

#[tokio::test]
async fn a_settlement_repeated_after_a_restart_is_answered_as_the_first_time() {
    let given = Given::new();
    let store = given.open().await;
    given.submit(&store, echo()).await;
    let claimed = given.claim_one(&store, boot(1)).await;
    let end = || vec![Settlement { id: claimed.id, by: Speaker::Server, end: END }];
    let first = store.settle(end()).await.unwrap();
    drop(store);
    let store = given.open().await;
    assert_eq!(store.settle(end()).await.unwrap(), first);
    let other = End::Dead { error: failed() };
    assert!(
        store.settle(vec![Settlement { id: claimed.id, by: Speaker::Server, end: other }]).await.unwrap()[0]
            .is_err()
    );
}

#[tokio::test]
async fn keys_queues_and_counters_survive_a_restart() {
    let given = Given::new();
    let store = given.open().await;
    let first = given.submit_with(&store, echo(), key("k", 1)).await.unwrap();
    let done = given.claim_one(&store, boot(1)).await;
    store.settle(vec![Settlement { id: done.id, by: Speaker::Server, end: END }]).await.unwrap()[0].unwrap();
    given.submit(&store, echo()).await;
    store.pause(&QueueName::default_queue(), true).await.unwrap();
    let before = store.queues().await.unwrap().remove(0);
    drop(store);

    let store = given.open().await;
    let after = store.queues().await.unwrap().remove(0);
    assert_eq!((after.depth, after.bytes, after.paused), (before.depth, before.bytes, true));
    assert_eq!(after.depth_in(JobState::Completed), 1);
    assert!(given.claim(&store, boot(2), 1).await.is_empty());
    let again = given.submit_with(&store, echo(), key("k", 1)).await.unwrap();
    assert_eq!((again[0].job.id, again[0].how), (first[0].job.id, How::Replayed));
    let other_body = given.submit_with(&store, echo(), key("k", 2)).await;
    assert!(matches!(other_body, Err(SubmitError::Refused(Refusal::KeyMismatch))));
}

#[tokio::test]
async fn two_hundred_submissions_with_one_key_make_one_job() {
    let given = Given::new();
    let store = given.open().await;
    let submissions = (0..200).map(|_| given.submit_with(&store, echo(), key("once", 1)));
    let answers = futures_util::future::join_all(submissions).await;
    let ids: Vec<_> = answers.into_iter().map(|answer| answer.unwrap()[0].job.id).collect();
    assert!(ids.iter().all(|id| *id == ids[0]));
    assert_eq!(store.queues().await.unwrap()[0].live(), 1);
}

#[tokio::test]
async fn callers_who_come_together_share_commits() {
    let given = Given::new();
    let store = given.open().await;
    let before = given.commits();
    let submissions = (0..500).map(|_| given.submit(&store, echo()));
    futures_util::future::join_all(submissions).await;
    let commits = given.commits() - before;
    assert!(commits <= 100, "500 submissions took {commits} commits");
}

#[tokio::test]
async fn retention_takes_the_oldest_first_and_the_key_with_its_job() {
    let retention = Retention { jobs_max: 2, ..Retention::default() };
    let given = Given::with(StoreLimits { retention, ..StoreLimits::default() });
    let store = given.open().await;
    let keys = ["dead", "first", "second", "third"];
    for name in keys {
        given.submit_with(&store, echo(), key(name, 1)).await.unwrap();
        let Claimed { id, .. } = given.claim_one(&store, boot(1)).await;
        let end = if name == "dead" { End::Dead { error: failed() } } else { END };
        store.settle(vec![Settlement { id, by: Speaker::Server, end }]).await.unwrap()[0].unwrap();
    }
    let step = store.upkeep(1).await.unwrap();
    assert!(step.more);
    assert_eq!(step.changed, 1);
    assert!(!store.upkeep(10).await.unwrap().more);
    let status = store.queues().await.unwrap().remove(0);
    assert_eq!((status.depth_in(JobState::Dead), status.depth_in(JobState::Completed)), (1, 1));
    drop(store);

    let store = given.open().await;
    let mut how = Vec::new();
    for name in keys {
        how.push(given.submit_with(&store, echo(), key(name, 1)).await.unwrap()[0].how);
    }
    assert_eq!(how, [How::Replayed, How::Accepted, How::Accepted, How::Replayed]);
}

#[tokio::test]
async fn a_caller_who_is_gone_claims_nothing() {
    let given = Given::new();
    let store = given.open().await;
    let job = given.submit(&store, echo()).await;
    let mut hints = loop {
        let hints = store.hints();
        let claim = std::pin::pin!(given.claim(&store, boot(1), 1));
        // One poll puts the question; nobody is there for the answer, unless it has come already.
        match futures_util::poll!(claim) {
            Poll::Pending => break hints,
            Poll::Ready(claimed) => {
                let end = End::HandBack { checkpoint: None, after: Duration::ZERO };
                store.settle(vec![Settlement { id: claimed[0].id, by: Speaker::Server, end }]).await.unwrap();
            }
        }
    };
    loop {
        if let Hint::Changed(change, _) = hints.recv().await.unwrap() {
            assert_eq!((change.id, change.state), (job.id, JobState::Queued));
            break;
        }
    }
    let claimed = given.claim_one(&store, boot(1)).await;
    assert_eq!((claimed.job.attempt, claimed.job.interruptions), (1, 0));
}

#[tokio::test]
async fn a_late_submission_is_withdrawn() {
    let given = Given::new();
    let store = given.open().await;
    let late = given.submission(echo(), None, Instant::now());
    let answer = store.submit(late).await;
    assert!(matches!(answer, Err(SubmitError::Store(StoreError::TimedOut))), "{answer:?}");
    assert_eq!(store.queues().await.unwrap()[0].live(), 0);
}

#[tokio::test]
async fn a_second_process_is_told_who_has_the_file() {
    let given = Given::new();
    let store = given.open().await;
    let error = given.try_open().await.unwrap_err();
    assert!(
        matches!(error, OpenError::Locked { pid: Some(pid), .. } if pid == std::process::id()),
        "{error}"
    );
    drop(store);
    given.open().await;
}

#[tokio::test]
async fn a_newer_or_foreign_file_is_refused() {
    let given = Given::new();
    drop(given.open().await);
    given.change_file("PRAGMA user_version = 99");
    let error = given.try_open().await.unwrap_err();
    assert!(matches!(error, OpenError::NewerSchema { found: 99, known: 1, .. }), "{error}");
    given.change_file("PRAGMA user_version = 1; PRAGMA application_id = 1");
    assert!(matches!(given.try_open().await.unwrap_err(), OpenError::NotOurs { .. }));
    std::fs::write(given.path(), [b'x'; 8192]).unwrap();
    assert!(matches!(given.try_open().await.unwrap_err(), OpenError::Corrupt { .. }));
}

#[tokio::test]
async fn a_file_that_is_taken_away_fails_readiness() {
    let given = Given::new();
    let store = given.open().await;
    store.check().await.unwrap();
    std::fs::rename(given.path(), given.path().with_extension("away")).unwrap();
    assert!(matches!(store.check().await, Err(StoreError::Unavailable(_))));
    std::fs::rename(given.path().with_extension("away"), given.path()).unwrap();
    store.check().await.unwrap();
}

#[tokio::test]
async fn lists_are_read_newest_first_page_by_page() {
    let given = Given::new();
    let store = given.open().await;
    let mut jobs = Vec::new();
    for _ in 0..5 {
        jobs.insert(0, given.submit(&store, echo()).await.id);
    }
    let mut query = ListQuery { limit: 2, ..ListQuery::default() };
    let mut seen = Vec::new();
    loop {
        let page = store.list(&query).await.unwrap();
        seen.extend(page.jobs.iter().map(|job| job.id));
        assert!(page.jobs.iter().all(|job| job.payload.is_none()));
        match page.next {
            Some(next) => query.before = Some(next),
            None => break,
        }
    }
    assert_eq!(seen, jobs);
}

#[tokio::test]
async fn a_refused_batch_leaves_nothing_in_memory_or_file() {
    let given = Given::new();
    let store = given.open().await;
    let small =
        QueueSpec { name: QueueName::new("small").unwrap(), capacity_jobs: Some(1), capacity_bytes: None };
    store.declare(std::slice::from_ref(&small)).await.unwrap();
    let mut in_small = echo();
    in_small.queue = small.name;
    let mut batch = given.submission(echo(), key("batch", 1), Instant::now() + NEVER);
    batch.jobs.extend([in_small.clone(), in_small]);
    assert!(matches!(
        store.submit(batch).await,
        Err(SubmitError::Refused(Refusal::LargerThanCapacity { .. }))
    ));
    assert!(store.queues().await.unwrap().iter().all(|queue| queue.live() == 0));
    let again = given.submit_with(&store, echo(), key("batch", 2)).await.unwrap();
    assert_eq!(again[0].how, How::Accepted);
}

#[tokio::test]
async fn work_waits_for_its_time_across_a_restart() {
    let given = Given::new();
    let store = given.open().await;
    let job = given.submit(&store, echo()).await;
    let claimed = given.claim_one(&store, boot(1)).await;
    let end = End::Retry { error: failed(), after: Duration::from_secs(3_600) };
    store.settle(vec![Settlement { id: claimed.id, by: Speaker::Server, end }]).await.unwrap()[0].unwrap();
    drop(store);
    let store = given.open().await;
    assert!(given.claim(&store, boot(2), 1).await.is_empty());
    let found = store.get(&[job.id]).await.unwrap().pop().flatten().unwrap();
    assert_eq!((found.state, found.attempt, found.errors.len()), (JobState::Retryable, 1, 1));
    assert!(store.upkeep(10).await.unwrap().next_due.unwrap() > Duration::from_secs(3_000));
}

#[tokio::test]
async fn a_claim_that_was_rolled_back_leaves_its_job_as_it_was() {
    let given = Given::new();
    drop(given.open().await);
    given.change_file(
        "CREATE TRIGGER no_claims BEFORE INSERT ON claims BEGIN SELECT RAISE(ABORT, 'no claims'); END",
    );
    let store = given.open().await;
    let job = given.submit(&store, echo()).await;
    assert!(matches!(store.claim(request(boot(1), 1)).await, Err(StoreError::Unavailable(_))));
    let Cancel::Done(change) = store.cancel(job.id).await.unwrap() else { panic!("it was waiting") };
    assert_eq!((change.state, change.version), (JobState::Cancelled, job.version.next()));
    let found = store.get(&[job.id]).await.unwrap().pop().flatten().unwrap();
    assert_eq!((found.attempt, found.started_at), (0, None));
}
