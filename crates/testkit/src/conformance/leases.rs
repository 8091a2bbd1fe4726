//! Workers' leases: how long a claim holds, and what becomes of a lost one.

use std::time::Duration;

use steadfast_domain::JobState;
use steadfast_queue::store::{ClaimLost, StoreLimits};
use tokio::time::sleep;

use super::Bench;
use super::expiry::before_a_deadline;
use super::subject::{BRIEF, LONG, Subject, completed, ids, of_kind, want, worker};

/// A lapsed lease returns its job to the queue: the interruption counted, the attempt refunded.
pub async fn a_lapsed_lease_is_an_interruption_and_no_attempt(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    let job = store.submit(of_kind("k")).await;
    let claimed = store.lease("k", BRIEF).await;
    assert_eq!(claimed.job.attempt, 1);
    store.until_state(job.id, JobState::Queued).await;
    let job = store.job(job.id).await;
    assert_eq!((job.interruptions, job.attempt, job.errors.len()), (1, 0, 0));
    assert_eq!((job.version, job.owner), (claimed.job.version.next(), None));
    let next = store.claim_one().await;
    assert_eq!((next.job.attempt, next.job.interruptions), (1, 1));
}

/// A claim is lost when its lease ends, whether or not housekeeping has come to it.
pub async fn a_lease_is_lost_at_its_end_without_housekeeping(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    store.submit(of_kind("k")).await;
    let claimed = store.lease("k", BRIEF).await;
    let end = store.now().await.plus(BRIEF);
    while store.now().await <= end {
        sleep(BRIEF).await;
    }
    assert_eq!(store.renew(claimed.id, LONG).await, Err(ClaimLost));
    assert_eq!(store.settle(claimed.id, completed()).await, Err(ClaimLost));
    store.until_state(claimed.id.job, JobState::Queued).await;
}

/// A worker's claim holds no longer than its lease, and a renewal makes it hold longer.
pub async fn a_renewed_lease_outlives_its_first_end(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    let longer = Duration::from_secs(60);
    store.submit(of_kind("left")).await;
    let (renewed, short) = before_a_deadline(&store, async |_, short| {
        store.submit(of_kind("renewed")).await;
        let renewed = store.lease("renewed", short).await;
        assert!(renewed.valid_for <= short);
        let answer = store.renew(renewed.id, longer).await.ok()?;
        assert!(answer.valid_for <= longer && answer.valid_for > short);
        Some((renewed, short))
    })
    .await;
    // Taken after the other, under the same lease: once this one has lapsed, so would the other have.
    let left = store.lease("left", short).await;
    store.until_state(left.id.job, JobState::Queued).await;
    assert_eq!(store.state(renewed.id.job).await, JobState::Processing);
    store.end(renewed.id, completed()).await;
}

/// A lease counts from its newest renewal, which may shorten it, too.
pub async fn a_lease_counts_from_its_newest_renewal(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    let job = store.submit(of_kind("k")).await;
    let claimed = store.lease("k", LONG).await;
    store.renew(claimed.id, BRIEF).await.expect("holds");
    store.until_state(job.id, JobState::Queued).await;
    assert!(store.renew(claimed.id, LONG).await.is_err());
}

/// A job interrupted as often as allowed is `dead`, with an error that says so.
pub async fn a_job_interrupted_too_often_is_dead(bench: &mut dyn Bench) {
    let limits = StoreLimits { interruptions_max: 3, ..StoreLimits::default() };
    let store = Subject::open_with(bench, limits).await;
    let job = store.submit(of_kind("k")).await;
    for _ in 0..2 {
        store.interrupt(&job).await;
        assert_eq!(store.state(job.id).await, JobState::Queued);
    }
    store.interrupt(&job).await;
    let job = store.job(job.id).await;
    assert_eq!((job.state, job.interruptions, job.attempt), (JobState::Dead, 3, 0));
    assert_eq!(job.errors.last().map(|error| error.code.as_str()), Some("interrupted"));
    assert!(job.finished_at.is_some());
    assert!(store.claim(10).await.is_empty());
    store.reopen(job.id).await.expect("a dead job may be opened again");
    let job = store.job(job.id).await;
    assert_eq!((job.state, job.interruptions, job.errors.len()), (JobState::Queued, 0, 1));
}

/// One owner's lapsed lease leaves the others' claims alone.
pub async fn a_lapsed_lease_leaves_others_alone(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    store.submit_all(vec![of_kind("a"), of_kind("b"), of_kind("c")]).await;
    let lost = store.lease("a", BRIEF).await;
    let kept = store.lease("b", LONG).await;
    let own = store.claim(1).await.pop().expect("a job is ready");
    store.until_state(lost.id.job, JobState::Queued).await;
    store.end(kept.id, completed()).await;
    store.end(own.id, completed()).await;
    let again = store.claim_as(&worker("another"), vec![want("default")], 10, LONG).await;
    assert_eq!(ids(&again), [lost.id.job]);
}
