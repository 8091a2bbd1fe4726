//! What a store that outlives its process finds again, after a crash and after a close.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use steadfast_domain::{Job, JobId, JobState, NewJob, Start};
use steadfast_queue::store::{
    Cancel, ClaimLost, How, ListQuery, Refusal, Renewal, Speaker, StoreLimits, Submission,
};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Bench;
use super::counters::assert_figures;
use super::subject::{
    BRIEF, LONG, Subject, accepted, answered_ids, batch_key, completed, dead, echo, echoes, hand_back,
    in_queue, json, key, of_bytes, of_kind, only, retry, unique, want, worker,
};
use super::versions::assert_history;

/// A lease long enough for what is done under it, and short enough to wait for its end.
const SHORT: Duration = Duration::from_secs(3);

/// Every accepted job and every recorded end is found again after a crash, unchanged.
pub async fn what_was_answered_survives_a_crash(bench: &mut dyn Bench) {
    survives(bench, async |store| drop(store)).await;
}

/// And after a close.
pub async fn what_was_answered_survives_a_close(bench: &mut dyn Bench) {
    survives(bench, Subject::close).await;
}

async fn survives(bench: &mut dyn Bench, end: impl AsyncFnOnce(Subject)) {
    let store = Subject::open(bench).await;
    for end in [completed(), dead(), retry(LONG), hand_back(LONG)] {
        store.submit(NewJob { payload: json(r#"{"a":[1e999999,"\u0000"]}"#), ..echo() }).await;
        store.end(store.claim_one().await.id, end).await;
    }
    store.cancel(store.submit(unique("cancelled")).await.id).await;
    let late = store.submit(NewJob { deadline: Some(store.now().await), ..echo() }).await;
    store.until_state(late.id, JobState::Expired).await;
    store.submit(NewJob { start: Start::After(LONG), ..unique("scheduled") }).await;
    store.submit_all(echoes(20)).await;
    let before = whole(&store).await;
    end(store).await;

    let store = Subject::open(bench).await;
    assert_eq!(whole(&store).await, before);
    assert_figures(&store).await;
    assert_eq!(store.claim(100).await.len(), 20);
    let next = store.submit(echo()).await;
    assert!(before.iter().all(|job| job.id < next.id));
}

/// Every stored job, whole.
async fn whole(store: &Subject) -> Vec<Job> {
    let ids: Vec<JobId> = store.list(ListQuery::default()).await.iter().map(|job| job.id).collect();
    let jobs: Vec<_> = store.seam().get(&ids).await.expect("reads").into_iter().flatten().collect();
    assert_eq!(jobs.len(), ids.len());
    jobs.iter().for_each(assert_history);
    jobs
}

/// Claims of the process that is gone are interruptions, at the latest when their leases end: attempts refunded,
/// old tokens stale.
pub async fn claims_of_a_crashed_process_are_interruptions(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    store.submit_all(echoes(3)).await;
    let old = store.claim_as(&store.owner, vec![want("default")], 3, SHORT).await;
    let checkpoint = Some(json("[1]"));
    store
        .report(Renewal { id: old[0].id, by: Speaker::Server, lease: SHORT, progress: None, checkpoint })
        .await
        .expect("holds");
    assert_eq!(store.cancel(old[2].id.job).await, Cancel::Requested);
    drop(store);

    let store = Subject::open(bench).await;
    for claimed in &old {
        store
            .until("the lost claim is recovered", async || {
                (store.job(claimed.id.job).await.version > claimed.job.version).then_some(())
            })
            .await;
    }
    for claimed in &old {
        assert_eq!(store.settle(claimed.id, completed()).await, Err(ClaimLost));
        assert_eq!(store.renew(claimed.id, LONG).await, Err(ClaimLost));
    }
    assert_eq!(store.state(old[2].id.job).await, JobState::Cancelled);
    for claimed in &old[..2] {
        let job = store.job(claimed.id.job).await;
        assert_eq!((job.state, job.attempt, job.interruptions), (JobState::Queued, 0, 1));
        assert_eq!(job.version, claimed.job.version.next());
    }
    let new = store.claim(3).await;
    assert_eq!(new.len(), 2);
    assert!(new.iter().all(|new| old.iter().all(|old| new.id.fence > old.id.fence)));
    let checkpoints: Vec<bool> = new.iter().map(|claimed| claimed.job.checkpoint.is_some()).collect();
    assert_eq!(checkpoints.iter().filter(|found| **found).count(), 1);
}

/// A job that is running each time its process dies is `dead` in the end.
pub async fn a_job_that_kills_its_process_each_time_is_dead_in_the_end(bench: &mut dyn Bench) {
    let limits = StoreLimits { interruptions_max: 3, ..StoreLimits::default() };
    let id = Subject::open_with(bench, limits.clone()).await.submit(echo()).await.id;
    for interruptions in 0..3 {
        let store = Subject::open_with(bench, limits.clone()).await;
        let claim = async || store.claim_as(&store.owner, vec![want("default")], 2, BRIEF).await.pop();
        let claimed = store.until("the lost claim is recovered", claim).await;
        assert_eq!(claimed.job.interruptions, interruptions);
    }
    let store = Subject::open_with(bench, limits).await;
    store.until_state(id, JobState::Dead).await;
    let job = store.job(id).await;
    assert_eq!((job.state, job.interruptions, job.attempt), (JobState::Dead, 3, 0));
    assert_eq!(job.errors.last().map(|error| error.code.as_str()), Some("interrupted"));
}

/// A worker's lease holds through a crash: its holder renews and settles; one that ended meanwhile is lost.
pub async fn leases_of_workers_survive_a_crash(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    store.submit_all(["renewed", "settled", "lost"].map(of_kind).to_vec()).await;
    let (renewed, settled) = (store.lease("renewed", LONG).await, store.lease("settled", LONG).await);
    let lost = store.lease("lost", BRIEF).await;
    drop(store);

    let store = Subject::open(bench).await;
    store.until_state(lost.id.job, JobState::Queued).await;
    assert_eq!(store.settle(lost.id, completed()).await, Err(ClaimLost));
    let job = store.job(renewed.id.job).await;
    assert_eq!((job.state, job.attempt, job.interruptions), (JobState::Processing, 1, 0));
    store.renew(renewed.id, BRIEF).await.expect("holds");
    store.end(settled.id, completed()).await;
    store.until_state(renewed.id.job, JobState::Queued).await;
    assert_eq!(store.job(renewed.id.job).await.interruptions, 1);
}

/// A settlement repeated in the next process's life is answered as the first time.
pub async fn a_settlement_repeated_after_a_crash_is_answered_as_the_first(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    store.submit_all(["a", "b"].map(of_kind).to_vec()).await;
    let (a, b) = (store.lease("a", LONG).await, store.lease("b", LONG).await);
    let first = (store.end(a.id, completed()).await, store.end(b.id, retry(LONG)).await);
    drop(store);
    let store = Subject::open(bench).await;
    assert_eq!(store.settle(a.id, completed()).await, Ok(first.0));
    assert_eq!(store.settle(b.id, retry(LONG)).await, Ok(first.1));
    assert_eq!(store.settle(b.id, completed()).await, Err(ClaimLost));
}

/// Keys and unique keys still answer after a crash.
pub async fn keys_survive_a_crash(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    let one = accepted(store.submit_keyed(echo(), &key("one", 1)).await.expect("accepted")).id;
    let batch = store.try_submit(echoes(3), Some(batch_key("many", 1))).await.expect("accepted");
    let live = store.submit(unique("u")).await.id;
    drop(store);

    let store = Subject::open(bench).await;
    let again = store.submit_keyed(echo(), &key("one", 1)).await.expect("answered");
    assert_eq!((again.job.id, again.how), (one, How::Replayed));
    assert_eq!(store.submit_keyed(echo(), &key("one", 2)).await.err(), Some(Refusal::KeyMismatch));
    let again = store.try_submit(echoes(3), Some(batch_key("many", 1))).await.expect("answered");
    assert_eq!(answered_ids(&again), answered_ids(&batch));
    let again = store.try_submit_one(unique("u")).await.expect("answered");
    assert_eq!((again.job.id, again.how), (live, How::Deduplicated));
}

/// Room is what it was: a full store is full after a crash, and a job's end frees its room.
pub async fn room_survives_a_crash(bench: &mut dyn Bench) {
    let limits = StoreLimits { capacity_jobs: 3, capacity_bytes: 300, ..StoreLimits::default() };
    let store = Subject::open_with(bench, limits.clone()).await;
    let jobs = store.submit_all(vec![of_bytes(100), of_bytes(100), of_bytes(100)]).await;
    store.claim(1).await;
    drop(store);
    let store = Subject::open_with(bench, limits).await;
    assert!(matches!(store.try_submit_one(echo()).await, Err(Refusal::QueueFull { depth: 3, .. })));
    store.cancel(jobs[2].id).await;
    assert!(matches!(store.try_submit_one(of_bytes(101)).await, Err(Refusal::QueueBytesFull { .. })));
    store.submit(of_bytes(100)).await;
    assert_figures(&store).await;
}

/// A paused queue is paused in the next life, declared again or not.
pub async fn a_pause_survives_a_crash(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    store.declare("q", Some(7), None).await;
    store.submit(in_queue("q")).await;
    store.pause("q", true).await;
    drop(store);
    let store = Subject::open(bench).await;
    let queue = store.queue("q").await;
    assert_eq!((queue.paused, queue.capacity_jobs), (true, 7));
    store.declare("q", Some(7), None).await;
    assert!(store.claim_from(vec![want("q")], 1).await.is_empty());
    store.pause("q", false).await;
    drop(store);
    let store = Subject::open(bench).await;
    assert_eq!(store.claim_from(vec![want("q")], 1).await.len(), 1);
}

/// What comes due while no process runs is due in the next life, and what expires has expired.
pub async fn time_goes_on_while_no_process_runs(bench: &mut dyn Bench) {
    let soon = Duration::from_millis(20);
    let store = Subject::open(bench).await;
    let due = store.submit(NewJob { start: Start::After(soon), ..of_kind("due") }).await;
    let late = store.submit(NewJob { deadline: Some(store.now().await.plus(soon)), ..of_kind("late") }).await;
    drop(store);
    let store = Subject::open(bench).await;
    store.until_state(late.id, JobState::Expired).await;
    let claimed = store.until("it is due", async || store.claim(1).await.pop()).await;
    assert_eq!(claimed.id.job, due.id);
}

/// A crash in the middle of a flood loses nothing that was answered and leaves nothing half done.
pub async fn a_crash_in_a_flood_loses_nothing(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    let mut flood = JoinSet::new();
    let answered = Arc::new(Mutex::new(Vec::new()));
    for n in 0..8 {
        let (store, answered) = (store.clone(), Arc::clone(&answered));
        flood.spawn(async move {
            let owner = worker(&format!("w{n}"));
            loop {
                let jobs = store.submit_all(echoes(3)).await;
                answered.lock().extend(jobs.iter().map(|job| (job.id, JobState::Queued)));
                let wants = vec![want("default")];
                if let Some(claimed) = store.claim_as(&owner, wants, 1, LONG).await.pop() {
                    store.end(claimed.id, completed()).await;
                    answered.lock().push((claimed.id.job, JobState::Completed));
                }
            }
        });
    }
    store.until("some work is done", async || (answered.lock().len() > 300).then_some(())).await;
    flood.shutdown().await;
    drop(store);

    let store = Subject::open(bench).await;
    let answered = std::mem::take(&mut *answered.lock());
    for (id, state) in answered {
        let found = store.state(id).await;
        assert!(state != JobState::Completed || found == JobState::Completed, "{id}: {found:?}");
    }
    assert_eq!(store.stored().await % 3, 0, "each batch whole");
    assert_figures(&store).await;
}

/// What is answered while the store closes is found again; what is refused left nothing.
pub async fn what_is_answered_during_a_close_survives_it(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    let mut submits = JoinSet::new();
    for _ in 0..50 {
        let store = store.clone();
        submits.spawn(async move {
            let submission = Submission { jobs: echoes(2), key: None, give_up_at: Instant::now() + LONG };
            store.seam().submit(submission).await
        });
    }
    let first = store.until("one is answered", async || submits.try_join_next()).await;
    let mut answered = first.expect("no panic").expect("accepted");
    store.close().await;
    answered.extend(submits.join_all().await.into_iter().flatten().flatten());

    let store = Subject::open(bench).await;
    for id in answered_ids(&answered) {
        assert_eq!(store.state(id).await, JobState::Queued);
    }
    assert_eq!(store.stored().await, answered.len());
}

/// Several lives in a row, each with its own work, keep growing ids and fencing tokens.
pub async fn tokens_and_ids_grow_from_life_to_life(bench: &mut dyn Bench) {
    let mut newest = None;
    for _ in 0..3 {
        let store = Subject::open(bench).await;
        let job = store.submit(echo()).await;
        let claimed = only(store.claim(1).await);
        assert!(Some((job.id, claimed.id.fence)) > newest && claimed.id.job == job.id);
        assert!(newest.is_none_or(|(_, fence)| claimed.id.fence > fence));
        newest = Some((job.id, claimed.id.fence));
        store.end(claimed.id, completed()).await;
        store.close().await;
    }
}
