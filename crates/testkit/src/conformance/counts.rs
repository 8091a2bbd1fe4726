//! What the store counts of a process's work is what that work did.

use std::time::Duration;

use steadfast_domain::{JobState, NewJob, Start, UniqueKey};
use steadfast_queue::store::{End, How, JobCounts, KindCounts, Refusal, Retention, StoreLimits};
use tokio::task::JoinSet;

use super::Bench;
use super::subject::{
    BRIEF, Subject, batch_key, completed, dead, echo, echoes, hand_back, in_queue, key, kind_name, of_kind,
    retry,
};

/// What is accepted counts, with its kind and queue; what is refused, repeated or deduplicated does not.
pub async fn each_accepted_job_is_counted_once(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    store.declare("own", Some(1), None).await;
    store.submit_all(vec![of_kind("a"), of_kind("b"), of_kind("b")]).await;
    store.submit(in_queue("own")).await;
    let refused = store.try_submit(vec![echo(), in_queue("own")], None).await;
    assert!(matches!(refused, Err(Refusal::QueueFull { .. })));
    assert_eq!((submitted(&store, "a").await, submitted(&store, "b").await), (1, 2));
    assert_eq!(submitted(&store, "echo").await, 0);
    assert_eq!(counts(&store, "own").await.all().submitted, 1);

    for _ in 0..2 {
        store.submit_keyed(of_kind("keyed"), &key("k", 1)).await.expect("accepted, then replayed");
        store.try_submit(vec![of_kind("keyed"); 2], Some(batch_key("k", 1))).await.expect("accepted");
    }
    assert_eq!(submitted(&store, "keyed").await, 3);
    let unique = UniqueKey::new("one").expect("a key");
    for _ in 0..2 {
        let job = NewJob { unique_key: Some(unique.clone()), ..of_kind("unique") };
        store.try_submit(vec![job.clone(), job], None).await.expect("accepted, then deduplicated");
    }
    assert_eq!(submitted(&store, "unique").await, 1);
}

/// However a job ends, and however often that is told, it counts once, under its kind and its state.
pub async fn each_end_is_counted_once_by_its_kind_and_state(bench: &mut dyn Bench) {
    let store =
        Subject::open_with(bench, StoreLimits { interruptions_max: 1, ..StoreLimits::default() }).await;
    let ends = [("done", completed(), JobState::Completed), ("dead", dead(), JobState::Dead)];
    for (kind, end, state) in ends {
        store.submit(of_kind(kind)).await;
        let claim = store.claim_one().await.id;
        for _ in 0..2 {
            store.end(claim, end.clone()).await;
        }
        assert_eq!(ended(&store, kind).await, [(state, 1)]);
    }

    let waits = store.submit(of_kind("cancelled")).await.id;
    for _ in 0..2 {
        store.cancel(waits).await;
    }
    store.submit(of_kind("cancelled")).await;
    let runs = store.claim_one().await.id;
    for _ in 0..2 {
        store.cancel(runs.job).await;
    }
    assert_eq!(ended(&store, "cancelled").await, [(JobState::Cancelled, 1)]);
    store.end(runs, hand_back(Duration::ZERO)).await;
    assert_eq!(ended(&store, "cancelled").await, [(JobState::Cancelled, 2)]);

    let lost = store.submit(of_kind("lost")).await;
    store.interrupt(&lost).await;
    assert_eq!(ended(&store, "lost").await, [(JobState::Dead, 1)]);

    let deadline = Some(store.now().await);
    let late = store.submit(NewJob { deadline, ..of_kind("late") }).await;
    store.claim(10).await;
    store.until_state(late.id, JobState::Expired).await;
    assert_eq!(ended(&store, "late").await, [(JobState::Expired, 1)]);
}

/// Retries by policy, hand-backs, lost claims and what retention lets go are no ends.
pub async fn an_attempt_without_an_end_counts_nothing(bench: &mut dyn Bench) {
    let retention = Retention { jobs_max: 0, ..Retention::default() };
    let store = Subject::open_with(bench, StoreLimits { retention, ..StoreLimits::default() }).await;
    let job = store.submit(echo()).await;
    store.end(store.claim_one().await.id, retry(BRIEF)).await;
    store.until_state(job.id, JobState::Queued).await;
    store.end(store.claim_one().await.id, hand_back(Duration::ZERO)).await;
    store.interrupt(&job).await;
    assert_eq!(ended(&store, "echo").await, []);
    store.end(store.claim_one().await.id, completed()).await;
    store.until("retention lets it go", async || store.find(job.id).await.is_none().then_some(())).await;
    let one = KindCounts { submitted: 1, reopened: 0, ended: of_state(JobState::Completed, 1) };
    assert_eq!(counts(&store, "default").await.all(), one);
}

/// A reopening counts, and so does the next end; one that is refused does not.
pub async fn each_reopening_is_counted(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    let job = store.submit(echo()).await;
    store.cancel(job.id).await;
    store.reopen(job.id).await.expect("opened again");
    store.reopen(job.id).await.expect_err("it is open");
    store.end(store.claim_one().await.id, dead()).await;
    store.reopen(job.id).await.expect("opened again");
    let all = counts(&store, "default").await.all();
    assert_eq!((all.submitted, all.reopened), (1, 2));
    assert_eq!((all.ended_as(JobState::Cancelled), all.ended_as(JobState::Dead)), (1, 1));
}

/// In a crowd of calls at once, and after it, what was counted makes what lives, and what was answered.
pub async fn what_lives_is_what_was_counted(bench: &mut dyn Bench) {
    const CALLERS: usize = 8;
    let store = Subject::open(bench).await;
    let mut callers = JoinSet::new();
    for n in 0..CALLERS {
        callers.spawn(make_and_end(store.clone(), n));
    }
    let reopened = callers.join_all().await.into_iter().filter(|reopened| *reopened).count();
    assert_adds_up(&store).await;
    let all = counts(&store, "default").await.all();
    assert_eq!((all.submitted, all.reopened), (6 * CALLERS as u64, reopened as u64));
    let replayed = store.submit_keyed(echo(), &key("k", 1)).await.expect("accepted");
    assert_eq!(replayed.how, How::Accepted);
    assert_eq!(
        counts(&store, "default").await.all().submitted,
        all.submitted + 1,
        "counted when it is answered"
    );
}

/// Makes some jobs and ends some of those there are. Whether it could open one again.
async fn make_and_end(store: Subject, n: usize) -> bool {
    let made = store.submit_all(echoes(5)).await;
    assert_adds_up(&store).await;
    store.submit(NewJob { start: Start::After(BRIEF), ..echo() }).await;
    store.cancel(made[n % 5].id).await;
    assert_adds_up(&store).await;
    for claimed in store.claim(3).await {
        let end = if n.is_multiple_of(2) { completed() } else { End::Cancelled };
        store.end(claimed.id, end).await;
        assert_adds_up(&store).await;
    }
    // Another caller may have taken it before it was cancelled.
    store.reopen(made[n % 5].id).await.is_ok()
}

/// Each answer is of one moment, whatever others do meanwhile.
async fn assert_adds_up(store: &Subject) {
    let queue = store.queue("default").await;
    assert_eq!(queue.counts.net(), queue.live().cast_signed(), "{queue:?}");
}

async fn counts(store: &Subject, queue: &str) -> JobCounts {
    store.queue(queue).await.counts
}

/// What was counted of a kind in the queue `default`.
async fn of(store: &Subject, kind: &str) -> KindCounts {
    let (counts, kind) = (counts(store, "default").await, kind_name(kind));
    counts
        .by_kind()
        .find(|(counted, _)| *counted == Some(&kind))
        .map(|(_, counts)| *counts)
        .unwrap_or_default()
}

async fn submitted(store: &Subject, kind: &str) -> u64 {
    of(store, kind).await.submitted
}

/// In which states jobs of this kind were counted as ended, and how many.
async fn ended(store: &Subject, kind: &str) -> Vec<(JobState, u64)> {
    let counts = of(store, kind).await;
    let ended = JobState::ALL.into_iter().map(|state| (state, counts.ended_as(state)));
    ended.filter(|(_, jobs)| *jobs > 0).collect()
}

fn of_state(state: JobState, jobs: u64) -> [u64; 8] {
    let mut ended = [0; 8];
    ended[state as usize] = jobs;
    ended
}
