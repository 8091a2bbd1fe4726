//! Deadlines and longest waits: what is too late is never begun.

use std::time::Duration;

use steadfast_domain::{Job, JobState, NewJob, Start, Timestamp};
use steadfast_queue::store::Claimed;

use super::Bench;
use super::subject::{LONG, Subject, completed, echo, hand_back, ids, in_queue, retry, want};

/// A job whose deadline has passed is never taken, found or not, and becomes `expired`.
pub async fn a_job_past_its_deadline_is_never_taken(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    let deadline = Some(store.now().await);
    let late = store.submit(NewJob { deadline, ..echo() }).await;
    let on_time = store.submit(NewJob { deadline: deadline.map(|at| at.plus(LONG)), ..echo() }).await;
    let claimed = store.claim(10).await;
    assert_eq!(ids(&claimed), [on_time.id]);
    store.until_state(late.id, JobState::Expired).await;
    let job = store.job(late.id).await;
    assert_eq!((job.version, job.attempt, job.started_at), (late.version.next(), 0, None));
    assert!(job.finished_at.is_some());
    assert!(store.claim(10).await.is_empty());
}

/// Everything that waits expires: scheduled, queued, waiting for a retry, handed back.
pub async fn whatever_waits_expires_at_its_deadline(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    let (retried, returned) = before_a_deadline(&store, async |deadline, _| {
        let job = NewJob { deadline: Some(deadline), ..echo() };
        store.submit_all(vec![job.clone(), job]).await;
        let [first, second] = <[Claimed; 2]>::try_from(store.claim(2).await).ok()?;
        store.end(first.id, retry(LONG)).await;
        store.end(second.id, hand_back(LONG)).await;
        Some((first.id.job, second.id.job))
    })
    .await;
    let deadline = Some(store.now().await.plus(Duration::from_millis(20)));
    let scheduled = store.submit(NewJob { deadline, start: Start::After(LONG), ..echo() }).await;
    let queued = store.submit(NewJob { deadline, ..echo() }).await;
    for id in [retried, returned, scheduled.id, queued.id] {
        store.until_state(id, JobState::Expired).await;
    }
}

/// A longest wait ends a job that was not started, from its due time on, in a paused queue as well.
pub async fn a_job_that_waited_too_long_expires_in_a_paused_queue_too(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    store.declare("paused", None, None).await;
    store.pause("paused", true).await;
    let brief = Some(Duration::from_millis(1));
    let waiting = store.submit(NewJob { max_wait: brief, ..in_queue("paused") }).await;
    let start = Start::After(LONG);
    let scheduled = store.submit(NewJob { max_wait: brief, start, ..in_queue("paused") }).await;
    let patient = store.submit(NewJob { max_wait: Some(LONG), ..in_queue("paused") }).await;
    store.until_state(waiting.id, JobState::Expired).await;
    assert_eq!(store.state(scheduled.id).await, JobState::Scheduled);
    store.pause("paused", false).await;
    let claimed = store.claim_from(vec![want("paused")], 10).await;
    assert_eq!(ids(&claimed), [patient.id]);
}

/// A longest wait is for the first start only: a job that was started waits on.
pub async fn a_started_job_never_waits_too_long(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    let job = before_a_deadline(&store, async |_, time| {
        let job = store.submit(NewJob { max_wait: Some(time), ..echo() }).await;
        let claimed = store.claim(1).await.pop()?;
        store.end(claimed.id, hand_back(Duration::ZERO)).await;
        Some(job)
    })
    .await;
    store.until_past(last_moment(&job)).await;
    assert_eq!(store.state(job.id).await, JobState::Queued);
    assert_eq!(store.claim_one().await.id.job, job.id);
}

/// A running attempt is no more bound by its job's deadline: it may end well after it.
pub async fn a_running_attempt_outlives_its_deadline(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    let claimed = before_a_deadline(&store, async |deadline, _| {
        store.submit(NewJob { deadline: Some(deadline), ..echo() }).await;
        store.claim(1).await.pop()
    })
    .await;
    store.until_past(last_moment(&claimed.job)).await;
    assert_eq!(store.state(claimed.id.job).await, JobState::Processing);
    assert_eq!(store.end(claimed.id, completed()).await.state, JobState::Completed);
}

fn last_moment(job: &Job) -> Timestamp {
    let waited_out = job.max_wait.map(|wait| job.run_at.plus(wait));
    job.deadline.or(waited_out).expect("a last moment")
}

/// Does what must be done before a deadline, which `within` is given with the time until then. On a slow
/// machine the time may be too short, which `within` answers with `None`: then it has four times as much.
pub async fn before_a_deadline<T>(
    store: &Subject,
    mut within: impl AsyncFnMut(Timestamp, Duration) -> Option<T>,
) -> T {
    let mut time = Duration::from_millis(50);
    while time < crate::PATIENCE {
        let deadline = store.now().await.plus(time);
        if let Some(done) = within(deadline, time).await {
            return done;
        }
        time *= 4;
    }
    panic!("nothing is ever done before its deadline");
}
