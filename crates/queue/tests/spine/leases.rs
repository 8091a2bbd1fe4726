//! Claims that can lapse.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use steadfast_domain::JobState;
use steadfast_queue::{JobContext, StopReason};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::given::{Server, done, given, runs, work};

const LEASE: Duration = Duration::from_secs(6);

/// A server whose store's claims lapse after 6 s.
async fn leased<H: steadfast_queue::JobHandler>(handler: H) -> Server {
    let inside = given(handler).lease(LEASE).without_pool().await;
    *inside.store.lease.lock() = Some(LEASE);
    Server { pool: inside.pool(1), inside }
}

#[tokio::test(start_paused = true)]
async fn a_claim_is_renewed_when_a_third_of_it_has_passed() {
    let server = leased(runs(|context: JobContext| async move {
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(context.stop_reason(), None);
        done()
    }))
    .await;
    assert_eq!(server.ended(server.submit(work()).await).await.state, JobState::Completed);
    let renewals = server.store.renewals.lock();
    assert!((10..=15).contains(&renewals.len()), "{renewals:?}");
    for pair in renewals.windows(2) {
        assert!((LEASE / 3..=LEASE / 2).contains(&(pair[1] - pair[0])), "{renewals:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_cannot_renew_stops_before_its_claim_lapses() {
    let (stops, mut stopped) = mpsc::channel(1);
    let server = leased(runs(move |context: JobContext| {
        let stops = stops.clone();
        async move {
            let began = Instant::now();
            stops.send((context.stopped().await, began.elapsed())).await.unwrap();
            done()
        }
    }))
    .await;
    server.store.renewals_fail.store(true, Ordering::Relaxed);
    let id = server.submit(work()).await;
    let (reason, after) = stopped.recv().await.unwrap();
    assert_eq!(reason, StopReason::LeaseLost);
    assert!(LEASE.mul_f64(0.9) <= after && after < LEASE, "{after:?}");
    // Its result counted for nothing: the attempt was refunded, and another one ran.
    stopped.recv().await.unwrap();
    let job = server.store.job(id).await;
    assert_eq!((job.state, job.attempt, job.interruptions), (JobState::Processing, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_does_not_hear_is_cut_off_before_its_claim_lapses() {
    let (ends, mut ended) = mpsc::channel(1);
    let server = leased(runs(move |_| {
        let end = SaysWhenDropped { ends: ends.clone(), began: Instant::now() };
        async move {
            let _end = end;
            std::future::pending().await
        }
    }))
    .await;
    server.store.renewals_fail.store(true, Ordering::Relaxed);
    server.submit(work()).await;
    let after = ended.recv().await.unwrap();
    assert!(LEASE.mul_f64(0.9) <= after && after <= LEASE, "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_comes_too_late_is_given_back_and_not_begun() {
    let began = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&began);
    let server = leased(runs(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        async { done() }
    }))
    .await;
    *server.store.claims_take.lock() = LEASE.mul_f64(0.95);
    let id = server.submit(work()).await;
    while server.store.claimed.lock().len() < 3 {
        tokio::time::sleep(LEASE / 10).await;
        assert_eq!(began.load(Ordering::Relaxed), 0);
    }
    *server.store.claims_take.lock() = Duration::ZERO;
    let job = server.ended(id).await;
    assert_eq!((job.state, job.attempt, began.load(Ordering::Relaxed)), (JobState::Completed, 1, 1));
}

/// Sends how long it lived.
struct SaysWhenDropped {
    ends: mpsc::Sender<Duration>,
    began: Instant,
}

impl Drop for SaysWhenDropped {
    fn drop(&mut self) {
        // Nobody listens any more once the test is over.
        let _ = self.ends.try_send(self.began.elapsed());
    }
}
