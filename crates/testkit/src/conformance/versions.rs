//! Versions and history: each durable change counts one, and nothing else does.

use std::time::Duration;

use steadfast_domain::{Job, JobId, JobState, Version};
use steadfast_queue::store::{Renewal, Speaker};

use super::Bench;
use super::subject::{LONG, Subject, completed, dead, echo, hand_back, json, of_kind, retry};

/// Each durable change counts the version by one and is remembered as it was answered.
pub async fn each_durable_change_counts_one(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    let job = store.submit(of_kind("k")).await;
    let mut answered = job.history.clone();
    for end in [retry(Duration::ZERO), hand_back(Duration::ZERO), dead()] {
        let claimed = store.until("it is ready", async || store.claim(1).await.pop()).await;
        answered.push(store.end(claimed.id, end).await);
    }
    answered.push(store.reopen(job.id).await.expect("opened again"));
    let claimed = store.claim_one().await;
    answered.push(store.end(claimed.id, completed()).await);

    let job = store.job(job.id).await;
    assert_eq!(job.history, answered);
    let states: Vec<JobState> = answered.iter().map(|change| change.state).collect();
    use JobState::{Completed, Dead, Queued, Retryable};
    assert_eq!(states, [Queued, Retryable, Queued, Dead, Queued, Completed]);
    assert_history(&job);
}

/// Claims, heartbeats, progress, checkpoints and cancel requests change no version.
pub async fn what_is_not_durable_has_no_version(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    let submitted = store.submit(echo()).await;
    let claimed = store.claim_one().await;
    let (progress, checkpoint) = (Some(json("1")), Some(json("2")));
    store
        .report(Renewal { id: claimed.id, by: Speaker::Server, lease: LONG, progress, checkpoint })
        .await
        .expect("holds");
    store.cancel(submitted.id).await;
    let job = store.job(submitted.id).await;
    assert_eq!((job.version, job.history), (Version::FIRST, submitted.history));
}

/// What housekeeping does counts, too: an interruption and an expiry are changes like others.
pub async fn what_housekeeping_does_counts(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    let job = store.submit(of_kind("k")).await;
    store.interrupt(&job).await;
    store.cancel(job.id).await;
    let job = store.job(job.id).await;
    assert_eq!(job.version, Version(3));
    assert_history(&job);
}

/// A read job's history ends with its version, has no gap, and agrees with its state and its times.
pub fn assert_history(job: &Job) {
    let versions: Vec<u64> = job.history.iter().map(|change| change.version.0).collect();
    let newest = job.version.0;
    let oldest = newest + 1 - versions.len() as u64;
    assert_eq!(versions, (oldest..=newest).collect::<Vec<_>>());
    assert!(job.history.is_sorted_by_key(|change| change.at), "{:?}", job.history);
    assert!(job.history.iter().all(|change| change.id == job.id));
    let last = job.history.last().expect("a history").state;
    let reads_as = match job.state {
        JobState::Processing => &[JobState::Scheduled, JobState::Queued, JobState::Retryable][..],
        JobState::Queued => &[JobState::Scheduled, JobState::Queued, JobState::Retryable][..],
        _ => std::slice::from_ref(&job.state),
    };
    assert!(reads_as.contains(&last), "{last:?} reads as {:?}", job.state);
}

/// Reads follow writes: an answered change is in the next read, and reads answer in the order of the question.
pub async fn a_read_shows_every_answered_change(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    let mut jobs = Vec::new();
    for _ in 0..20 {
        let job = store.submit(echo()).await;
        assert_eq!(store.find(job.id).await.as_ref(), Some(&job));
        jobs.push(job);
    }
    let unknown = JobId::from_u128(7);
    let asked = [jobs[3].id, unknown, jobs[1].id, jobs[3].id];
    let read = store.seam().get(&asked).await.expect("reads");
    let found: Vec<_> = read.into_iter().map(|job| job.map(|job| job.id)).collect();
    assert_eq!(found, [Some(jobs[3].id), None, Some(jobs[1].id), Some(jobs[3].id)]);
    assert!(store.seam().get(&[]).await.expect("reads").is_empty());
    store.seam().check().await.expect("answers");
}
