//! Opening an ended job again.

use steadfast_domain::{JobId, JobState, NewJob, Start};
use steadfast_queue::store::{End, Refusal};
use tokio::time::sleep;

use super::Bench;
use super::subject::{BRIEF, LONG, Subject, completed, dead, echo, of_kind, retry};

/// A `dead` or `cancelled` job is queued again: attempts and interruptions from zero, errors kept.
pub async fn a_reopened_job_begins_anew_and_keeps_its_errors(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    for (end, errors) in [(dead(), 1), (End::Cancelled, 0)] {
        let job = store.submit(of_kind("k")).await;
        store.interrupt(&job).await;
        let claimed = store.claim_one().await;
        store.end(claimed.id, end.clone()).await;
        let ended = store.job(job.id).await;
        assert_eq!((ended.attempt, ended.interruptions), (1, 1));

        let change = store.reopen(job.id).await.expect("opened again");
        assert_eq!((change.state, change.version), (JobState::Queued, ended.version.next()));
        let opened = store.job(job.id).await;
        assert_eq!((opened.attempt, opened.interruptions, opened.errors.len()), (0, 0, errors));
        assert_eq!((opened.state, opened.finished_at), (JobState::Queued, None));
        assert!(!opened.cancel_requested);
        // The old attempt is over: repeating its end changes nothing.
        assert_eq!(store.settle(claimed.id, end).await.map(|change| change.version), Ok(ended.version));
        let next = store.claim_one().await;
        assert_eq!((next.id.job, next.job.attempt), (job.id, 1));
        store.end(next.id, completed()).await;
    }
}

/// A job that is cancelled before it ever ran may be opened and run, too.
pub async fn a_job_cancelled_while_waiting_may_be_reopened(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    let job = store.submit(echo()).await;
    store.cancel(job.id).await;
    store.reopen(job.id).await.expect("opened again");
    assert_eq!(store.claim_one().await.id.job, job.id);
}

/// Only `dead` and `cancelled` jobs are opened; of any other the state is said.
pub async fn only_dead_and_cancelled_jobs_are_reopened(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    let job = store.submit(echo()).await;
    let refused = async |state| {
        let before = store.job(job.id).await;
        assert_eq!(store.reopen(job.id).await, Err(Refusal::State(state)));
        assert_eq!(store.job(job.id).await, before);
    };
    refused(JobState::Queued).await;
    let claimed = store.claim_one().await;
    refused(JobState::Processing).await;
    store.end(claimed.id, completed()).await;
    refused(JobState::Completed).await;

    let retried = store.submit(echo()).await;
    store.end(store.claim_one().await.id, retry(LONG)).await;
    assert_eq!(store.reopen(retried.id).await, Err(Refusal::State(JobState::Retryable)));
    assert_eq!(store.reopen(JobId::from_u128(7)).await, Err(Refusal::JobNotFound));
}

/// A job whose time has come reads as `queued`, also where it is refused, and before housekeeping knows.
pub async fn a_refused_reopening_tells_the_state_as_it_reads(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    let job = store.submit(NewJob { start: Start::After(BRIEF), ..echo() }).await;
    while store.now().await <= job.run_at {
        sleep(BRIEF).await;
    }
    assert_eq!(store.reopen(job.id).await, Err(Refusal::State(JobState::Queued)));
}

/// A job that would only expire is not opened.
pub async fn a_job_past_its_deadline_is_not_reopened(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    let job = super::expiry::before_a_deadline(&store, async |deadline, _| {
        let job = store.submit(NewJob { deadline: Some(deadline), ..echo() }).await;
        store.cancel(job.id).await;
        (store.state(job.id).await == JobState::Cancelled).then_some(job)
    })
    .await;
    store.until_past(job.deadline.expect("a deadline")).await;
    assert_eq!(store.reopen(job.id).await, Err(Refusal::DeadlinePassed));
    assert_eq!(store.state(job.id).await, JobState::Cancelled);
}

/// Of two that reopen a job at once, one does.
pub async fn reopening_twice_at_once_opens_once(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    let job = store.submit(echo()).await;
    store.cancel(job.id).await;
    let (first, second) = tokio::join!(store.reopen(job.id), store.reopen(job.id));
    let refused = Err(Refusal::State(JobState::Queued));
    assert!(first.is_ok() && second == refused || first == refused && second.is_ok());
    assert_eq!(store.queue("default").await.live(), 1);
}
