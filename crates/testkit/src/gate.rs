//! Where `http` and [`stubborn`](crate::stubborn) jobs of a test are delivered to: an endpoint in the test's own process that holds every
//! answer until the test lets it go. With it a test keeps jobs at a barrier, and counts how often each ran.

use std::future::IntoFuture;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value, json};
use steadfast_domain::JobId;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::eventually::eventually;

/// The endpoint. It serves while this lives.
#[derive(Debug)]
pub struct Gate {
    address: SocketAddr,
    shared: Arc<Shared>,
    _serving: JoinSet<std::io::Result<()>>,
}

#[derive(Debug)]
struct Shared {
    /// One permit lets one delivery through; closed, it lets everything through.
    passes: Semaphore,
    /// So many deliveries more are answered 503.
    refusals: AtomicUsize,
    deliveries: Mutex<Vec<Delivery>>,
}

/// One request that the gate got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The job it belongs to: `Steadfast-Job-Id`.
    pub job: JobId,
    /// Its attempt: `Steadfast-Attempt`.
    pub attempt: u32,
    /// What it says of its trace: `traceparent`.
    pub trace: Option<String>,
    /// Whether the same job was being delivered already when it came: a double run.
    pub overlaps: bool,
    /// Where it is.
    pub fate: Fate,
}

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The gate holds its answer.
    Held,
    /// It was answered 200, or 503 after [`Gate::refuse`].
    Answered,
    /// The server closed its connection while the gate held the answer.
    Abandoned,
}

impl Gate {
    /// A gate that holds every answer until [`let_pass`](Self::let_pass) or [`open`](Self::open).
    pub async fn closed() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let shared = Arc::new(Shared {
            passes: Semaphore::new(0),
            refusals: AtomicUsize::new(0),
            deliveries: Mutex::default(),
        });
        let router = Router::new().fallback(deliver).with_state(Arc::clone(&shared));
        let mut serving = JoinSet::new();
        serving.spawn(axum::serve(listener, router).into_future());
        Self { address, shared, _serving: serving }
    }

    /// The payload of an `http` job that is delivered here.
    pub fn payload(&self) -> Value {
        json!({ "url": format!("http://{}/deliver", self.address) })
    }

    /// The same for a job whose answer is held so much longer than the gate holds it.
    pub fn slow_payload(&self, time: Duration) -> Value {
        json!({ "url": format!("http://{}/deliver?ms={}", self.address, time.as_millis()) })
    }

    /// Answers `count` deliveries, held ones first.
    pub fn let_pass(&self, count: usize) {
        self.shared.passes.add_permits(count);
    }

    /// Answers everything, from now on at once.
    pub fn open(&self) {
        self.shared.passes.close();
    }

    /// Answers the next `count` deliveries 503, once they may pass.
    pub fn refuse(&self, count: usize) {
        self.shared.refusals.store(count, Ordering::Relaxed);
    }

    /// Every delivery so far, in the order of arrival.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.shared.deliveries.lock().clone()
    }

    /// Deliveries whose answer is held.
    pub fn held(&self) -> usize {
        self.shared.deliveries.lock().iter().filter(|delivery| delivery.fate == Fate::Held).count()
    }

    /// Waits until exactly `count` answers are held. After the death of a server none is, but the gate may hear of that
    /// a moment later, and the next server must not start before: its deliveries would overlap.
    pub async fn until_held(&self, count: usize) {
        let what = format!("{count} deliveries held at the gate");
        eventually(&what, || std::future::ready((self.held() == count).then_some(()))).await;
    }
}

async fn deliver(
    State(shared): State<Arc<Shared>>,
    Query(slow): Query<Slow>,
    headers: HeaderMap,
) -> StatusCode {
    let Some((job, attempt)) = identity(&headers) else { return StatusCode::BAD_REQUEST };
    let trace = headers.get("traceparent").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let mut arrived = Arrived::record(&shared, job, attempt, trace);
    tokio::time::sleep(Duration::from_millis(slow.ms)).await;
    if let Ok(pass) = shared.passes.acquire().await {
        pass.forget();
    }
    arrived.fate = Fate::Answered;
    let refused =
        shared.refusals.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
    if refused.is_ok() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }
}

/// What [`Gate::slow_payload`] asks for.
#[derive(Deserialize)]
struct Slow {
    #[serde(default)]
    ms: u64,
}

fn identity(headers: &HeaderMap) -> Option<(JobId, u32)> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    Some((text(JobId::HEADER)?.parse().ok()?, text("steadfast-attempt")?.parse().ok()?))
}

/// A delivery under way. The server's hanging up drops the future that owns it, which records that.
struct Arrived<'a> {
    shared: &'a Shared,
    index: usize,
    fate: Fate,
}

impl<'a> Arrived<'a> {
    fn record(shared: &'a Shared, job: JobId, attempt: u32, trace: Option<String>) -> Self {
        let mut deliveries = shared.deliveries.lock();
        let overlaps = deliveries.iter().any(|other| other.job == job && other.fate == Fate::Held);
        deliveries.push(Delivery { job, attempt, trace, overlaps, fate: Fate::Held });
        Self { shared, index: deliveries.len() - 1, fate: Fate::Abandoned }
    }
}

impl Drop for Arrived<'_> {
    fn drop(&mut self) {
        self.shared.deliveries.lock()[self.index].fate = self.fate;
    }
}
