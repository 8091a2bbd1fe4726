//! In which order jobs start when there is more work than places: due time plus penalty, then id.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use steadfast_domain::{Job, JobId, JobState, NewJob, Priority, Timestamp};
use steadfast_queue::JobContext;

use crate::given::{Server, done, given, runs, work};

/// How long every attempt takes.
const RUN: Duration = Duration::from_secs(5);
const LOW_PENALTY: Duration = Duration::from_secs(600);

/// What an attempt found at its start.
type Started = Arc<Mutex<Vec<Job>>>;

/// A server with so many places, whose jobs record their starts.
async fn server(places: usize) -> (Server, Started) {
    let started = Started::default();
    let seen = Arc::clone(&started);
    let handler = runs(move |context: JobContext| {
        seen.lock().push(context.job().clone());
        async {
            tokio::time::sleep(RUN).await;
            done()
        }
    });
    (given(handler).concurrency(places).start().await, started)
}

/// Submits `jobs` of them, one each `every`. The first comes a little late: no two things happen in one
/// millisecond, so that who was there first is never in doubt.
async fn trickle(server: &Server, priority: Priority, jobs: usize, every: Duration, late: Duration) {
    tokio::time::sleep(late).await;
    for _ in 0..jobs {
        server.submit(NewJob { priority, ..work() }).await;
        tokio::time::sleep(every).await;
    }
}

/// The rule, as it is written: what a job's place is, whoever computes it.
fn place(job: &Job) -> (Timestamp, JobId) {
    let penalty = match job.priority {
        Priority::Critical => Duration::ZERO,
        Priority::High => Duration::from_secs(30),
        Priority::Normal => Duration::from_secs(120),
        Priority::Low => LOW_PENALTY,
    };
    (job.run_at.plus(penalty), job.id)
}

/// Each start took, of all that was due and had not started, the job whose place is first.
fn assert_by_the_rule(started: &[Job]) {
    for (n, job) in started.iter().enumerate() {
        let due = started[n..].iter().filter(|other| other.run_at <= job.started_at.unwrap());
        let first = due.min_by_key(|job| place(job)).unwrap();
        assert_eq!(
            job.id, first.id,
            "start {n}: {:?} {}, not {:?} {}",
            job.priority, job.run_at, first.priority, first.run_at
        );
    }
}

fn wait(job: &Job) -> Duration {
    job.started_at.unwrap().since(job.run_at)
}

fn of(started: &[Job], priority: Priority) -> impl Iterator<Item = &Job> {
    started.iter().filter(move |job| job.priority == priority)
}

/// Every start, once all these jobs have ended.
async fn ended(server: &Server, started: &Started, jobs: usize) -> Vec<Job> {
    while server.counts().await.ended_as(JobState::Completed) < jobs as u64 {
        tokio::time::sleep(RUN).await;
    }
    started.lock().clone()
}

#[tokio::test(start_paused = true)]
async fn critical_jobs_pass_a_flood_of_low_ones_until_those_have_waited_ten_minutes() {
    const LOW: usize = 300;
    const CRITICAL: usize = 150;
    for places in [1, 3] {
        let (server, started) = server(places).await;
        // Together they are more than the places can run.
        let every = Duration::from_secs(7) / places as u32;
        tokio::join!(
            trickle(&server, Priority::Low, LOW * places, Duration::ZERO, Duration::ZERO),
            trickle(&server, Priority::Critical, CRITICAL * places, every, Duration::from_millis(1_003)),
        );
        let started = ended(&server, &started, (LOW + CRITICAL) * places).await;
        assert_by_the_rule(&started);
        let flooded_at = started[0].run_at;
        let (early, late): (Vec<_>, Vec<_>) =
            of(&started, Priority::Critical).partition(|job| job.run_at < flooded_at.plus(LOW_PENALTY));
        assert!(early.iter().all(|job| wait(job) <= RUN), "they wait for a place and for nothing else");
        // From then on the flood is before whatever comes: it is not starved.
        assert!(late.iter().any(|job| wait(job) > 10 * RUN));
        let last_low = of(&started, Priority::Low).last().unwrap().started_at.unwrap();
        assert!(late.iter().all(|job| job.run_at > last_low || job.started_at.unwrap() >= last_low));
    }
}

#[tokio::test(start_paused = true)]
async fn low_jobs_in_a_flood_of_critical_ones_start_in_their_turn() {
    const LOW: usize = 20;
    const CRITICAL: usize = 450;
    for places in [1, 3] {
        let (server, started) = server(places).await;
        // Critical jobs alone are a quarter more than the places can run, for half an hour.
        let every = Duration::from_secs(4) / places as u32;
        tokio::join!(
            trickle(&server, Priority::Critical, CRITICAL * places, every, Duration::ZERO),
            trickle(&server, Priority::Low, LOW, Duration::from_secs(31), Duration::from_millis(1_007)),
        );
        let started = ended(&server, &started, LOW + CRITICAL * places).await;
        assert_by_the_rule(&started);
        for low in of(&started, Priority::Low) {
            let before = started.iter().take_while(|job| job.id != low.id);
            let newest = before.map(|job| job.run_at).max().unwrap();
            assert!(
                newest.since(low.run_at) <= LOW_PENALTY,
                "passed by one that came {:?} later",
                newest.since(low.run_at)
            );
        }
    }
}
