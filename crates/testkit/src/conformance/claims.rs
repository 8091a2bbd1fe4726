//! What a claim takes, what it never takes, and what it tells.

use std::collections::BTreeSet;
use std::time::Duration;

use steadfast_domain::{JobId, JobState, NewJob, Start};
use tokio::task::JoinSet;

use super::Bench;
use super::subject::{
    LONG, Subject, completed, echo, echoes, hand_back, ids, in_queue, of_kind, want, want_kinds, worker,
};

/// A claim never waits: without ready work it answers with nothing.
pub async fn a_claim_without_work_is_answered_at_once(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    assert!(store.claim(10).await.is_empty());
    store.submit(NewJob { start: Start::After(LONG), ..echo() }).await;
    assert!(store.claim(10).await.is_empty());
    assert!(store.claim_from(vec![want("never-declared")], 10).await.is_empty());
    assert!(store.claim_from(Vec::new(), 10).await.is_empty());
}

/// The claimed job is the attempt's view: `processing`, counted, begun, owned, under its old version.
pub async fn a_claimed_job_reads_as_its_attempt(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    let submitted = store.submit(of_kind("echo")).await;
    let claimed = store.claim_one().await;
    let job = &claimed.job;
    assert_eq!(claimed.id.job, submitted.id);
    assert_eq!((job.state, job.attempt, job.interruptions), (JobState::Processing, 1, 0));
    assert_eq!((job.version, &job.history), (submitted.version, &submitted.history));
    assert_eq!(job.payload, submitted.payload);
    assert!(job.started_at.is_some_and(|at| at >= submitted.created_at) && job.owner.is_some());
    assert!(!claimed.valid_for.is_zero());
    assert_eq!(store.job(submitted.id).await, *job);
}

/// A claim never takes more than it may, nor a job that is claimed.
pub async fn a_claim_takes_no_more_than_its_maximum(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    let jobs = store.submit_all(echoes(5)).await;
    let (first, second) = (store.claim(2).await, store.claim(2).await);
    let (third, fourth) = (store.claim(2).await, store.claim(2).await);
    assert_eq!([&first, &second, &third, &fourth].map(|claimed| claimed.len()), [2, 2, 1, 0]);
    let taken: Vec<JobId> = [first, second, third].iter().flat_map(|claimed| ids(claimed)).collect();
    assert_eq!(taken, jobs.iter().map(|job| job.id).collect::<Vec<_>>());
}

/// An owner never gets a kind it does not want, nor a queue.
pub async fn a_claim_takes_no_kind_and_no_queue_it_does_not_want(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    store.declare("other", None, None).await;
    let other = in_queue("other");
    store.submit_all(vec![of_kind("new"), of_kind("old"), other, of_kind("older"), of_kind("new")]).await;
    let claimed = store.claim_from(vec![want_kinds("default", &["old", "older", "unheard-of"])], 10).await;
    let kinds: Vec<&str> = claimed.iter().map(|claimed| claimed.job.kind.as_str()).collect();
    assert_eq!(kinds, ["old", "older"]);
    assert!(store.claim_from(vec![want_kinds("default", &["echo"])], 10).await.is_empty());
    assert!(store.claim_from(vec![want_kinds("default", &[])], 10).await.is_empty());
    assert_eq!(store.claim_from(vec![want("other")], 10).await.len(), 1);
    assert_eq!(store.claim(10).await.len(), 2);
}

/// Once a pause is answered nothing is taken from the queue, until it is resumed.
pub async fn a_paused_queue_gives_nothing(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    store.declare("q", None, None).await;
    store.submit_all(vec![in_queue("q"), echo()]).await;
    store.pause("q", true).await;
    store.pause("q", true).await;
    assert!(store.queue("q").await.paused && !store.queue("default").await.paused);
    store.submit(in_queue("q")).await;
    assert_eq!(store.claim_from(vec![want("q"), want("default")], 10).await.len(), 1);
    store.pause("q", false).await;
    assert_eq!(store.claim_from(vec![want("q")], 10).await.len(), 2);
}

/// A pause is final even among claims at once: what is answered after it took nothing after it.
pub async fn no_claim_begun_after_a_pause_takes_from_its_queue(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    store.submit_all(echoes(300)).await;
    let mut claims = JoinSet::new();
    for _ in 0..3 {
        let store = store.clone();
        claims.spawn(async move { while !store.claim(1).await.is_empty() {} });
    }
    store.pause("default", true).await;
    let taken = store.queue("default").await.depth_in(JobState::Processing);
    assert!(store.claim(300).await.is_empty());
    claims.join_all().await;
    // Claims that were under way as the pause was answered may still have been.
    let after = store.queue("default").await.depth_in(JobState::Processing);
    assert!(after <= taken + 3, "{taken} before, {after} after");
}

/// To declare a queue again changes its limits and never whether it is paused.
pub async fn declaring_again_never_touches_the_pause(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    store.declare("q", Some(5), None).await;
    store.pause("q", true).await;
    store.declare("q", Some(9), Some(100)).await;
    let queue = store.queue("q").await;
    assert_eq!((queue.paused, queue.capacity_jobs, queue.capacity_bytes), (true, 9, 100));
    store.declare("q", Some(9), Some(100)).await;
    assert_eq!(store.queue("q").await.capacity_jobs, 9);
    store.submit(in_queue("q")).await;
    assert!(store.claim_from(vec![want("q")], 1).await.is_empty());
}

/// Claims at once never give a job to two.
pub async fn claims_at_once_give_each_job_to_one(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    store.submit_all(echoes(200)).await;
    let mut claimers = JoinSet::new();
    for n in 0..8 {
        let store = store.clone();
        claimers.spawn(async move {
            let (owner, mut taken) = (worker(&format!("w{n}")), Vec::new());
            loop {
                let claimed = store.claim_as(&owner, vec![want("default")], 3, LONG).await;
                if claimed.is_empty() {
                    return taken;
                }
                taken.extend(claimed);
            }
        });
    }
    let taken: Vec<_> = claimers.join_all().await.into_iter().flatten().collect();
    let jobs: BTreeSet<JobId> = taken.iter().map(|claimed| claimed.id.job).collect();
    let fences: BTreeSet<_> = taken.iter().map(|claimed| claimed.id.fence).collect();
    assert_eq!((taken.len(), jobs.len(), fences.len()), (200, 200, 200));
}

/// A later claim's fencing token is larger, of the same job and of any other.
pub async fn fencing_tokens_grow(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    let mut newest = None;
    for _ in 0..5 {
        store.submit(echo()).await;
        for end in [hand_back(Duration::ZERO), completed()] {
            let claimed = store.until("it is ready", async || store.claim(1).await.pop()).await;
            assert!(Some(claimed.id.fence) > newest);
            newest = Some(claimed.id.fence);
            store.end(claimed.id, end).await;
        }
    }
}
