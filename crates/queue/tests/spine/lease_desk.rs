//! Leases for remote workers: who waits, who is woken, and what becomes of leases nobody takes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use steadfast_domain::{BootId, JobState, WorkerName};
use steadfast_lifecycle::Phase;
use steadfast_queue::lease_desk::{Directive, Ending, Heartbeat, Order, Settling, WrongQueue};
use steadfast_queue::store::{ClaimId, ClaimLost, ClaimRequest, JobStore, Owner, Submission, Want};
use steadfast_queue::{Failure, LeaseDesk};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::given::{Inside, done, given, is_pending, json, kind, queue, runs, work, work_in};

const LEASE: Duration = Duration::from_secs(60);
/// Those at the head of a line who look.
const TURNS: usize = 4;
/// How often a line looks without a hint.
const LOOK_EVERY: Duration = Duration::from_secs(2);

async fn inside() -> Inside {
    given(runs(|_| async { done() })).queue("second", 1, None).without_pool().await
}

fn order(desk: &LeaseDesk, max: usize) -> Order {
    let worker = WorkerName::new("w").unwrap();
    desk.order(worker, vec![queue("default")], Vec::new(), max, LEASE).unwrap()
}

/// Waits for jobs as a worker does: in line first, looking second. How many came, and after how long.
async fn waits(desk: Arc<LeaseDesk>, max: usize, wait: Duration) -> (usize, Duration) {
    let began = Instant::now();
    let order = order(&desk, max);
    let line = desk.line_up(&order);
    let mut leases = line.look(()).await.unwrap();
    if leases.is_empty() {
        leases = line.wait(began + wait).await.unwrap();
    }
    let (leases, mut undelivered) = leases.into_parts();
    undelivered.delivered();
    (leases.len(), began.elapsed())
}

/// Workers that wait, for so many jobs each.
async fn waiting(desk: &Arc<LeaseDesk>, workers: usize, max: usize) -> JoinSet<(usize, Duration)> {
    let mut waiting = JoinSet::new();
    for _ in 0..workers {
        waiting.spawn(waits(Arc::clone(desk), max, Duration::from_secs(30)));
    }
    // All have looked, and whoever listens to the store does.
    sleep(Duration::from_millis(1)).await;
    waiting
}

async fn taken(desk: &LeaseDesk) -> ClaimId {
    let (mut leases, mut undelivered) = desk.take(&order(desk, 1), ()).await.unwrap().into_parts();
    undelivered.delivered();
    leases.pop().unwrap().id
}

async fn settled(desk: &LeaseDesk, id: ClaimId, ending: Ending) -> Result<JobState, ClaimLost> {
    let answers = desk.settle(vec![Settling { id, ending }], ()).await.unwrap();
    answers[0].map(|change| change.state)
}

/// Lease ids can be guessed: what the server's own pool runs is nobody's to settle or renew here.
#[tokio::test(start_paused = true)]
async fn no_lease_is_on_what_a_process_runs() {
    let inside = inside().await;
    let desk = inside.desk();
    let job = inside.submit(work()).await;
    let want = Want { queue: queue("default"), kinds: None, share: 1 };
    let owner = Owner::Process(BootId::from_random(1));
    let request = ClaimRequest { owner, wants: vec![want], max: 1, lease: LEASE };
    let id = inside.store.claim(request).await.unwrap().pop().unwrap().id;
    let endings = [
        Ending::Complete { result: None },
        Ending::Fail(Failure::permanent("guessed", "by a worker")),
        Ending::Release { checkpoint: None },
    ];
    for ending in endings {
        assert_eq!(settled(&desk, id, ending).await, Err(ClaimLost));
    }
    let heartbeat = Heartbeat { id, lease: LEASE, progress: None, checkpoint: Some(json("1")) };
    let answers = desk.renew(vec![heartbeat], ()).await.unwrap();
    assert!(answers[0].is_err(), "{answers:?}");
    let job = inside.store.get(&[job]).await.unwrap().pop().flatten().unwrap();
    assert_eq!((job.state, job.checkpoint), (JobState::Processing, None));
}

#[tokio::test(start_paused = true)]
async fn a_job_wakes_one_of_a_thousand_that_wait_at_once() {
    let inside = inside().await;
    let desk = inside.desk();
    let mut waiting = waiting(&desk, 1_000, 1).await;
    let (looks, began) = (inside.store.asked.lock().len(), Instant::now());
    assert!(looks <= TURNS + 1, "{looks}: a few looked, and one when the store was listened to");
    inside.submit(work()).await;
    assert_eq!(waiting.join_next().await.unwrap().unwrap().0, 1);
    assert!(began.elapsed() < Duration::from_millis(10), "{:?}", began.elapsed());
    // Nobody else was woken, for it or by it.
    sleep(Duration::from_millis(1)).await;
    assert!(inside.store.asked.lock().len() <= looks + 3, "{}", inside.store.asked.lock().len());
    assert_eq!(waiting.len(), 999);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_jobs_at_once_wake_as_many_as_they_are_for() {
    let inside = inside().await;
    let desk = inside.desk();
    let waiting = waiting(&desk, 100, 10).await;
    let (looks, began) = (inside.store.asked.lock().len(), Instant::now());
    let jobs = vec![work(); 1_000];
    inside.store.submit(Submission { jobs, key: None, give_up_at: began + LEASE }).await.unwrap();
    let taken = waiting.join_all().await;
    assert!(taken.iter().all(|(jobs, _)| *jobs == 10));
    assert!(began.elapsed() < Duration::from_millis(10), "{:?}", began.elapsed());
    assert!(inside.store.asked.lock().len() <= looks + 110, "{}", inside.store.asked.lock().len());
}

/// Those who find enough before them do not look; those before them tell them of what is left.
#[tokio::test(start_paused = true)]
async fn workers_that_come_at_once_to_a_full_queue_have_it_at_once() {
    let inside = inside().await;
    let desk = inside.desk();
    // Somebody waits for something else: the hints are heard already.
    let worker = WorkerName::new("w").unwrap();
    let other = desk.order(worker, Vec::new(), vec![kind("other")], 1, LEASE).unwrap();
    let line = desk.line_up(&other);
    let mut other = Box::pin(line.wait(Instant::now() + LEASE));
    assert!(is_pending(other.as_mut()).await);
    for _ in 0..100 {
        inside.submit(work()).await;
    }
    assert!(is_pending(other.as_mut()).await);
    *inside.store.claims_take.lock() = Duration::from_millis(1);
    let began = Instant::now();
    let taken = waiting(&desk, 100, 1).await.join_all().await;
    assert!(taken.iter().all(|(jobs, _)| *jobs == 1));
    assert!(began.elapsed() < Duration::from_millis(100), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_lost_hint_costs_a_moment_and_waiting_costs_next_to_nothing() {
    let inside = inside().await;
    let desk = inside.desk();
    inside.store.lose_hints(1);
    for _ in 0..20 {
        let mut waiting = waiting(&desk, 1, 1).await;
        let began = Instant::now();
        inside.submit(work()).await;
        let (jobs, _) = waiting.join_next().await.unwrap().unwrap();
        assert_eq!(jobs, 1);
        assert!(began.elapsed() <= LOOK_EVERY, "{:?}", began.elapsed());
    }
    let looks = inside.store.asked.lock().len();
    let nothing = waiting(&desk, 1_000, 1).await.join_all().await;
    assert!(nothing.iter().all(|(jobs, waited)| (*jobs, waited.as_secs()) == (0, 30)));
    let looks = inside.store.asked.lock().len() - looks;
    assert!(looks <= TURNS + 20, "{looks} looks of a thousand in half a minute");
}

#[tokio::test(start_paused = true)]
async fn those_who_want_something_else_are_not_in_the_way() {
    let inside = inside().await;
    let desk = inside.desk();
    let of_kind = |name: &str| {
        let worker = WorkerName::new("w").unwrap();
        desk.order(worker, vec![queue("default"), queue("second")], vec![kind(name)], 1, LEASE).unwrap()
    };
    let (other, mine) = (of_kind("other"), of_kind("work"));
    let until = Instant::now() + Duration::from_secs(30);
    let (other, mine) = (desk.line_up(&other), desk.line_up(&mine));
    let (mut other, mut mine) = (Box::pin(other.wait(until)), Box::pin(mine.wait(until)));
    assert!(is_pending(other.as_mut()).await && is_pending(mine.as_mut()).await);
    let began = Instant::now();
    inside.submit(work_in("second")).await;
    assert!(is_pending(other.as_mut()).await);
    assert_eq!(mine.await.unwrap().len(), 1);
    assert!(began.elapsed() < Duration::from_millis(10), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_wake_up_of_a_worker_that_goes_is_the_next_ones() {
    let inside = inside().await;
    let desk = inside.desk();
    *inside.store.claims_take.lock() = Duration::from_millis(5);
    let first = order(&desk, 1);
    let line = desk.line_up(&first);
    let mut first = Box::pin(line.wait(Instant::now() + LEASE));
    assert!(is_pending(first.as_mut()).await);
    let mut second = waiting(&desk, 1, 1).await;
    let id = inside.submit(work()).await;
    // The first is woken, and has claimed when it goes away.
    assert!(timeout(Duration::from_millis(3), first.as_mut()).await.is_err());
    assert_eq!(inside.store.job(id).await.state, JobState::Processing);
    drop(first);
    let (jobs, waited) = second.join_next().await.unwrap().unwrap();
    assert_eq!(jobs, 1);
    assert!(waited < Duration::from_millis(100), "{waited:?}");
    let job = inside.store.job(id).await;
    assert_eq!((job.state, job.attempt, job.interruptions), (JobState::Processing, 1, 0));
}

/// Claims at once have a bound, before which a worker may go away that was woken already.
#[tokio::test(start_paused = true)]
async fn a_wake_up_that_was_not_made_use_of_is_passed_on() {
    const CLAIMS_MAX: usize = 64;
    let inside = inside().await;
    let desk = inside.desk();
    let claim_takes = Duration::from_millis(300);
    let of_kind = |name: &str| {
        let worker = WorkerName::new("w").unwrap();
        desk.order(worker, Vec::new(), vec![kind(name)], 1, LEASE).unwrap()
    };
    let others: Vec<Order> = (0..CLAIMS_MAX).map(|n| of_kind(&format!("other-{n}"))).collect();
    let until = Instant::now() + LEASE;
    let mut others =
        Box::pin(join_all(others.iter().map(async |order| desk.line_up(order).wait(until).await)));
    assert!(is_pending(others.as_mut()).await);

    *inside.store.claims_take.lock() = claim_takes;
    inside.submit(work()).await;
    assert!(is_pending(others.as_mut()).await);
    let mine = of_kind("work");
    let (first, second) = (desk.line_up(&mine), desk.line_up(&mine));
    let (mut first, mut second) = (Box::pin(first.wait(until)), Box::pin(second.wait(until)));
    assert!(is_pending(first.as_mut()).await && is_pending(second.as_mut()).await);
    let began = Instant::now();
    inside.submit(work()).await;
    assert!(is_pending(first.as_mut()).await && is_pending(second.as_mut()).await);
    drop(first);
    tokio::select! {
        _ = others.as_mut() => panic!("nothing is for them"),
        leases = second => assert_eq!(leases.unwrap().len(), 1),
    }
    assert!(began.elapsed() <= 3 * claim_takes, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn leases_that_nobody_takes_go_back_uncounted_as_soon_as_the_store_can() {
    let inside = inside().await;
    let desk = inside.desk();
    let id = inside.submit(work()).await;
    inside.store.settles_fail.store(true, Ordering::Relaxed);
    drop(desk.take(&order(&desk, 1), ()).await.unwrap());
    sleep(Duration::from_secs(5)).await;
    assert_eq!(inside.store.job(id).await.state, JobState::Processing);
    assert_eq!(inside.mutations.count(), 1, "a drain waits for it");
    inside.store.settles_fail.store(false, Ordering::Relaxed);
    inside.mutations.idle().await;
    let job = inside.store.job(id).await;
    assert_eq!((job.state, job.attempt, job.interruptions), (JobState::Queued, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_lease_lapses_without_heartbeats_and_lives_with_them() {
    let inside = inside().await;
    let desk = inside.desk();
    for _ in 0..2 {
        inside.submit(work()).await;
    }
    let (kept, left) = (taken(&desk).await, taken(&desk).await);
    for _ in 0..10 {
        sleep(LEASE / 3).await;
        let beat = Heartbeat { id: kept, lease: LEASE, progress: Some(json("1")), checkpoint: None };
        let answer = desk.renew(vec![beat], ()).await.unwrap()[0].unwrap();
        assert!(!answer.cancel_requested);
    }
    let lost = inside.store.job(left.job).await;
    assert_eq!((lost.state, lost.attempt, lost.interruptions), (JobState::Queued, 0, 1));
    assert_eq!(settled(&desk, left, Ending::Complete { result: None }).await, Err(ClaimLost));
    assert_eq!(settled(&desk, kept, Ending::Complete { result: None }).await, Ok(JobState::Completed));
}

#[tokio::test(start_paused = true)]
async fn ends_are_counted_once_however_often_they_are_told() {
    let inside = inside().await;
    let desk = inside.desk();
    for _ in 0..3 {
        inside.submit(work()).await;
    }
    let [done, failed, back] = [taken(&desk).await, taken(&desk).await, taken(&desk).await];
    for _ in 0..3 {
        assert_eq!(settled(&desk, done, Ending::Complete { result: None }).await, Ok(JobState::Completed));
        let failure = Failure::retryable("boom", "no");
        assert_eq!(settled(&desk, failed, Ending::Fail(failure)).await, Ok(JobState::Retryable));
        assert_eq!(settled(&desk, back, Ending::Release { checkpoint: None }).await, Ok(JobState::Queued));
    }
    for outcome in ["completed", "failed", "released"] {
        assert_eq!(inside.metric("steadfast_job_attempts_total", &["default", outcome]), 1.0, "{outcome}");
    }
    let counts = inside.counts().await;
    assert_eq!((counts.ended.iter().sum::<u64>(), counts.ended_as(JobState::Completed)), (1, 1));
}

/// The retry policy is the job's, whoever runs it.
#[tokio::test(start_paused = true)]
async fn a_failed_job_waits_as_its_policy_says_and_dies_of_its_last_attempt() {
    let inside = inside().await;
    let desk = inside.desk();
    let mut job = work();
    job.retry = job.retry.with_max_attempts(3).unwrap();
    let id = inside.submit(job).await;
    for (wait, state) in [(1, JobState::Retryable), (2, JobState::Retryable), (0, JobState::Dead)] {
        let claim = taken(&desk).await;
        let failure = Failure::retryable("boom", "no");
        assert_eq!(settled(&desk, claim, Ending::Fail(failure)).await, Ok(state));
        let (next, from) = (inside.store.job(id).await.run_at, inside.store.job(id).await.history);
        if state == JobState::Retryable {
            assert_eq!(next.since(from.last().unwrap().at), Duration::from_secs(wait));
            inside.reaches(id, JobState::Queued).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn in_the_lame_duck_nothing_is_given_and_a_time_to_come_back_is_told() {
    let inside = inside().await;
    let desk = inside.desk();
    assert_eq!(desk.directive(), Directive::Run);
    let waiting = waiting(&desk, 10, 1).await;
    inside.sender.advance(Phase::LameDuck);
    let began = Instant::now();
    assert!(waiting.join_all().await.iter().all(|(jobs, _)| *jobs == 0));
    inside.submit(work()).await;
    assert_eq!(waits(Arc::clone(&desk), 1, LEASE).await.0, 0);
    assert_eq!(began.elapsed(), Duration::ZERO);
    let Directive::Quiet(back) = desk.directive() else { panic!("it drains") };
    assert!((0.7..=1.3).contains(&back.as_secs_f64()), "{back:?}");
}

#[tokio::test(start_paused = true)]
async fn only_pull_queues_of_this_server_give_leases() {
    let inside = inside().await;
    let desk = inside.desk();
    let asked = |name: &str| {
        let queues = vec![queue("default"), queue(name)];
        desk.order(WorkerName::new("w").unwrap(), queues, Vec::new(), 1, LEASE).err()
    };
    assert_eq!(asked("second"), None);
    assert_eq!(asked("none"), Some(WrongQueue::NotFound(queue("none"))));
}

/// A worker of two queues takes what has waited for longest, from whichever.
#[tokio::test(start_paused = true)]
async fn no_queue_of_an_order_comes_before_another() {
    let inside = inside().await;
    let desk = inside.desk();
    let mut expected = Vec::new();
    for name in ["second", "default", "second", "default"] {
        expected.push(inside.submit(work_in(name)).await);
        sleep(Duration::from_millis(1)).await;
    }
    let both = desk.order(WorkerName::new("w").unwrap(), Vec::new(), Vec::new(), 1, LEASE).unwrap();
    let taken = join_all((0..4).map(|_| desk.take(&both, ()))).await;
    let taken = taken.into_iter().flat_map(|leases| leases.unwrap().into_parts().0);
    assert_eq!(taken.map(|lease| lease.job.id).collect::<Vec<_>>(), expected);
}
