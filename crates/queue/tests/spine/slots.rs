//! What the pool claims, and when.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use steadfast_domain::{JobState, Start};
use steadfast_queue::admission::Rates;
use steadfast_queue::{Failure, JobContext, JobHandler};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use crate::given::{done, given, queue, runs, work, work_in};

/// Attempts that say that they have begun and then wait to be let go.
struct Held {
    begun: mpsc::Receiver<String>,
    let_go: Arc<Semaphore>,
    most: Arc<AtomicUsize>,
}

fn held() -> (Held, impl JobHandler) {
    let (begins, begun) = mpsc::channel(1_000);
    let let_go = Arc::new(Semaphore::new(0));
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let held = Held { begun, let_go: Arc::clone(&let_go), most: Arc::clone(&most) };
    let handler = runs(move |context: JobContext| {
        let (begins, let_go) = (begins.clone(), Arc::clone(&let_go));
        let (now, most) = (Arc::clone(&now), Arc::clone(&most));
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            begins.send(context.job().queue.to_string()).await.unwrap();
            let_go.acquire().await.unwrap().forget();
            now.fetch_sub(1, Ordering::SeqCst);
            done()
        }
    });
    (held, handler)
}

#[tokio::test(start_paused = true)]
async fn never_more_attempts_than_slots() {
    let (mut held, handler) = held();
    let server = given(handler).concurrency(3).start().await;
    let mut ids = Vec::new();
    for _ in 0..20 {
        ids.push(server.submit(work()).await);
    }
    for _ in 0..3 {
        held.begun.recv().await.unwrap();
    }
    assert_eq!(server.pool.running(), 3);
    assert!(held.begun.try_recv().is_err());
    let began = Instant::now();
    for _ in 3..20 {
        held.let_go.add_permits(1);
        held.begun.recv().await.unwrap();
    }
    held.let_go.add_permits(3);
    for id in ids {
        assert_eq!(server.ended(id).await.state, JobState::Completed);
    }
    server.pool.idle().await;
    assert!(began.elapsed() < Duration::from_millis(500), "a free slot needs no poll");
    assert_eq!(held.most.load(Ordering::SeqCst), 3);
    assert!(server.store.asked.lock().iter().all(|asked| *asked <= 3));
    assert_eq!(server.metric("steadfast_attempts_running", &[]), 0.0);
    assert_eq!(server.metric("steadfast_job_attempts_total", &["default", "work", "completed"]), 20.0);
    assert_eq!(server.counts().await.ended_as(JobState::Completed), 20);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_starts_while_the_one_before_it_is_being_settled_and_claims_stay_bounded() {
    let (held, handler) = held();
    let server = given(handler).concurrency(2).start().await;
    server.store.settles_fail.store(true, Ordering::Relaxed);
    held.let_go.add_permits(1_000);
    let mut ids = Vec::new();
    for _ in 0..50 {
        ids.push(server.submit(work()).await);
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    // Four claims for each attempt that may run: what is not settled does not keep the next from running.
    assert_eq!((server.pool.running(), server.store.claimed.lock().len()), (0, 8));
    server.store.settles_fail.store(false, Ordering::Relaxed);
    for id in ids {
        assert_eq!(server.ended(id).await.state, JobState::Completed);
    }
    assert!(held.most.load(Ordering::SeqCst) <= 2);
}

#[tokio::test(start_paused = true)]
async fn a_queue_keeps_to_its_own_concurrency() {
    let (mut held, handler) = held();
    let server = given(handler).concurrency(4).queue("narrow", 1, Some(1)).start().await;
    for _ in 0..5 {
        server.submit(work_in("narrow")).await;
    }
    assert_eq!(held.begun.recv().await.unwrap(), "narrow");
    for _ in 0..5 {
        server.submit(work()).await;
    }
    for _ in 0..3 {
        assert_eq!(held.begun.recv().await.unwrap(), "default");
    }
    assert_eq!(server.pool.running(), 4);
    held.let_go.add_permits(10);
    for _ in 0..6 {
        held.begun.recv().await.unwrap();
    }
    server.pool.idle().await;
}

#[tokio::test(start_paused = true)]
async fn work_that_arrives_at_an_idle_pool_needs_no_poll() {
    let (mut held, handler) = held();
    let server = given(handler).concurrency(2).start().await;
    held.let_go.add_permits(1_000);
    let began = Instant::now();
    for _ in 0..500 {
        let id = server.submit(work()).await;
        held.begun.recv().await.unwrap();
        assert_eq!(server.ended(id).await.state, JobState::Completed);
    }
    // Paused time stands still while anything can run: a lost wake-up would have cost a second's poll.
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_lost_hint_costs_a_poll_and_no_more() {
    let (mut held, handler) = held();
    let server = given(handler).start().await;
    held.let_go.add_permits(1_000);
    server.store.lose_hints(7);
    let began = Instant::now();
    for _ in 0..20 {
        server.submit(work()).await;
        held.begun.recv().await.unwrap();
    }
    assert!(began.elapsed() <= Duration::from_secs(20 * 5), "{:?}", began.elapsed());
    let found_late = server.metric("steadfast_jobs_found_late_total", &[]);
    assert!((1.0..20.0).contains(&found_late), "{found_late} of 20, when half of the hints are lost");
}

#[tokio::test(start_paused = true)]
async fn a_job_that_waited_for_a_slot_was_not_found_late() {
    let (mut held, handler) = held();
    let server = given(handler).concurrency(1).start().await;
    for _ in 0..3 {
        server.submit(work()).await;
    }
    for _ in 0..3 {
        held.begun.recv().await.unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
        held.let_go.add_permits(1);
    }
    assert_eq!(server.metric("steadfast_jobs_found_late_total", &[]), 0.0);
}

#[tokio::test(start_paused = true)]
async fn a_scheduled_job_starts_within_50_ms_of_its_time() {
    let (mut held, handler) = held();
    let server = given(handler).start().await;
    held.let_go.add_permits(1_000);
    for ms in [0, 1, 7, 300, 2_750] {
        let began = Instant::now();
        let delay = Duration::from_millis(ms);
        let mut job = work();
        job.start = Start::After(delay);
        server.submit(job).await;
        held.begun.recv().await.unwrap();
        let late = began.elapsed().checked_sub(delay).expect("never early");
        assert!(late < Duration::from_millis(50), "{late:?} late after {ms} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_paused_queue_rests_and_starts_at_once_when_resumed() {
    let (mut held, handler) = held();
    let server = given(handler).start().await;
    held.let_go.add_permits(1);
    let admission = server.admission();
    admission.pause(&queue("default"), true, ()).await.unwrap();
    let id = server.submit(work()).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(held.begun.try_recv().is_err());
    let resumed = Instant::now();
    admission.pause(&queue("default"), false, ()).await.unwrap();
    assert_eq!(server.ended(id).await.state, JobState::Completed);
    assert!(resumed.elapsed() < Duration::from_millis(50));
}

/// Which starts a queue had, and when.
type Starts = Arc<Mutex<Vec<(String, Instant)>>>;

fn recorded() -> (Starts, impl JobHandler) {
    let starts = Starts::default();
    let seen = Arc::clone(&starts);
    let handler = runs(move |context: JobContext| {
        seen.lock().push((context.job().queue.to_string(), Instant::now()));
        async { done() }
    });
    (starts, handler)
}

#[tokio::test(start_paused = true)]
async fn a_limited_queue_starts_at_its_rate_and_holds_nobody_back() {
    const SLOW: usize = 31;
    let (starts, handler) = recorded();
    let given = given(handler).concurrency(8).queue("busy", 1, None).rate_limit("default", 10);
    let server = given.start().await;
    let began = Instant::now();
    let mut slow = Vec::new();
    for _ in 0..SLOW {
        slow.push(server.submit(work()).await);
        for _ in 0..20 {
            server.submit(work_in("busy")).await;
        }
    }
    for id in slow {
        assert_eq!(server.ended(id).await.state, JobState::Completed);
    }
    let starts = starts.lock();
    let (slow, busy): (Vec<_>, Vec<_>) = starts.iter().partition(|(queue, _)| queue == "default");
    let at = |(_, at): &&(String, Instant)| at.duration_since(began);
    assert_eq!((slow.len(), busy.len()), (SLOW, 20 * SLOW));
    assert!(busy.iter().all(|start| at(start) < Duration::from_millis(100)), "{:?}", busy.last());
    for (n, start) in slow.iter().enumerate() {
        // The runtime's clock has milliseconds, and every start may wait for its next one.
        let due = Duration::from_millis(100 * n as u64);
        assert!((due..=due + Duration::from_millis(2)).contains(&at(start)), "{n}: {:?}", at(start));
    }
    let for_one = server.store.asked.lock().iter().filter(|asked| **asked == 1).count();
    assert!(for_one < SLOW + 20, "{for_one} claims for {SLOW} starts: each when its time had come");
    assert_eq!(server.metric("steadfast_jobs_found_late_total", &[]), 0.0, "no hint was late");
}

#[tokio::test(start_paused = true)]
async fn a_limited_queue_that_is_empty_asks_for_nothing() {
    let (_, handler) = recorded();
    let server = given(handler).rate_limit("default", 1_000).start().await;
    server.ended(server.submit(work()).await).await;
    let asked = server.store.asked.lock().len();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let polls = server.store.asked.lock().len() - asked;
    assert!(polls <= 15, "{polls} claims in a minute without work");
}

#[tokio::test(start_paused = true)]
async fn the_rates_tell_what_is_accepted_started_and_finished() {
    let server = given(runs(|context: JobContext| async move {
        if context.job().attempt == 1 { Err(Failure::retryable("io", "not now")) } else { done() }
    }))
    .start()
    .await;
    let admission = server.admission();
    let (default, other) = (queue("default"), queue("other"));
    assert_eq!(admission.queue_rates(&default), Some(Rates::default()));
    let submitted = admission.submit(vec![work(); 30], None, ()).await.unwrap();
    for submitted in submitted {
        server.ended(submitted.job.id).await;
    }
    tokio::time::sleep_until(server.began + Duration::from_secs(3)).await;
    let tripled = Rates { submitted: 30.0, started: 60.0, finished: 30.0 };
    let Rates { submitted, started, finished } = admission.queue_rates(&default).unwrap();
    assert_eq!(
        Rates { submitted: submitted * 3.0, started: started * 3.0, finished: finished * 3.0 },
        tripled
    );
    assert_eq!(admission.queue_rates(&other), None);
}
