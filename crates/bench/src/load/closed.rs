use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::{Connection, Measured, Request, Tally, Target};
use crate::error::BenchError;
use crate::process::Usage;

/// How a closed loop runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Closed {
    /// So many connections, each of which sends its next request when it has its answer.
    pub(crate) connections: usize,
    /// What they do in this time is not counted.
    pub(crate) warm_up: Duration,
    /// The answers that come in this time are.
    pub(crate) measure: Duration,
}

/// Runs it; `expected` are the statuses that the scenario allows.
pub(crate) async fn run(
    target: Target,
    request: &Request,
    expected: &'static [u16],
    closed: Closed,
) -> Result<Measured, BenchError> {
    run_across(&[target], request, expected, closed).await
}

/// Runs it against all of these, the connections spread evenly.
pub(crate) async fn run_across(
    targets: &[Target],
    request: &Request,
    expected: &'static [u16],
    closed: Closed,
) -> Result<Measured, BenchError> {
    let addresses: Vec<_> = targets.iter().map(|target| target.address).collect();
    let failed = || BenchError::io(format!("a closed loop against {addresses:?}"));
    let mut open = Vec::with_capacity(closed.connections);
    for address in addresses.iter().cycle().take(closed.connections) {
        open.push(Connection::open(*address).await.map_err(failed())?);
    }
    let from = Instant::now() + closed.warm_up;
    let until = from + closed.measure;
    let tally = Arc::new(Mutex::new(Tally::default()));
    let mut loops = JoinSet::new();
    for connection in open {
        loops.spawn(send_until(connection, request.clone(), from, until, expected, Arc::clone(&tally)));
    }
    sleep_until(from).await;
    let (before, counted_from) = (usage_of(targets)?, Instant::now());
    sleep_until(until).await;
    let (after, time) = (usage_of(targets)?, counted_from.elapsed());
    while let Some(ended) = loops.join_next().await {
        ended.map_err(io::Error::other).and_then(|ended| ended).map_err(failed())?;
    }
    let tally = std::mem::take(&mut *tally.lock());
    // The processor time is of the moments looked at, the answers are of the moments planned; in between
    // lies at most a turn of this thread.
    let usage = after.since(before).scaled(closed.measure.as_secs_f64() / time.as_secs_f64());
    Ok(Measured { time: closed.measure, tally, usage, unanswered: 0 })
}

/// What the processes of all targets have used.
fn usage_of(targets: &[Target]) -> Result<Usage, BenchError> {
    targets.iter().map(|target| Usage::of(target.process)).sum()
}

async fn send_until(
    mut connection: Connection,
    mut request: Request,
    from: Instant,
    until: Instant,
    expected: &'static [u16],
    tally: Arc<Mutex<Tally>>,
) -> io::Result<()> {
    let mut sent = Instant::now();
    while sent < until {
        let status = connection.exchange(request.next()).await?;
        let answered = Instant::now();
        if !expected.contains(&status) {
            tally.lock().keep_odd(status, connection.body());
        }
        if answered >= from && answered < until {
            tally.lock().record(status, answered - sent);
        }
        sent = answered;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::bare;

    #[tokio::test]
    async fn a_closed_loop_counts_the_answers() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = Target { address: listener.local_addr().unwrap(), process: std::process::id() };
        let mut server = JoinSet::new();
        server.spawn(async { axum::serve(listener, bare::router()).await });
        let measure = Duration::from_millis(100);
        let closed = Closed { connections: 4, warm_up: Duration::from_millis(10), measure };
        let request = Request::post_keyed("/v1/jobs", r#"{"kind":"echo","payload":{}}"#);
        let found = run(target, &request, &[202], closed).await.unwrap();
        assert!(found.with_only("submits", &[202]).unwrap().rate(202) > 0.0);

        let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let targets = [target, Target { address: other.local_addr().unwrap(), ..target }];
        server.spawn(async { axum::serve(other, axum::Router::new()).await });
        let found = run_across(&targets, &request, &[202, 404], closed).await.unwrap();
        assert!(found.rate(202) > 0.0 && found.rate(404) > 0.0, "both are loaded");

        let refused = Request::post("/v1/jobs", r#"{"kind":"echo"}"#);
        let found = run(target, &refused, &[202], closed).await.unwrap();
        let error = found.with_only("submits", &[202]).unwrap_err().to_string();
        assert!(error.contains("422") && error.contains("payload"), "{error}");
    }
}
