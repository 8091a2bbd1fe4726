//! What may enter, what is refused, and what a refusal says.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use steadfast_domain::{InvalidField, JobId, NewJob, RawJson, Start, Timestamp, limits};
use steadfast_lifecycle::Phase;
use steadfast_queue::admission::{Outcome, QueueConfig, QueueMode, Why};
use steadfast_queue::metrics::OTHER;
use steadfast_queue::store::{
    Cancel, Durability, How, JobStore, QueueSpec, Refusal, StoreError, StoreLimits, SubmitError,
};
use steadfast_queue::{Admission, Failure, Finish, JobContext, JobHandler};
use tokio::time::Instant;

use crate::faulty_store::away;
use crate::given::{Given, done, given, json, kind, queue, runs, work, work_in};

/// Refuses the payload `"bad"` and panics over `"boom"`.
struct Picky;

#[async_trait]
impl JobHandler for Picky {
    fn check(&self, payload: &RawJson) -> Result<(), Vec<InvalidField>> {
        match payload.as_str() {
            "\"boom\"" => panic!("as the test wants it"),
            "\"bad\"" => Err(vec![InvalidField::new("#/payload", "must not be bad")]),
            _ => Ok(()),
        }
    }

    async fn run(&self, _context: JobContext) -> Result<Finish, Failure> {
        done()
    }
}

fn with_payload(text: &str) -> NewJob {
    NewJob { payload: json(text), ..work() }
}

async fn refused(admission: &Admission, job: NewJob) -> steadfast_queue::admission::Rejection {
    // The second of two, so that a fault has to name its place.
    let fine = NewJob { queue: job.queue.clone(), ..work() };
    let jobs = if job.queue == queue("default") { vec![fine, job] } else { vec![job] };
    admission.submit(jobs, None, ()).await.expect_err("refused")
}

#[tokio::test(start_paused = true)]
async fn a_fault_names_its_job_and_leaves_nothing_behind() {
    let inside = given(Picky).without_pool().await;
    let admission = inside.admission();
    let rejection = refused(&admission, with_payload("\"bad\"")).await;
    assert!(matches!(&rejection.why, Why::InvalidJob(faults, 1) if faults[0].pointer == "#/payload"));
    assert_eq!((rejection.outcome, rejection.retry_after), (Outcome::None, None));
    let unknown = NewJob { kind: kind("other"), ..work() };
    assert!(matches!(refused(&admission, unknown).await.why, Why::UnknownKind { index: 1, .. }));
    let large = with_payload(&format!("\"{}\"", "x".repeat(999)));
    let why = refused(&admission, large).await.why;
    assert!(matches!(why, Why::PayloadTooLarge { bytes: 1_001, bytes_max: 1_000, index: 1 }));
    assert!(matches!(refused(&admission, with_payload("\"boom\"")).await.why, Why::Internal));
    let why = refused(&admission, work_in("nowhere")).await.why;
    assert!(matches!(why, Why::Refused(Refusal::QueueNotFound { .. })));
    assert_eq!(inside.store.queues().await.unwrap()[0].live(), 0);
    assert_eq!(inside.metric("steadfast_jobs_refused_total", &["default", "invalid_job"]), 1.0);
    assert_eq!(inside.metric("steadfast_jobs_refused_total", &["other", "queue_not_found"]), 1.0);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_scheduled_more_than_366_days_ahead() {
    let inside = given(Picky).without_pool().await;
    let admission = inside.admission();
    let too_far = limits::SCHEDULE_AHEAD_MAX + Duration::from_secs(60);
    let now = inside.store.queues().await.unwrap()[0].now;
    let at = |time: Timestamp| NewJob { start: Start::At(time), ..work() };
    for (job, pointer) in [
        (at(now.plus(too_far)), "#/run_at"),
        (NewJob { start: Start::After(too_far), ..work() }, "#/delay_ms"),
        (NewJob { max_wait: Some(too_far), ..work() }, "#/max_wait_ms"),
    ] {
        let why = refused(&admission, job).await.why;
        assert!(matches!(&why, Why::InvalidJob(faults, 1) if faults[0].pointer == pointer), "{why:?}");
    }
    let furthest = NewJob { start: Start::After(limits::SCHEDULE_AHEAD_MAX), ..work() };
    admission.submit(vec![furthest, at(Timestamp::from_unix_ms(0))], None, ()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_pull_queue_accepts_its_kinds_unchecked() {
    let inside = given(Picky).queue("some", 1, None).queue("any", 1, None).without_pool().await;
    let pull = |name: &str, kinds| QueueConfig {
        spec: QueueSpec { name: queue(name), capacity_jobs: None, capacity_bytes: None },
        mode: QueueMode::Pull,
        kinds,
    };
    let admission = inside.admission_for(vec![pull("some", Some(vec![kind("mail")])), pull("any", None)]);
    let job = |queue_name, kind_name| NewJob { kind: kind(kind_name), ..work_in(queue_name) };
    admission.submit(vec![job("some", "mail"), job("any", "whatever")], None, ()).await.unwrap();
    let why = admission.submit(vec![job("some", "work")], None, ()).await.unwrap_err().why;
    assert!(matches!(why, Why::UnknownKind { .. }));
    assert_eq!(admission.kind_label(&kind("mail")), "mail");
    assert_eq!(admission.kind_label(&kind("whatever")), OTHER);
}

#[tokio::test(start_paused = true)]
async fn each_phase_admits_what_the_table_says() {
    let mut inside = given(Picky).without_pool().await;
    let (starting, phases) = steadfast_lifecycle::phases();
    inside.phases = phases;
    let admission = inside.admission();
    let any = JobId::from_u128(1);
    let rejection = admission.submit(vec![work()], None, ()).await.unwrap_err();
    assert!(matches!(rejection.why, Why::Starting) && rejection.retry_after.is_some());
    assert!(matches!(admission.cancel(any, ()).await.unwrap_err().why, Why::Starting));
    for phase in [Phase::Ready, Phase::LameDuck] {
        starting.advance(phase);
        let submitted = admission.submit(vec![work()], None, ()).await.unwrap();
        assert_eq!(submitted[0].how, How::Accepted);
    }
    let left = Duration::from_secs(20);
    inside.drain_ends.send_replace(Some(Instant::now() + left));
    for phase in [Phase::Draining, Phase::Cancelling, Phase::Handback] {
        starting.advance(phase);
        let rejection = admission.submit(vec![work()], None, ()).await.unwrap_err();
        assert!(matches!(rejection.why, Why::ShuttingDown(now) if now == phase));
        let after = rejection.retry_after.unwrap().as_secs_f64();
        assert!((0.8 * 21.0..=1.2 * 21.0).contains(&after), "{after}");
        assert!(matches!(admission.reopen(any, ()).await.unwrap_err().why, Why::ShuttingDown(_)));
        assert_eq!(admission.cancel(any, ()).await.unwrap(), Cancel::NotFound);
        admission.pause(&queue("default"), true, ()).await.unwrap();
    }
    inside.drain_ends.send_replace(None);
    let after = admission.submit(vec![work()], None, ()).await.unwrap_err().retry_after.unwrap();
    assert!(after <= Duration::from_millis(1_200), "another replica takes it: {after:?}");
    assert_eq!(admission.durability(), Durability::Memory);
}

fn with_capacity(jobs: u64) -> Given {
    let given = given(runs(|_| async { done() }));
    Given { limits: StoreLimits { capacity_jobs: jobs, ..StoreLimits::default() }, ..given }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixty_submits_into_seven_places() {
    let inside = with_capacity(7).without_pool().await;
    let admission = Arc::new(inside.admission());
    let began = Instant::now();
    let answers = join_all((0..60).map(|_| {
        let admission = Arc::clone(&admission);
        tokio::runtime::Handle::current().spawn(async move { admission.submit(vec![work()], None, ()).await })
    }))
    .await;
    // As long as the refusals have gone on, at least a second, and spread by a fifth.
    let longest = began.elapsed().max(Duration::from_secs(1)).mul_f64(1.2);
    let (accepted, refused): (Vec<_>, Vec<_>) =
        answers.into_iter().map(Result::unwrap).partition(Result::is_ok);
    assert_eq!((accepted.len(), refused.len()), (7, 53));
    for rejection in refused.into_iter().filter_map(Result::err) {
        assert_eq!(rejection.why.code(), "queue_full");
        assert_eq!(rejection.outcome, Outcome::None);
        let after = rejection.retry_after.unwrap();
        assert!((Duration::from_millis(800)..=longest).contains(&after), "{after:?}");
    }
    assert_eq!(inside.store.queues().await.unwrap()[0].live(), 7);
}

/// What a refused submission is told, in seconds, without its jitter's bounds being crossed.
async fn told(admission: &Admission) -> f64 {
    let rejection = admission.submit(vec![work()], None, ()).await.unwrap_err();
    rejection.retry_after.unwrap().as_secs_f64()
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_tells_when_a_tenth_of_it_will_be_free() {
    let inside = with_capacity(100).without_pool().await;
    let admission = inside.admission();
    admission.submit(vec![work(); 100], None, ()).await.unwrap();
    // 4 jobs a second: 10 places take 2.5 s.
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_millis(250)).await;
        inside.settle_rates.settled(&queue("default"), 2);
    }
    for _ in 0..50 {
        let after = told(&admission).await;
        assert!((0.75 * 2.5..=1.25 * 2.5).contains(&after), "{after}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_is_full_by_its_own_capacity_is_measured_alone() {
    let inside = given(runs(|_| async { done() })).queue("small", 1, None).without_pool().await;
    let spec = QueueSpec { name: queue("small"), capacity_jobs: None, capacity_bytes: Some(100) };
    inside.store.declare(std::slice::from_ref(&spec)).await.unwrap();
    let small = QueueConfig { spec, mode: QueueMode::Push, kinds: None };
    let admission = inside.admission_for(vec![small]);
    let job = NewJob { payload: json(&format!("\"{}\"", "x".repeat(48))), ..work_in("small") };
    admission.submit(vec![job.clone(), job.clone()], None, ()).await.unwrap();
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_millis(250)).await;
        inside.settle_rates.settled(&queue("default"), 1_000_000);
        inside.settle_rates.settled(&queue("small"), 1);
    }
    // 4 bytes a second: 10 of them take 2.5 s, however fast the other queue is.
    let rejection = admission.submit(vec![job], None, ()).await.unwrap_err();
    assert_eq!(rejection.why.code(), "queue_bytes_full");
    let after = rejection.retry_after.unwrap().as_secs_f64();
    assert!((0.75 * 2.5..=1.25 * 2.5).contains(&after), "{after}");
}

#[tokio::test(start_paused = true)]
async fn at_an_unknown_rate_the_wait_doubles_for_whoever_follows_it() {
    let inside = with_capacity(1).without_pool().await;
    let admission = inside.admission();
    let id = admission.submit(vec![work()], None, ()).await.unwrap()[0].job.id;
    let mut wait = told(&admission).await;
    for least in [0.8, 0.8, 1.4, 2.5, 4.5, 8.0, 14.0] {
        tokio::time::sleep(Duration::from_secs_f64(wait)).await;
        wait = told(&admission).await;
        assert!(wait >= least && wait <= 60.0, "{wait} {least}");
    }
    // Once there was room, it begins anew.
    admission.cancel(id, ()).await.unwrap();
    admission.submit(vec![work()], None, ()).await.unwrap();
    assert!(told(&admission).await <= 1.2);
}

#[tokio::test(start_paused = true)]
async fn doubt_is_said_exactly_where_there_is_doubt() {
    let inside = given(Picky).without_pool().await;
    let admission = inside.admission();
    let unknown = || StoreError::Unknown { ids: vec![JobId::from_u128(1)] };
    let cases: [(SubmitError, &str, Outcome, bool); 7] = [
        (away().into(), "store_unavailable", Outcome::None, true),
        (StoreError::Full.into(), "store_full", Outcome::None, true),
        (StoreError::TimedOut.into(), "timed_out", Outcome::None, true),
        (unknown().into(), "store_unavailable", Outcome::Unknown, true),
        (StoreError::Closed.into(), "store_unavailable", Outcome::None, true),
        (Refusal::KeyInFlight.into(), "idempotency_in_flight", Outcome::Unknown, false),
        (Refusal::KeyMismatch.into(), "idempotency_mismatch", Outcome::None, false),
    ];
    for (error, code, outcome, comes_back) in cases {
        *inside.store.submit_error.lock() = Some(error);
        let rejection = admission.submit(vec![work()], None, ()).await.unwrap_err();
        assert_eq!((rejection.why.code(), rejection.outcome), (code, outcome));
        assert_eq!(rejection.retry_after.is_some(), comes_back, "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_submission_that_outlasts_its_time_is_in_doubt_and_goes_on() {
    let inside = given(Picky).without_pool().await;
    let admission = inside.admission();
    inside.store.holds_answers.send_replace(true);
    let began = Instant::now();
    let rejection = admission.submit(vec![work()], None, ()).await.unwrap_err();
    assert_eq!((rejection.why.code(), rejection.outcome), ("timed_out", Outcome::Unknown));
    assert_eq!(began.elapsed().as_secs(), 31);
    assert_eq!(inside.mutations.count(), 1, "a drain waits for it");
    inside.store.holds_answers.send_replace(false);
    inside.mutations.idle().await;
    assert_eq!(inside.counts().await.submitted, 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_cancels_nothing() {
    let inside = given(Picky).without_pool().await;
    let admission = inside.admission();
    inside.store.holds_submits.send_replace(true);
    {
        let mut submit = Box::pin(admission.submit(vec![work()], None, ()));
        assert!(crate::given::is_pending(submit.as_mut()).await);
    }
    // What passed admission before the drain is still accepted.
    inside.sender.advance(Phase::Draining);
    inside.store.holds_submits.send_replace(false);
    inside.mutations.idle().await;
    assert_eq!(inside.store.queues().await.unwrap()[0].live(), 1);
    assert_eq!(inside.counts().await.submitted, 1);
}
