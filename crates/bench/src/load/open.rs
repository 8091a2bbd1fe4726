use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, timeout};

use super::{Connection, Measured, Request, Tally, Target};
use crate::error::BenchError;
use crate::process::Usage;

/// How often the schedule is looked at, from a thread of its own: Tokio's timers round up to a millisecond.
const LOOK_EVERY: Duration = Duration::from_micros(100);
/// How long the answers of the last requests are waited for.
const GRACE: Duration = Duration::from_secs(10);

/// How an open loop runs: requests are due at fixed times, whatever the answers do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Open {
    /// Requests in a second.
    pub(crate) rate: f64,
    /// At most so many are on their way at once; one that is due while none is free waits, and its latency
    /// counts that.
    pub(crate) connections: usize,
    /// Answers to requests due in this time are not counted.
    pub(crate) warm_up: Duration,
    /// Answers to requests due in this time are.
    pub(crate) measure: Duration,
}

/// When each request is due.
#[derive(Debug, Clone, Copy)]
struct Schedule {
    begin: Instant,
    rate: f64,
    first_counted: u64,
    total: u64,
}

impl Schedule {
    fn new(begin: Instant, open: &Open) -> Self {
        let until = |time: Duration| (time.as_secs_f64() * open.rate).round() as u64;
        let (first_counted, total) = (until(open.warm_up), until(open.warm_up + open.measure));
        Self { begin, rate: open.rate, first_counted, total }
    }

    /// When a request is due.
    fn due(&self, number: u64) -> Instant {
        self.begin + Duration::from_secs_f64(number as f64 / self.rate)
    }

    /// How many requests are due by then.
    fn due_by(&self, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.begin).as_secs_f64();
        ((passed * self.rate) as u64 + 1).min(self.total)
    }
}

/// What the connections share.
struct Shared {
    schedule: Schedule,
    /// One permit for each request that is due and not yet taken by a connection.
    due: Semaphore,
    next: AtomicU64,
    tally: Mutex<Tally>,
    expected: &'static [u16],
}

/// Runs it; `expected` are the statuses that the scenario allows. A latency counts from the moment the
/// request was due, so that a server which makes the generator wait is not flattered by it.
pub(crate) async fn run(
    target: Target,
    request: &Request,
    expected: &'static [u16],
    open: Open,
) -> Result<Measured, BenchError> {
    let failed = || BenchError::io(format!("an open loop against {}", target.address));
    let mut connections = Vec::with_capacity(open.connections);
    for _ in 0..open.connections {
        connections.push(Connection::open(target.address).await.map_err(failed())?);
    }
    let schedule = Schedule::new(Instant::now(), &open);
    let shared = Arc::new(Shared {
        schedule,
        due: Semaphore::new(0),
        next: AtomicU64::new(0),
        tally: Mutex::default(),
        expected,
    });
    let mut loops = JoinSet::new();
    for connection in connections {
        loops.spawn(send_when_due(connection, request.clone(), Arc::clone(&shared)));
    }
    let releasing = Arc::clone(&shared);
    let released = spawn_blocking(move || release(&releasing, target.process)).await;
    let usage = released.map_err(io::Error::other).map_err(failed())??;
    // A permit beyond the last request tells a connection that there are no more.
    shared.due.add_permits(open.connections);
    let joined = async {
        while let Some(ended) = loops.join_next().await {
            ended.map_err(io::Error::other).and_then(|ended| ended)?;
        }
        Ok(())
    };
    // Answers that are still missing after the grace are counted as such.
    timeout(GRACE, joined).await.unwrap_or(Ok(())).map_err(failed())?;
    drop(loops);
    let tally = std::mem::take(&mut *shared.tally.lock());
    let unanswered = schedule.total - schedule.first_counted - tally.total();
    Ok(Measured { time: open.measure, tally, usage, unanswered })
}

/// Lets the requests go as they become due. Returns what the process used over the time that counts.
fn release(shared: &Shared, process: u32) -> Result<Usage, BenchError> {
    let schedule = &shared.schedule;
    let mut released = 0;
    let mut before = None;
    while released < schedule.total {
        let due = schedule.due_by(Instant::now());
        shared.due.add_permits((due - released) as usize);
        released = due;
        if before.is_none() && released > schedule.first_counted {
            before = Some(Usage::of(process)?);
        }
        std::thread::sleep(LOOK_EVERY);
    }
    let after = Usage::of(process)?;
    Ok(before.map_or_else(Usage::default, |before| after.since(before)))
}

async fn send_when_due(
    mut connection: Connection,
    mut request: Request,
    shared: Arc<Shared>,
) -> io::Result<()> {
    while let Ok(permit) = shared.due.acquire().await {
        permit.forget();
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        if number >= shared.schedule.total {
            break;
        }
        let status = connection.exchange(request.next()).await?;
        let mut tally = shared.tally.lock();
        if !shared.expected.contains(&status) {
            tally.keep_odd(status, connection.body());
        }
        if number >= shared.schedule.first_counted {
            tally.record(status, shared.schedule.due(number).elapsed());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::post;
    use tokio::net::TcpListener;
    use tokio::time::sleep;

    use super::*;

    const STALL: Duration = Duration::from_millis(300);

    /// The server answers its first request late and the rest at once. Only the first one's round trip is
    /// long, but half of the requests were due while the only connection was taken.
    #[tokio::test]
    async fn a_latency_counts_from_the_moment_the_request_was_due() {
        let first = Arc::new(AtomicU64::new(0));
        let stall = move || async move {
            if first.fetch_add(1, Ordering::Relaxed) == 0 {
                sleep(STALL).await;
            }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = Target { address: listener.local_addr().unwrap(), process: std::process::id() };
        let mut server = JoinSet::new();
        server.spawn(async { axum::serve(listener, Router::new().route("/", post(stall))).await });
        let open = Open { rate: 100.0, connections: 1, warm_up: Duration::ZERO, measure: STALL };
        let found = run(target, &Request::post("/", "{}"), &[200], open).await.unwrap();
        let tally = found.with_only("stalled", &[200]).unwrap().tally;
        assert_eq!(tally.count(200), 30);
        assert!(tally.latency(200, 0.5).unwrap() > STALL / 3, "{:?}", tally.latency(200, 0.5));
    }

    #[test]
    fn a_schedule_has_each_request_due_at_its_time() {
        let (warm_up, measure) = (Duration::from_secs(1), Duration::from_secs(2));
        let begin = Instant::now();
        let schedule = Schedule::new(begin, &Open { rate: 1_000.0, connections: 1, warm_up, measure });
        assert_eq!((schedule.first_counted, schedule.total), (1_000, 3_000));
        assert_eq!(schedule.due(0), begin);
        assert_eq!(schedule.due(1_500) - begin, Duration::from_millis(1_500));
        assert_eq!(schedule.due_by(begin), 1);
        assert_eq!(schedule.due_by(begin + Duration::from_micros(2_500)), 3);
        assert_eq!(schedule.due_by(begin + Duration::from_secs(60)), 3_000);
    }
}
