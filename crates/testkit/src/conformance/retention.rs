//! What is kept of ended jobs.

use std::time::Duration;

use steadfast_domain::{JobId, NewJob, Start};
use steadfast_queue::store::{Cancel, End, ListQuery, Refusal, Retention, StoreLimits};

use super::Bench;
use super::subject::{LONG, Subject, completed, dead, echo, echoes, json, of_bytes, retry};

/// The oldest ended jobs go first when there are too many, `dead` ones last, and live ones never.
pub async fn too_many_ended_jobs_go_oldest_first_and_dead_last(bench: &mut dyn Bench) {
    let store = keeping(bench, Retention { jobs_max: 3, ..Retention::default() }).await;
    let deaths = [ended(&store, dead()).await, ended(&store, dead()).await];
    let live = store.submit(NewJob { start: Start::After(LONG), ..echo() }).await.id;
    let mut completions = Vec::new();
    for _ in 0..4 {
        completions.push(ended(&store, completed()).await);
    }
    store.upkeep().await;
    assert_eq!(kept(&store).await, [deaths[0], deaths[1], live, completions[3]]);
    let more = [ended(&store, dead()).await, ended(&store, dead()).await];
    store.upkeep().await;
    assert_eq!(kept(&store).await, [deaths[1], live, more[0], more[1]]);
}

/// Ended jobs that take too many bytes go the same way.
pub async fn too_many_bytes_of_ended_jobs_go_oldest_first(bench: &mut dyn Bench) {
    let store = keeping(bench, Retention { bytes_max: 1_000, ..Retention::default() }).await;
    let mut jobs = Vec::new();
    for _ in 0..4 {
        let job = store.submit(of_bytes(200)).await;
        let result = Some(json(&format!("\"{}\"", "x".repeat(198))));
        store.end(store.claim_one().await.id, End::Completed { result }).await;
        jobs.push(job.id);
    }
    store.upkeep().await;
    assert_eq!(kept(&store).await, jobs[2..]);
}

/// Each class is kept for its own time: what ended goes, and what is `dead` stays for longer.
pub async fn dead_jobs_are_kept_for_a_time_of_their_own(bench: &mut dyn Bench) {
    let store = keeping(bench, Retention { keep: Duration::ZERO, ..Retention::default() }).await;
    let death = ended(&store, dead()).await;
    let completion = ended(&store, completed()).await;
    let retried = store.submit(echo()).await.id;
    store.end(store.claim_one().await.id, retry(LONG)).await;
    let cancelled = store.submit(echo()).await.id;
    store.cancel(cancelled).await;
    let expired = store.submit(NewJob { deadline: Some(store.now().await), ..echo() }).await.id;
    for gone in [completion, cancelled, expired] {
        store.until("it is pruned", async || store.find(gone).await.is_none().then_some(())).await;
    }
    assert_eq!(kept(&store).await, [death, retried]);
}

/// A dead job goes when its own time is up.
pub async fn a_dead_job_goes_when_its_time_is_up(bench: &mut dyn Bench) {
    let store = keeping(bench, Retention { keep_dead: Duration::ZERO, ..Retention::default() }).await;
    let death = ended(&store, dead()).await;
    let completion = ended(&store, completed()).await;
    store.until("it is pruned", async || store.find(death).await.is_none().then_some(())).await;
    assert_eq!(kept(&store).await, [completion]);
}

/// Housekeeping goes in bounded steps and says while there is more to do.
pub async fn housekeeping_goes_in_bounded_steps(bench: &mut dyn Bench) {
    let store = keeping(bench, Retention { jobs_max: 0, ..Retention::default() }).await;
    store.submit_all(echoes(100)).await;
    for claimed in store.claim(100).await {
        store.end(claimed.id, completed()).await;
    }
    let (mut steps, mut more) = (0, true);
    while more {
        let before = store.stored().await;
        let step = store.seam().upkeep(10).await.expect("keeps house");
        let pruned = before - store.stored().await;
        assert!(pruned <= 20, "{pruned} of about 10");
        (steps, more) = (steps + 1, step.more);
    }
    assert!(steps >= 5 && store.stored().await == 0);
}

/// What is pruned leaves the counters, and its job is gone for every way in.
pub async fn a_pruned_job_is_gone(bench: &mut dyn Bench) {
    let store = keeping(bench, Retention { jobs_max: 0, ..Retention::default() }).await;
    let gone = ended(&store, dead()).await;
    store.upkeep().await;
    assert!(store.find(gone).await.is_none());
    assert_eq!(store.queue("default").await.depth, [0; 8]);
    assert_eq!(store.cancel(gone).await, Cancel::NotFound);
    assert_eq!(store.reopen(gone).await, Err(Refusal::JobNotFound));
}

async fn keeping(bench: &mut dyn Bench, retention: Retention) -> Subject {
    Subject::open_with(bench, StoreLimits { retention, ..StoreLimits::default() }).await
}

/// A job that has ended so.
async fn ended(store: &Subject, end: End) -> JobId {
    store.submit(echo()).await;
    let claimed = store.claim_one().await;
    store.end(claimed.id, end).await;
    claimed.id.job
}

/// Every stored job, oldest first.
async fn kept(store: &Subject) -> Vec<JobId> {
    let mut kept: Vec<JobId> = store.list(ListQuery::default()).await.iter().map(|job| job.id).collect();
    kept.reverse();
    kept
}
