//! Whoever watches a job sees every durable change once and in order.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use steadfast_domain::{BootId, Job, JobId, JobState, QueueName, Version};
use steadfast_lifecycle::Phase;
use steadfast_queue::hub::Followed;
use steadfast_queue::store::{ClaimRequest, End, Failed, JobStore, Owner, Settlement, Speaker, Want};
use tokio::time::Instant;

use crate::faulty_store::FaultyStore;
use crate::given::{Inside, done, given, is_pending, json, runs, work};

async fn inside() -> Inside {
    given(runs(|_| async { done() })).without_pool().await
}

/// Runs the job once and ends the attempt like this.
async fn attempt(inside: &Inside, end: End) {
    let want = Want { queue: QueueName::default_queue(), kinds: None, share: 1 };
    let owner = Owner::Process(BootId::from_random(9));
    let request = ClaimRequest { owner, wants: vec![want], max: 1, lease: Duration::from_secs(30) };
    let claimed = inside.store.claim(request).await.unwrap().remove(0);
    inside.hub.report_processing(&claimed.job);
    inside.store.settle(vec![Settlement { id: claimed.id, by: Speaker::Server, end }]).await.unwrap()[0]
        .unwrap();
}

fn retry() -> End {
    End::Retry { error: Failed { code: "io".into(), message: String::new() }, after: Duration::ZERO }
}

fn hand_back() -> End {
    End::HandBack { checkpoint: None, after: Duration::ZERO }
}

/// Takes a job through a random life of at most 30 changes that ends `completed`.
async fn random_life(inside: &Inside, id: JobId, random: &mut StdRng) {
    for _ in 0..random.random_range(0..10) {
        match random.random_range(0..4) {
            0 => {
                inside.store.cancel(id).await.unwrap();
                inside.store.reopen(id).await.unwrap();
            }
            1 => attempt(inside, retry()).await,
            2 => inside.hub.report_progress(&inside.store.job(id).await, &json("1")),
            _ => attempt(inside, hand_back()).await,
        }
        for _ in 0..random.random_range(0..4) {
            tokio::task::yield_now().await;
        }
    }
    attempt(inside, End::Completed { result: None }).await;
}

/// Follows the job to its end, from `after` on, at a random pace, and checks what it is told.
async fn follow_to_the_end(inside: &Inside, id: JobId, after: Version, random: &mut StdRng) {
    let mut follower = inside.hub.follow(id, Some(after));
    let mut seen = Vec::new();
    loop {
        match follower.next().await.unwrap() {
            Some(Followed::State(change)) => seen.push(change),
            Some(Followed::End(job)) => {
                let expected: Vec<_> = job.history.iter().filter(|c| c.version > after).copied().collect();
                assert_eq!(seen, expected);
                // A job reopened before its end was told of goes on; this is the end of all.
                assert!(job.state.is_terminal());
                assert!(matches!(follower.next().await, Ok(None)));
                return;
            }
            Some(Followed::Processing { .. } | Followed::Progress(_)) => {}
            None => panic!("the job exists until its end is told"),
        }
        for _ in 0..random.random_range(0..3) {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_change_is_seen_once_and_in_order_whatever_hints_are_lost() {
    for seed in 0..300 {
        let inside = inside().await;
        if seed % 2 == 0 {
            inside.store.lose_hints(seed);
        }
        let id = inside.submit(work()).await;
        let mut random = StdRng::seed_from_u64(seed);
        let mut pace = StdRng::seed_from_u64(seed + 1_000);
        let after = Version(random.random_range(0..3));
        tokio::join!(
            biased;
            follow_to_completion(&inside, id, after, &mut pace),
            random_life(&inside, id, &mut random),
        );
        inside.sender.advance(Phase::Stopped);
        inside.tasks.idle().await;
    }
}

/// As [`follow_to_the_end`]; a job that is `cancelled` and reopened may be followed through several ends.
async fn follow_to_completion(inside: &Inside, id: JobId, after: Version, random: &mut StdRng) {
    let mut after = after;
    loop {
        follow_to_the_end(inside, id, after, random).await;
        let job = inside.store.job(id).await;
        if job.state == JobState::Completed {
            return;
        }
        after = job.version;
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_is_seen_without_delay() {
    let inside = inside().await;
    let id = inside.submit(work()).await;
    let mut follower = inside.hub.follow(id, None);
    let began = Instant::now();
    assert!(matches!(follower.next().await.unwrap(), Some(Followed::State(c)) if c.version == Version(1)));
    let job = Job { attempt: 1, ..inside.store.job(id).await };
    {
        let mut next = Box::pin(follower.next());
        assert!(is_pending(next.as_mut()).await);
        inside.hub.report_processing(&job);
        assert_eq!(next.await.unwrap(), Some(Followed::Processing { attempt: 1 }));
    }
    inside.hub.report_progress(&job, &json("50"));
    assert_eq!(follower.next().await.unwrap(), Some(Followed::Progress(json("50"))));
    attempt(&inside, End::Completed { result: Some(json("8")) }).await;
    assert!(
        matches!(follower.next().await.unwrap(), Some(Followed::State(c)) if c.state == JobState::Completed)
    );
    let Some(Followed::End(job)) = follower.next().await.unwrap() else { panic!("the end") };
    assert_eq!(job.result, Some(json("8")));
    assert_eq!(follower.next().await.unwrap(), None);
    assert!(began.elapsed() < Duration::from_millis(50));
}

#[tokio::test(start_paused = true)]
async fn a_resumed_follower_sees_what_it_missed_and_an_unknown_job_ends_at_once() {
    let inside = inside().await;
    let id = inside.submit(work()).await;
    attempt(&inside, hand_back()).await;
    attempt(&inside, retry()).await;
    attempt(&inside, End::Completed { result: None }).await;
    let newest = inside.store.job(id).await.version;
    let mut follower = inside.hub.follow(id, Some(newest));
    assert!(matches!(follower.next().await.unwrap(), Some(Followed::End(_))));
    let mut follower = inside.hub.follow(id, Some(Version(newest.0 - 1)));
    assert!(matches!(follower.next().await.unwrap(), Some(Followed::State(c)) if c.version == newest));
    let mut unknown = inside.hub.follow(JobId::from_u128(1), None);
    assert_eq!(unknown.next().await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_gets_the_job_when_it_ends_or_as_it_is_when_time_is_up() {
    let inside = inside().await;
    let id = inside.submit(work()).await;
    let began = Instant::now();
    let soon = began + Duration::from_secs(10);
    {
        let mut waiting = Box::pin(inside.hub.wait_terminal(id, soon, &inside.phases));
        assert!(is_pending(waiting.as_mut()).await);
        attempt(&inside, hand_back()).await;
        assert!(is_pending(waiting.as_mut()).await);
        attempt(&inside, End::Completed { result: None }).await;
        assert_eq!(waiting.await.unwrap().unwrap().state, JobState::Completed);
    }
    assert!(began.elapsed() < Duration::from_millis(50));
    let other = inside.submit(work()).await;
    let waited = inside.hub.wait_terminal(other, soon, &inside.phases).await.unwrap().unwrap();
    assert_eq!((waited.state, Instant::now()), (JobState::Queued, soon));
    let none = inside.hub.wait_terminal(JobId::from_u128(1), soon, &inside.phases).await.unwrap();
    assert!(none.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_waiter_survives_lost_hints_and_leaves_with_the_drain() {
    let inside = inside().await;
    let lost: Arc<FaultyStore> = Arc::clone(&inside.store);
    let id = inside.submit(work()).await;
    for seed in 0..8 {
        lost.lose_hints(seed);
        let until = Instant::now() + Duration::from_secs(60);
        let began = Instant::now();
        let (waited, _) = tokio::join!(biased; inside.hub.wait_terminal(id, until, &inside.phases), async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            inside.store.cancel(id).await.unwrap();
        });
        assert_eq!(waited.unwrap().unwrap().state, JobState::Cancelled);
        assert!(began.elapsed() <= Duration::from_secs(6));
        inside.store.reopen(id).await.unwrap();
    }
    let until = Instant::now() + Duration::from_secs(60);
    let mut waiting = Box::pin(inside.hub.wait_terminal(id, until, &inside.phases));
    assert!(is_pending(waiting.as_mut()).await);
    inside.sender.advance(Phase::Draining);
    assert_eq!(waiting.await.unwrap().unwrap().state, JobState::Queued);
    assert!(Instant::now() < until);
}
