//! Many starts and stops at once.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use steadfast_domain::{JobId, JobState};
use steadfast_lifecycle::{Phase, PhaseSender, Phases, Tasks, phases};
use steadfast_queue::{Failure, Finish, JobContext, WorkerPool};
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::given::{Given, Inside, PATIENCE, done, given, json, runs, work};

/// Pools at once.
const POOLS: u64 = 10;
/// Starts and stops of each.
const CYCLES: u64 = 50;
const IN_A_MINUTE: Duration = Duration::from_secs(60);

/// A handler that takes as many turns as its payload says: with an even number it yields when it is told to
/// stop, with an odd one it runs until it is cut off.
async fn takes_turns(context: JobContext) -> Result<Finish, Failure> {
    let turns: u32 = context.payload().decode().unwrap();
    for _ in 0..turns {
        if turns.is_multiple_of(2) && context.stop_reason().is_some() {
            return Ok(Finish::Yield { checkpoint: None });
        }
        tokio::task::yield_now().await;
    }
    done()
}

fn given_turns() -> Given {
    given(runs(takes_turns)).concurrency(3)
}

async fn yields(count: u32) {
    for _ in 0..count {
        tokio::task::yield_now().await;
    }
}

/// Starts and stops one pool after another. Each is stopped while others submit, claim and stop on the same
/// store, and while its own life is moved forward by two at once. Nothing is left behind by a stop.
async fn starts_and_stops(inside: Arc<Inside>, seed: u64) -> Vec<JobId> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut ids = Vec::new();
    for cycle in 0..CYCLES {
        let (sender, phases) = phases();
        sender.advance(Phase::Ready);
        let pool = inside.pool_in(u128::from(1_000 * seed + cycle), phases.clone());
        let (actors, sender) = (Tasks::new(), Arc::new(sender));
        let submits =
            actors.spawn("submits", submit(Arc::clone(&inside), random.random_range(0..4), random.random()));
        actors.spawn("watches", watch(phases, seed));
        for _ in 0..2 {
            actors.spawn("drains", drain(Arc::clone(&sender), random.random()));
        }
        drop(sender);
        yields(random.random_range(0..60)).await;
        hand_back(pool, seed).await;
        ids.extend(submits.await.unwrap());
        assert!(actors.join(Instant::now() + PATIENCE).await.is_empty(), "seed {seed}");
    }
    ids
}

/// Stops a pool. It abandons nothing but what has not ended a second after it was cut off, as on a busy machine; that
/// goes back to its queue like the rest.
async fn hand_back(pool: WorkerPool, seed: u64) {
    let began = Instant::now();
    let report = pool.hand_back(began + IN_A_MINUTE, Duration::ZERO).await;
    assert_eq!(report.unsettled, [], "seed {seed}");
    let waited = began.elapsed() >= Duration::from_secs(1);
    assert!(waited || report.abandoned.is_empty(), "seed {seed}: {:?}", report.abandoned);
}

async fn submit(inside: Arc<Inside>, jobs: u32, seed: u64) -> Vec<JobId> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut ids = Vec::new();
    for _ in 0..jobs {
        let mut job = work();
        job.payload = json(&random.random_range(0..40).to_string());
        ids.push(inside.submit(job).await);
        yields(random.random_range(0..5)).await;
    }
    ids
}

/// Asks for some of the phases, in order; another asks for others at the same time.
async fn drain(sender: Arc<PhaseSender>, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    for phase in Phase::ALL {
        yields(random.random_range(0..8)).await;
        if random.random() {
            sender.advance(phase);
        }
    }
}

/// Sees every life go forward only, to its end.
async fn watch(phases: Phases, seed: u64) {
    let mut seen = Phase::Starting;
    while let Some(next) = Phase::ALL.into_iter().find(|phase| *phase > seen) {
        let now = phases.at_least(next).await;
        assert!(now > seen, "seed {seed}: from {seen:?} to {now:?}");
        seen = now;
    }
}

/// In the end every job has completed, once, and no attempt and no interruption was charged for a stop.
async fn assert_all_complete(inside: &Inside, ids: Vec<JobId>) {
    let (sender, phases) = phases();
    sender.advance(Phase::Ready);
    let last = inside.pool_in(u128::MAX, phases);
    for id in ids {
        let job = inside.ended(id).await;
        assert_eq!((job.state, job.attempt, job.interruptions), (JobState::Completed, 1, 0), "{job:?}");
    }
    last.hand_back(Instant::now() + IN_A_MINUTE, Duration::ZERO).await;
}

/// Waits until no more tasks are alive than these: what a stopped pool left running would be among them.
async fn assert_no_more_tasks_than(alive: usize) {
    let began = Instant::now();
    while Handle::current().metrics().num_alive_tasks() > alive {
        assert!(began.elapsed() < IN_A_MINUTE, "{}", Handle::current().metrics().num_alive_tasks());
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ten_pools_on_one_store_start_and_stop_fifty_times() {
    let inside = Arc::new(given_turns().without_pool().await);
    let alive = Handle::current().metrics().num_alive_tasks();
    let tasks = Tasks::new();
    let cycles = |seed| tasks.spawn("cycles", starts_and_stops(Arc::clone(&inside), seed));
    let running: Vec<_> = (0..POOLS).map(cycles).collect();
    let mut ids = Vec::new();
    for cycles in running {
        ids.extend(cycles.await.unwrap());
    }
    assert!(ids.len() > 100, "{} jobs", ids.len());
    assert_all_complete(&inside, ids).await;
    assert_no_more_tasks_than(alive).await;
}

/// A stop that is alone on its store leaves nothing `processing`: checked after each.
async fn alone(seed: u64) {
    let inside = Arc::new(given_turns().without_pool().await);
    let mut random = StdRng::seed_from_u64(seed);
    let mut ids = Vec::new();
    for cycle in 0..CYCLES {
        let (sender, phases) = phases();
        sender.advance(Phase::Ready);
        let pool = inside.pool_in(cycle.into(), phases);
        ids.extend(submit(Arc::clone(&inside), random.random_range(0..8), random.random()).await);
        yields(random.random_range(0..30)).await;
        hand_back(pool, seed).await;
        for id in &ids {
            assert_ne!(inside.store.job(*id).await.state, JobState::Processing, "seed {seed}");
        }
    }
    assert_all_complete(&inside, ids).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ten_pools_alone_on_their_stores_start_and_stop_fifty_times() {
    let tasks = Tasks::new();
    let running: Vec<_> = (0..POOLS).map(|seed| tasks.spawn("cycles", alone(seed))).collect();
    for cycles in running {
        cycles.await.unwrap();
    }
}
