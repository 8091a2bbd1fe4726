//! How attempts end, and what that makes of their jobs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use steadfast_domain::{AttemptTimeout, JobState};
use steadfast_queue::hub::Followed;
use steadfast_queue::store::{Cancel, JobStore};
use steadfast_queue::{Failure, Finish, JobContext, StopReason};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;

use crate::given::{done, given, is_pending, json, queue, runs, work};

fn timeout(ms: u64) -> AttemptTimeout {
    AttemptTimeout::new(Duration::from_millis(ms)).unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_ignores_its_time_is_cut_off_and_tried_again() {
    let (drops, mut dropped) = mpsc::channel::<()>(1);
    let server = given(runs(move |context| {
        let drops = drops.clone();
        async move {
            if context.job().attempt > 1 {
                return done();
            }
            let _held = drops;
            std::future::pending().await
        }
    }))
    .concurrency(1)
    .start()
    .await;
    let began = Instant::now();
    let mut job = work();
    job.timeout = timeout(50);
    let id = server.submit(job).await;
    let job = server.reaches(id, JobState::Retryable).await;
    assert_eq!(began.elapsed().as_secs(), 5, "50 ms and the grace of 5 s");
    assert_eq!(job.errors[0].code, "timeout");
    let job = server.ended(id).await;
    assert_eq!((job.state, job.attempt), (JobState::Completed, 2));
    drop(server);
    assert_eq!(dropped.recv().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_late_attempt_that_yields_leaves_its_checkpoint() {
    let server = given(runs(|context: JobContext| async move {
        match &context.job().checkpoint {
            Some(left) => Ok(Finish::Completed(Some(left.clone()))),
            None => {
                assert_eq!(context.stopped().await, StopReason::Timeout);
                Ok(Finish::Yield { checkpoint: Some(json("\"half\"")) })
            }
        }
    }))
    .start()
    .await;
    let mut job = work();
    job.timeout = timeout(50);
    let job = server.ended(server.submit(job).await).await;
    assert_eq!(job.result, Some(json("\"half\"")));
    assert_eq!((job.attempt, job.errors[0].code.as_str()), (2, "timeout"));
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_failed_attempt_and_costs_no_slot() {
    let server = given(runs(|context: JobContext| async move {
        assert!(context.payload().as_str() != "\"boom\"", "as the test wants it");
        done()
    }))
    .concurrency(1)
    .start()
    .await;
    let mut panics = Vec::new();
    for _ in 0..3 {
        let mut job = work();
        job.payload = json("\"boom\"");
        job.retry = job.retry.with_max_attempts(2).unwrap();
        panics.push(server.submit(job).await);
    }
    let fine = server.submit(work()).await;
    assert_eq!(server.ended(fine).await.state, JobState::Completed);
    for id in panics {
        let job = server.ended(id).await;
        assert_eq!((job.state, job.attempt), (JobState::Dead, 2));
        assert_eq!(job.errors.iter().map(|e| e.code.as_str()).collect::<Vec<_>>(), ["panic", "panic"]);
    }
    assert_eq!(server.metric("steadfast_job_attempts_total", &["panic"]), 6.0);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_tried_again_by_its_policy_until_the_last_attempt() {
    let starts = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&starts);
    let server = given(runs(move |_| {
        seen.lock().push(Instant::now());
        async { Err(Failure::retryable("io", "not now")) }
    }))
    .start()
    .await;
    let mut job = work();
    job.retry = job.retry.with_max_attempts(4).unwrap();
    let job = server.ended(server.submit(job).await).await;
    assert_eq!((job.state, job.attempt, job.errors.len()), (JobState::Dead, 4, 4));
    let starts = starts.lock();
    for (pair, seconds) in starts.windows(2).zip([1, 2, 4]) {
        let late = (pair[1] - pair[0]).checked_sub(Duration::from_secs(seconds)).expect("never early");
        assert!(late < Duration::from_millis(50), "{late:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_permanent_failure_is_the_last() {
    let server = given(runs(|_| async { Err(Failure::permanent("bad", "for good")) })).start().await;
    let job = server.ended(server.submit(work()).await).await;
    assert_eq!((job.state, job.attempt, job.errors[0].code.as_str()), (JobState::Dead, 1, "bad"));
}

#[tokio::test(start_paused = true)]
async fn a_yield_goes_on_from_its_checkpoint_and_costs_no_attempt() {
    let server = given(runs(|context: JobContext| async move {
        let left: u32 = context.job().checkpoint.as_ref().map_or(0, |left| left.decode().unwrap());
        assert_eq!(context.job().attempt, 1);
        match left {
            3 => done(),
            left => Ok(Finish::Yield { checkpoint: Some(json(&(left + 1).to_string())) }),
        }
    }))
    .start()
    .await;
    let job = server.ended(server.submit(work()).await).await;
    assert_eq!((job.state, job.attempt, job.interruptions), (JobState::Completed, 1, 0));
    assert_eq!(job.checkpoint, Some(json("3")));
}

/// A server whose attempt, once cancelled, ends like this; and the job it was asked to cancel.
async fn cancelled(end: fn() -> Result<Finish, Failure>) -> steadfast_domain::Job {
    let begun = Arc::new(Notify::new());
    let begins = Arc::clone(&begun);
    let server = given(runs(move |context: JobContext| {
        let begins = Arc::clone(&begins);
        async move {
            begins.notify_one();
            assert_eq!(context.stopped().await, StopReason::Cancelled);
            end()
        }
    }))
    .start()
    .await;
    let id = server.submit(work()).await;
    begun.notified().await;
    let asked = Instant::now();
    assert_eq!(server.admission().cancel(id, ()).await.unwrap(), Cancel::Requested);
    let job = server.ended(id).await;
    assert!(asked.elapsed() < Duration::from_millis(50), "it is told at once");
    job
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_attempt_is_told_and_its_end_maps() {
    assert_eq!(cancelled(done).await.state, JobState::Completed);
    let yields = || Ok(Finish::Yield { checkpoint: None });
    assert_eq!(cancelled(yields).await.state, JobState::Cancelled);
    assert_eq!(cancelled(|| Err(Failure::retryable("io", ""))).await.state, JobState::Cancelled);
    assert_eq!(cancelled(|| panic!("as the test wants it")).await.state, JobState::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_ignores_its_cancel_is_cut_off_after_5_seconds() {
    let (begins, mut begun) = mpsc::channel(1);
    let server = given(runs(move |_| {
        let begins = begins.clone();
        async move {
            begins.send(()).await.unwrap();
            std::future::pending().await
        }
    }))
    .start()
    .await;
    let id = server.submit(work()).await;
    begun.recv().await;
    let asked = Instant::now();
    server.store.cancel(id).await.unwrap();
    assert_eq!(server.ended(id).await.state, JobState::Cancelled);
    assert_eq!(asked.elapsed().as_secs(), 5);
    server.pool.idle().await;
}

#[tokio::test(start_paused = true)]
async fn a_cancel_that_comes_before_the_claims_answer_is_not_lost() {
    let server = given(runs(|context: JobContext| async move {
        context.stopped().await;
        Ok(Finish::Yield { checkpoint: None })
    }))
    .start()
    .await;
    server.store.cancels_claimed.store(true, Ordering::Relaxed);
    let began = Instant::now();
    assert_eq!(server.ended(server.submit(work()).await).await.state, JobState::Cancelled);
    assert!(began.elapsed() < Duration::from_millis(50));
}

#[tokio::test(start_paused = true)]
async fn a_cancel_whose_hint_was_overrun_is_found_by_renewing() {
    let begun = Arc::new(Notify::new());
    let begins = Arc::clone(&begun);
    let server = given(runs(move |context: JobContext| {
        begins.notify_one();
        async move {
            context.stopped().await;
            Ok(Finish::Yield { checkpoint: None })
        }
    }))
    .start()
    .await;
    let id = server.submit(work()).await;
    begun.notified().await;
    let began = Instant::now();
    server.store.cancel(id).await.unwrap();
    // More hints than the pool may fall behind, without letting it run.
    for _ in 0..2 * steadfast_queue::store::HINTS_MAX {
        server.store.pause(&queue("default"), false).await.unwrap();
    }
    assert_eq!(server.ended(id).await.state, JobState::Cancelled);
    assert!(began.elapsed() < Duration::from_millis(50));
}

#[tokio::test(start_paused = true)]
async fn a_finished_attempt_outlives_an_outage_of_the_store() {
    let server = given(runs(|_| async { done() })).start().await;
    server.store.settles_fail.store(true, Ordering::Relaxed);
    let id = server.submit(work()).await;
    {
        let mut idle = Box::pin(server.pool.idle());
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert!(is_pending(idle.as_mut()).await);
    }
    assert_eq!(server.store.job(id).await.state, JobState::Processing);
    server.store.settles_fail.store(false, Ordering::Relaxed);
    assert_eq!(server.ended(id).await.state, JobState::Completed);
    server.pool.idle().await;
    assert_eq!(server.metric("steadfast_job_attempts_total", &["completed"]), 1.0);
}

#[tokio::test(start_paused = true)]
async fn checkpoints_are_stored_at_once_and_progress_about_once_a_second() {
    let reports = Arc::new(AtomicU32::new(0));
    let (stored, is_stored) = oneshot::channel();
    let stored = Mutex::new(Some(stored));
    let sent = Arc::clone(&reports);
    let server = given(runs(move |context: JobContext| {
        let (stored, sent) = (stored.lock().take(), Arc::clone(&sent));
        async move {
            let began = Instant::now();
            context.checkpoint("kept").await.unwrap();
            stored.unwrap().send(began.elapsed()).unwrap();
            for n in 0..100 {
                context.progress(&n).unwrap();
                sent.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            done()
        }
    }))
    // Renewals may come more often than progress is written.
    .lease(Duration::from_millis(600))
    .start()
    .await;
    let id = server.submit(work()).await;
    let mut follower = server.hub.follow(id, None);
    assert!(is_stored.await.unwrap() < Duration::from_millis(50));
    assert_eq!(server.store.job(id).await.checkpoint, Some(json("\"kept\"")));
    let mut seen = Vec::new();
    while let Some(next) = follower.next().await.unwrap() {
        if let Followed::Progress(progress) = next {
            seen.push(progress.decode::<u32>().unwrap());
        }
    }
    assert_eq!(reports.load(Ordering::Relaxed), 100);
    assert!((4..=6).contains(&seen.len()), "{seen:?}");
    assert!(seen.is_sorted());
    assert!(server.store.renewals.lock().len() <= 8);
}
