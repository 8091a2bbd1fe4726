//! Capacity: jobs and bytes, per queue and in all, exact under any concurrency.

use std::time::Duration;

use steadfast_domain::{JobState, NewJob, Start};
use steadfast_queue::store::{End, How, Refusal, Renewal, Speaker, StoreLimits};
use tokio::task::{JoinSet, yield_now};

use super::Bench;
use super::subject::{
    BRIEF, LONG, Subject, completed, dead, echo, echoes, hand_back, in_queue, json, of_bytes, of_kind, only,
    queue_name, retry, unique, want,
};

/// Of 60 submits at once into room for 7 jobs, exactly 7 are accepted, and 7 jobs exist.
pub async fn sixty_submits_at_once_into_room_for_seven_jobs_make_seven(bench: &mut dyn Bench) {
    let store = Subject::open_for_jobs(bench, 7).await;
    let refused = refusals_of_60_at_once(&store, echo()).await;
    assert_eq!(refused.len(), 53);
    for refusal in refused {
        assert!(matches!(refusal, Refusal::QueueFull { capacity: 7, depth: 0..=7, .. }), "{refusal:?}");
    }
    assert_eq!((store.stored().await, store.queue("default").await.live()), (7, 7));
}

/// The same with room for the bytes of 7 payloads and a half.
pub async fn sixty_submits_at_once_into_room_for_seven_payloads_make_seven(bench: &mut dyn Bench) {
    let store =
        Subject::open_with(bench, StoreLimits { capacity_bytes: 750, ..StoreLimits::default() }).await;
    let refused = refusals_of_60_at_once(&store, of_bytes(100)).await;
    assert_eq!(refused.len(), 53);
    for refusal in refused {
        assert!(matches!(refusal, Refusal::QueueBytesFull { capacity: 750, .. }), "{refusal:?}");
    }
    assert_eq!((store.stored().await, store.queue("default").await.bytes), (7, 700));
}

async fn refusals_of_60_at_once(store: &Subject, job: NewJob) -> Vec<Refusal> {
    let mut submits = JoinSet::new();
    for _ in 0..60 {
        let (store, job) = (store.clone(), job.clone());
        submits.spawn(async move { store.try_submit_one(job).await });
    }
    submits.join_all().await.into_iter().filter_map(Result::err).collect()
}

/// A queue's own limits hold for it alone, in jobs and in bytes.
pub async fn a_queue_has_its_own_limits(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    store.declare("small", Some(2), None).await;
    store.declare("light", None, Some(250)).await;
    store.submit_all(vec![in_queue("small"), in_queue("small")]).await;
    let full = Refusal::QueueFull { queue: queue_name("small"), depth: 2, capacity: 2 };
    assert_eq!(store.try_submit_one(in_queue("small")).await.err(), Some(full));

    let light = || NewJob { queue: queue_name("light"), ..of_bytes(100) };
    store.submit_all(vec![light(), light()]).await;
    let full = Refusal::QueueBytesFull { queue: queue_name("light"), bytes: 200, capacity: 250 };
    assert_eq!(store.try_submit_one(light()).await.err(), Some(full));

    store.submit(echo()).await;
    assert_eq!(store.queue("small").await.capacity_jobs, 2);
    assert_eq!(store.queue("light").await.capacity_bytes, 250);
}

/// The store's limits hold for all queues together.
pub async fn all_queues_together_keep_the_limits_of_the_store(bench: &mut dyn Bench) {
    let store = Subject::open_for_jobs(bench, 3).await;
    store.declare("other", Some(100), None).await;
    store.submit_all(vec![echo(), in_queue("other")]).await;
    let both = vec![echo(), in_queue("other")];
    let refusal = store.try_submit(both, None).await.err();
    assert!(matches!(refusal, Some(Refusal::QueueFull { capacity: 3, depth: 2, .. })), "{refusal:?}");
    store.submit(in_queue("other")).await;
    let refusal = store.try_submit_one(echo()).await.err();
    assert!(matches!(refusal, Some(Refusal::QueueFull { capacity: 3, depth: 3, .. })), "{refusal:?}");
}

/// Every state that is not terminal takes room.
pub async fn every_live_state_takes_room(bench: &mut dyn Bench) {
    let store = Subject::open_for_jobs(bench, 4).await;
    store.submit_all(vec![of_kind("retried"), of_kind("held"), echo()]).await;
    store.submit(NewJob { start: Start::After(LONG), ..echo() }).await;
    let claimed = store.claim(3).await;
    store.end(claimed[0].id, retry(LONG)).await;
    store.end(claimed[2].id, hand_back(LONG)).await;
    let queue = store.queue("default").await;
    let live = [JobState::Scheduled, JobState::Queued, JobState::Processing, JobState::Retryable];
    assert_eq!(live.map(|state| queue.depth_in(state)), [1, 1, 1, 1]);
    assert!(store.try_submit_one(echo()).await.is_err());
}

/// A job that ends, in whatever way, gives its room back.
pub async fn every_end_gives_its_room_back(bench: &mut dyn Bench) {
    let store = Subject::open_with(
        bench,
        StoreLimits { capacity_jobs: 1, capacity_bytes: 100, ..StoreLimits::default() },
    )
    .await;
    for end in [completed(), dead(), End::Cancelled] {
        store.submit(of_bytes(100)).await;
        let claimed = store.claim_one().await;
        assert!(store.try_submit_one(of_bytes(100)).await.is_err());
        store.end(claimed.id, end).await;
    }
    let cancelled = store.submit(of_bytes(100)).await;
    store.cancel(cancelled.id).await;
    let deadline = store.now().await;
    let expired = store.submit(NewJob { deadline: Some(deadline), ..of_bytes(100) }).await;
    store.until_state(expired.id, JobState::Expired).await;
    store.submit(of_bytes(100)).await;
}

/// What is accepted never needs new room: retries, hand-backs, heartbeats, checkpoints and recovered claims
/// go through a full store.
pub async fn accepted_work_needs_no_new_room(bench: &mut dyn Bench) {
    let limits = StoreLimits { capacity_jobs: 4, capacity_bytes: 8, ..StoreLimits::default() };
    let store = Subject::open_with(bench, limits).await;
    store.submit_all(["lost", "retried", "returned", "done"].map(of_kind).to_vec()).await;
    let lost = store.lease("lost", BRIEF).await;
    let [retried, returned, done] = <[_; 3]>::try_from(store.claim(4).await).expect("three");
    assert!(store.try_submit_one(echo()).await.is_err());

    store.end(retried.id, retry(Duration::ZERO)).await;
    let checkpoint = Some(json("\"far more bytes than there is room for\""));
    let renewal = Renewal {
        id: done.id,
        by: Speaker::Server,
        lease: LONG,
        progress: checkpoint.clone(),
        checkpoint: checkpoint.clone(),
    };
    store.report(renewal).await.expect("the claim holds");
    store.end(returned.id, End::HandBack { checkpoint: checkpoint.clone(), after: Duration::ZERO }).await;
    store.until_state(lost.id.job, JobState::Queued).await;
    assert!(store.try_submit_one(echo()).await.is_err());
    store.end(done.id, End::Completed { result: checkpoint }).await;
    let ready = store.until("all are ready again", async || {
        let claimed = store.claim(10).await;
        (!claimed.is_empty()).then_some(claimed)
    });
    assert_eq!(ready.await.len(), 3);
}

/// To reopen a job takes room like a submit.
pub async fn reopening_needs_room(bench: &mut dyn Bench) {
    let store = Subject::open_for_jobs(bench, 1).await;
    let ended = store.submit(echo()).await;
    store.end(store.claim_one().await.id, dead()).await;
    let blocker = store.submit(echo()).await;
    let full = Refusal::QueueFull { queue: queue_name("default"), depth: 1, capacity: 1 };
    assert_eq!(store.reopen(ended.id).await, Err(full));
    assert_eq!(store.state(ended.id).await, JobState::Dead);
    store.cancel(blocker.id).await;
    store.reopen(ended.id).await.expect("there is room");
    assert!(store.try_submit_one(echo()).await.is_err());
}

/// A submission that fits into no empty queue is told so, in jobs or in bytes, of the queue or of the store.
pub async fn what_never_fits_is_told_from_what_does_not_now(bench: &mut dyn Bench) {
    let limits = StoreLimits { capacity_jobs: 5, capacity_bytes: 500, ..StoreLimits::default() };
    let store = Subject::open_with(bench, limits).await;
    store.declare("small", Some(1), Some(100)).await;
    store.submit_all(echoes(5)).await;
    let small = |bytes| NewJob { queue: queue_name("small"), ..of_bytes(bytes) };
    let never = [
        (echoes(6), 5, "jobs"),
        (vec![of_bytes(501)], 500, "bytes"),
        (vec![small(2), small(2)], 1, "jobs"),
        (vec![small(101)], 100, "bytes"),
    ];
    for (jobs, whole, of) in never {
        let queue = jobs[0].queue.clone();
        let expected = Refusal::LargerThanCapacity { queue, capacity: whole, unit: of };
        assert_eq!(store.try_submit(jobs, None).await.err(), Some(expected));
    }
    assert_eq!(store.stored().await, 5);
}

/// A job answered with a live one of its unique key takes no room and needs none.
pub async fn a_deduplicated_job_takes_no_room(bench: &mut dyn Bench) {
    let store = Subject::open_for_jobs(bench, 2).await;
    let first = store.submit(unique("u")).await;
    for _ in 0..5 {
        let again = store.try_submit_one(unique("u")).await.expect("answered");
        assert_eq!((again.job.id, again.how), (first.id, How::Deduplicated));
    }
    store.submit(echo()).await;
    let again = only(store.try_submit(vec![unique("u")], None).await.expect("answered in a full store"));
    assert_eq!(again.job.id, first.id);
    assert_eq!(store.queue("default").await.live(), 2);
}

/// A queue whose limit is lowered keeps what it holds and takes no more until it is below.
pub async fn a_lowered_limit_keeps_what_is_there(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    store.declare("q", Some(3), None).await;
    let jobs = store.submit_all(vec![in_queue("q"), in_queue("q"), in_queue("q")]).await;
    store.declare("q", Some(1), None).await;
    assert_eq!(store.queue("q").await.live(), 3);
    for job in &jobs {
        assert!(store.try_submit_one(in_queue("q")).await.is_err());
        store.cancel(job.id).await;
    }
    store.submit(in_queue("q")).await;
}

/// A queue that was never declared takes nothing.
pub async fn an_undeclared_queue_takes_nothing(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    let refusal = store.try_submit(vec![echo(), in_queue("nowhere")], None).await.err();
    assert_eq!(refusal, Some(Refusal::QueueNotFound { queue: queue_name("nowhere") }));
    assert_eq!(store.stored().await, 0);
    assert!(!store.seam().pause(&queue_name("nowhere"), true).await.expect("answers"));
}

/// While submits, claims and settlements race, no moment sees more jobs than there is room for.
pub async fn a_race_of_submits_and_ends_never_exceeds_the_capacity(bench: &mut dyn Bench) {
    let store = Subject::open_for_jobs(bench, 5).await;
    let mut tasks = JoinSet::new();
    for _ in 0..4 {
        let store = store.clone();
        tasks.spawn(async move {
            for _ in 0..40 {
                // A refusal is as good: that it is right is what the other task looks at.
                let _ = store.try_submit_one(echo()).await;
                yield_now().await;
            }
        });
    }
    let worker = store.clone();
    tasks.spawn(async move {
        for _ in 0..100 {
            for claimed in worker.claim_from(vec![want("default")], 2).await {
                worker.end(claimed.id, completed()).await;
            }
            yield_now().await;
        }
    });
    let watcher = store.clone();
    tasks.spawn(async move {
        for _ in 0..100 {
            let live = watcher.queue("default").await.live();
            assert!(live <= 5, "{live} live jobs");
            yield_now().await;
        }
    });
    tasks.join_all().await;
}
