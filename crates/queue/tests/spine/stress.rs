//! Many starts and stops at once.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use steadfast_domain::JobState;
use steadfast_lifecycle::{Phase, Tasks, phases};
use steadfast_queue::{Finish, JobContext};
use tokio::time::Instant;

use crate::given::{done, given, runs, work};

/// 1 start and stop of a pool after another on one store, at random moments; in the end every job has
/// completed, none was left behind by a stop, and no attempt was charged for one.
async fn cycles(seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut inside = given(runs(|context: JobContext| async move {
        for _ in 0..context.payload().decode::<u32>().unwrap() {
            if context.stop_reason().is_some() {
                return Ok(Finish::Yield { checkpoint: None });
            }
            tokio::task::yield_now().await;
        }
        done()
    }))
    .concurrency(3)
    .without_pool()
    .await;
    let mut ids = Vec::new();
    for cycle in 0..50 {
        let (sender, phases) = phases();
        sender.advance(Phase::Ready);
        inside.phases = phases;
        let pool = inside.pool(cycle + 1);
        for _ in 0..random.random_range(0..8) {
            let mut job = work();
            job.payload = crate::given::json(&random.random_range(0..40).to_string());
            ids.push(inside.submit(job).await);
        }
        for _ in 0..random.random_range(0..30) {
            tokio::task::yield_now().await;
        }
        for phase in Phase::ALL {
            if phase < Phase::Handback && random.random() {
                sender.advance(phase);
                tokio::task::yield_now().await;
            }
        }
        let report = pool.hand_back(Instant::now() + Duration::from_secs(60), Duration::ZERO).await;
        assert_eq!((report.abandoned.len(), report.unsettled.len()), (0, 0), "seed {seed}");
        for id in &ids {
            assert_ne!(inside.store.job(*id).await.state, JobState::Processing, "seed {seed}");
        }
    }
    let (sender, phases) = phases();
    sender.advance(Phase::Ready);
    inside.phases = phases;
    let _pool = inside.pool(100);
    for id in ids {
        let job = inside.ended(id).await;
        assert_eq!((job.state, job.attempt, job.interruptions), (JobState::Completed, 1, 0), "seed {seed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ten_pools_start_and_stop_fifty_times() {
    let tasks = Tasks::new();
    let running: Vec<_> = (0..10).map(|seed| tasks.spawn("cycles", cycles(seed))).collect();
    for cycles in running {
        cycles.await.unwrap();
    }
}
