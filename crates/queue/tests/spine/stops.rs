//! How a drain ends what runs.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use steadfast_domain::{JobId, JobState};
use steadfast_lifecycle::Phase;
use steadfast_queue::pool::PoolReport;
use steadfast_queue::store::{ClaimLost, End, JobStore, Settlement, Speaker};
use steadfast_queue::{Finish, JobContext, JobHandler, StopReason};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::given::{Server, done, given, is_pending, json, runs, work};

const REST: Duration = Duration::from_secs(20);

fn in_5_seconds() -> Instant {
    Instant::now() + Duration::from_secs(5)
}

/// A server with one attempt under way.
async fn one_runs(handler: impl JobHandler) -> (Server, JobId) {
    let server = given(handler).start().await;
    let id = server.submit(work()).await;
    server.reaches(id, JobState::Processing).await;
    tokio::task::yield_now().await;
    (server, id)
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_the_last_attempt_and_claims_no_other() {
    let (begins, mut begun) = mpsc::channel(10);
    let let_go = Arc::new(Notify::new());
    let released = Arc::clone(&let_go);
    let server = given(runs(move |context: JobContext| {
        let (begins, released) = (begins.clone(), Arc::clone(&released));
        async move {
            begins.send(()).await.unwrap();
            context.draining().await;
            assert!(context.is_draining() && context.stop_reason().is_none());
            released.notified().await;
            done()
        }
    }))
    .concurrency(2)
    .start()
    .await;
    let first = server.submit(work()).await;
    begun.recv().await.unwrap();
    server.sender.advance(Phase::LameDuck);
    let later = server.submit(work()).await;
    {
        let mut idle = Box::pin(server.pool.idle());
        assert!(is_pending(idle.as_mut()).await);
        server.sender.advance(Phase::Draining);
        assert!(is_pending(idle.as_mut()).await);
        let_go.notify_one();
        idle.await;
    }
    assert_eq!(server.store.job(first).await.state, JobState::Completed);
    assert_eq!(server.store.job(later).await.state, JobState::Queued);
    let Server { pool, .. } = server;
    let report = pool.hand_back(in_5_seconds(), REST).await;
    assert_eq!(report, PoolReport { finished: 1, ..PoolReport::default() });
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_every_settlement_though_no_attempt_runs() {
    let server = given(runs(|_| async { done() })).concurrency(1).start().await;
    server.store.settles_fail.store(true, Ordering::Relaxed);
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(server.submit(work()).await);
        server.reaches(ids[ids.len() - 1], JobState::Processing).await;
    }
    server.sender.advance(Phase::LameDuck);
    {
        let mut idle = Box::pin(server.pool.idle());
        assert!(is_pending(idle.as_mut()).await);
        assert_eq!(server.pool.running(), 0);
        server.store.settles_fail.store(false, Ordering::Relaxed);
        idle.await;
    }
    for id in ids {
        assert_eq!(server.store.job(id).await.state, JobState::Completed);
    }
    let Server { pool, .. } = server;
    let report = pool.hand_back(in_5_seconds(), REST).await;
    assert_eq!(report, PoolReport { finished: 3, ..PoolReport::default() });
}

#[tokio::test(start_paused = true)]
async fn cancelling_tells_attempts_to_checkpoint() {
    let (server, id) = one_runs(runs(|context: JobContext| async move {
        assert_eq!(context.stopped().await, StopReason::Shutdown);
        Ok(Finish::Yield { checkpoint: Some(json("7")) })
    }))
    .await;
    server.sender.advance(Phase::Cancelling);
    server.pool.idle().await;
    let job = server.store.job(id).await;
    assert_eq!((job.state, job.attempt, job.checkpoint), (JobState::Queued, 0, Some(json("7"))));
    let Server { pool, inside } = server;
    let report = pool.hand_back(in_5_seconds(), REST).await;
    assert_eq!(report, PoolReport { checkpointed: vec![id], ..PoolReport::default() });
    drop(inside);
}

#[tokio::test(start_paused = true)]
async fn what_ignores_its_stop_is_handed_back_and_its_late_result_refused() {
    let (server, id) = one_runs(runs(|_| std::future::pending())).await;
    server.sender.advance(Phase::Cancelling);
    let Server { pool, inside } = server;
    let report = pool.hand_back(in_5_seconds(), REST).await;
    assert_eq!(report, PoolReport { handed_back: vec![id], ..PoolReport::default() });
    let job = inside.store.job(id).await;
    assert_eq!((job.state, job.attempt, job.interruptions), (JobState::Queued, 0, 0));
    let claim = inside.store.claimed.lock()[0];
    let late = Settlement { id: claim, by: Speaker::Server, end: End::Completed { result: None } };
    assert_eq!(inside.store.settle(vec![late]).await.unwrap(), [Err(ClaimLost)]);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_is_cut_off_has_ended_when_what_outlives_its_handler_has() {
    for (clears_for, ends) in [(Duration::from_millis(900), true), (Duration::from_millis(1_100), false)] {
        let (server, id) = one_runs(runs(move |context: JobContext| async move {
            let dropped = CancellationToken::new();
            let _cut_off = dropped.clone().drop_guard();
            context.spawn_outliving(async move {
                dropped.cancelled().await;
                tokio::time::sleep(clears_for).await;
            });
            std::future::pending().await
        }))
        .await;
        server.sender.advance(Phase::Cancelling);
        let Server { pool, inside } = server;
        let report = pool.hand_back(in_5_seconds(), REST).await;
        let named = if ends { &report.handed_back } else { &report.abandoned };
        assert_eq!(*named, [id], "{clears_for:?}: {report:?}");
        drop(inside);
    }
}

#[tokio::test(start_paused = true)]
async fn a_result_that_comes_with_the_hand_back_is_not_taken() {
    let (server, id) = one_runs(runs(|context: JobContext| async move {
        context.stopped().await;
        std::future::pending().await
    }))
    .await;
    let Server { pool, inside } = server;
    // The phase alone is enough: from now on no result counts.
    inside.sender.advance(Phase::Handback);
    let report = pool.hand_back(in_5_seconds(), REST).await;
    assert_eq!(report.handed_back, [id]);
    assert_eq!(inside.store.job(id).await.attempt, 0);
}

/// A runtime for handlers, as `main` gives the pool one.
struct HandlersRuntime(Option<tokio::runtime::Runtime>);

impl HandlersRuntime {
    fn new() -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        Self(Some(builder.worker_threads(1).enable_all().build().unwrap()))
    }

    fn handle(&self) -> tokio::runtime::Handle {
        self.0.as_ref().unwrap().handle().clone()
    }
}

impl Drop for HandlersRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

#[tokio::test]
async fn a_handler_that_blocks_its_thread_delays_the_hand_back_by_no_more_than_a_second() {
    let runtime = HandlersRuntime::new();
    let (begins, mut begun) = mpsc::channel(1);
    let (let_go, released) = std::sync::mpsc::sync_channel::<()>(0);
    let released = Arc::new(parking_lot::Mutex::new(released));
    let server = given(runs(move |_| {
        let (begins, released) = (begins.clone(), Arc::clone(&released));
        async move {
            begins.send(()).await.unwrap();
            let _ = released.lock().recv();
            done()
        }
    }))
    .handlers_on(runtime.handle())
    .start()
    .await;
    let id = server.submit(work()).await;
    begun.recv().await.unwrap();
    server.sender.advance(Phase::Cancelling);
    let Server { pool, inside } = server;
    let began = Instant::now();
    let report = pool.hand_back(began + Duration::from_secs(100), REST).await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(report, PoolReport { abandoned: vec![id], ..PoolReport::default() });
    let job = inside.store.job(id).await;
    assert_eq!((job.state, job.attempt), (JobState::Queued, 0));
    assert!(job.run_at.since(job.history[0].at) >= REST, "not before this process is gone");
    drop(let_go);
}

#[tokio::test]
async fn a_handler_that_blocks_its_thread_is_cancelled_all_the_same() {
    let runtime = HandlersRuntime::new();
    let (begins, mut begun) = mpsc::channel(1);
    let (let_go, released) = std::sync::mpsc::sync_channel::<()>(0);
    let released = Arc::new(parking_lot::Mutex::new(released));
    let server = given(runs(move |_| {
        let (begins, released) = (begins.clone(), Arc::clone(&released));
        async move {
            begins.send(()).await.unwrap();
            let _ = released.lock().recv();
            done()
        }
    }))
    .handlers_on(runtime.handle())
    .start()
    .await;
    let id = server.submit(work()).await;
    begun.recv().await.unwrap();
    server.store.cancel(id).await.unwrap();
    assert_eq!(server.ended(id).await.state, JobState::Cancelled);
    drop(let_go);
}

#[tokio::test(start_paused = true)]
async fn a_result_without_an_answer_is_stored_with_the_hand_back() {
    let inside = given(runs(|_| async { done() })).without_pool().await;
    inside.store.settles_fail.store(true, Ordering::Relaxed);
    let pool = inside.pool(1);
    let id = inside.submit(work()).await;
    inside.reaches(id, JobState::Processing).await;
    inside.sender.advance(Phase::Draining);
    let store = Arc::clone(&inside.store);
    let comes_back = async move {
        tokio::time::sleep(Duration::from_secs(2)).await;
        store.settles_fail.store(false, Ordering::Relaxed);
    };
    let (report, ()) = tokio::join!(pool.hand_back(in_5_seconds(), REST), comes_back);
    assert_eq!(report, PoolReport { finished: 1, ..PoolReport::default() });
    assert_eq!(inside.store.job(id).await.state, JobState::Completed);
}

#[tokio::test(start_paused = true)]
async fn a_hand_back_never_takes_longer_than_its_deadline() {
    let (server, stuck) = one_runs(runs(|_| std::future::pending())).await;
    server.store.settles_fail.store(true, Ordering::Relaxed);
    let Server { pool, inside } = server;
    let deadline = in_5_seconds();
    let report = pool.hand_back(deadline, REST).await;
    assert_eq!(Instant::now(), deadline);
    assert_eq!(report, PoolReport { unsettled: vec![stuck], ..PoolReport::default() });
    assert_eq!(inside.store.job(stuck).await.state, JobState::Processing);
}

#[tokio::test(start_paused = true)]
async fn a_claim_without_an_answer_does_not_stop_the_hand_back() {
    let inside = given(runs(|_| async { done() })).without_pool().await;
    inside.store.claims_hang.store(true, Ordering::Relaxed);
    let pool = inside.pool(1);
    tokio::task::yield_now().await;
    let began = Instant::now();
    assert_eq!(pool.hand_back(in_5_seconds(), REST).await, PoolReport::default());
    assert_eq!(began.elapsed(), Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_job_that_is_handed_back_is_cancelled() {
    let (server, id) = one_runs(runs(|_| std::future::pending())).await;
    server.store.cancel(id).await.unwrap();
    let Server { pool, inside } = server;
    let report = pool.hand_back(in_5_seconds(), REST).await;
    assert_eq!(report, PoolReport { finished: 1, ..PoolReport::default() });
    assert_eq!(inside.store.job(id).await.state, JobState::Cancelled);
}
