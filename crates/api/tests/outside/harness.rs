//! A server's outside for one test: `given_outside().config(..).start()`, then requests over sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use steadfast_api::{Access, App, Config, Connections, Listener, Services};
use steadfast_domain::{BootId, InvalidField, JobId, KindName, QueueName, RawJson};
use steadfast_lifecycle::{DrainRequests, Phase, PhaseSender, Tasks, drain_channel, phases};
use steadfast_queue::admission::{AdmissionConfig, JobRates, QueueConfig, QueueMode, SettleRates};
use steadfast_queue::handler::{Failure, Finish, Handlers, JobContext, JobHandler};
use steadfast_queue::lease_desk::LeaseDeskConfig;
use steadfast_queue::metrics::{AdmissionMetrics, PoolMetrics};
use steadfast_queue::spans::Tracer;
use steadfast_queue::store::{
    ClaimRequest, Claimed, End, JobStore, Owner, QueueSpec, Settlement, Speaker, StoreLimits, Want,
};
use steadfast_queue::{Admission, EventHub, LeaseDesk, MemoryStore};
use steadfast_testkit::raw::{RawAnswer, RawConnection};
use steadfast_testkit::{PATIENCE, eventually};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::conformance;
use crate::faulty_store::FaultyStore;
use crate::tls::Secured;

/// What a test sets before the server starts.
pub(crate) struct Given {
    config: Config,
    access: Access,
    limits: StoreLimits,
    queue_capacity: (Option<u64>, Option<u64>),
    listener: Option<Listener>,
    secured: Option<Secured>,
}

/// A running outside. No worker pool: jobs end when a test settles them.
pub(crate) struct Outside {
    pub(crate) address: SocketAddr,
    pub(crate) app: Arc<App>,
    pub(crate) store: Arc<FaultyStore>,
    pub(crate) phase: PhaseSender,
    pub(crate) connections: Connections,
    pub(crate) drains: DrainRequests,
    pub(crate) hub: Arc<EventHub>,
    services: Option<Services>,
    secured: Option<Secured>,
    _background: JoinSet<()>,
}

/// The pull queue, which takes every kind.
pub(crate) const PULL: &str = "pull";

/// Defaults, with a `default` queue that takes the kind `plain`, and the pull queue.
pub(crate) fn given_outside() -> Given {
    Given {
        config: Config::default(),
        access: Access::default(),
        limits: StoreLimits::default(),
        queue_capacity: (None, None),
        listener: None,
        secured: None,
    }
}

/// Accepts every payload but objects with a member `bad`.
struct Plain;

#[async_trait]
impl JobHandler for Plain {
    fn check(&self, payload: &RawJson) -> Result<(), Vec<InvalidField>> {
        match payload.as_str().contains("\"bad\"") {
            true => Err(vec![InvalidField::new("#/payload/bad", "is not allowed")]),
            false => Ok(()),
        }
    }

    async fn run(&self, _: JobContext) -> Result<Finish, Failure> {
        unreachable!("no pool runs here")
    }
}

impl Given {
    pub(crate) fn config(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// Where it accepts connections, in place of a port of its own.
    pub(crate) fn listener(mut self, listener: Listener) -> Self {
        self.listener = Some(listener);
        self
    }

    /// Only for those with tokens. A test changes them by the `access` it keeps.
    pub(crate) fn access(self, access: &Access) -> Self {
        Self { access: access.clone(), ..self }
    }

    /// Jobs the queue `default` holds, and bytes of their payloads.
    pub(crate) fn capacity(mut self, jobs: u64, bytes: u64) -> Self {
        self.queue_capacity = (Some(jobs), Some(bytes));
        self
    }

    /// A server that speaks TLS; its clients do, too.
    pub(crate) fn secured(self, secured: Secured) -> Self {
        Self { secured: Some(secured), ..self }
    }

    /// A server whose store is not open yet.
    pub(crate) async fn start_unattached(self) -> Outside {
        let listener = match self.listener {
            Some(listener) => listener,
            None => Listener::Bound(TcpListener::bind("127.0.0.1:0").await.unwrap()),
        };
        let (phase, phases) = phases();
        let (drain, drains) = drain_channel();
        let registry = prometheus::Registry::new();
        let metrics = AdmissionMetrics::register(&registry).unwrap();
        let pool_metrics = PoolMetrics::register(&registry).unwrap();
        let payload_bytes_max = self.config.payload_bytes_max;
        let request_timeout = self.config.request_timeout;
        let app = App::new(self.config, self.access, phases.clone(), drain, registry).unwrap();

        let store = Arc::new(FaultyStore::new(MemoryStore::new(self.limits)));
        let spec = QueueSpec {
            name: QueueName::default_queue(),
            capacity_jobs: self.queue_capacity.0,
            capacity_bytes: self.queue_capacity.1,
        };
        let pull = QueueName::new(PULL).unwrap();
        let pull_spec = QueueSpec { name: pull.clone(), capacity_jobs: None, capacity_bytes: None };
        store.declare(&[spec.clone(), pull_spec.clone()]).await.unwrap();
        let shared: Arc<dyn JobStore> = Arc::clone(&store) as _;
        let (_, drain_ends) = watch::channel(None);
        let settle_rates = Arc::new(SettleRates::new());
        let config = AdmissionConfig {
            payload_bytes_max,
            request_timeout,
            queues: vec![
                QueueConfig { spec, mode: QueueMode::Push, kinds: None },
                QueueConfig { spec: pull_spec, mode: QueueMode::Pull, kinds: None },
            ],
            settle_rates: Arc::clone(&settle_rates),
            job_rates: Arc::new(JobRates::new([QueueName::default_queue(), pull])),
            drain_ends,
        };
        let handlers = Handlers::new().with(KindName::new("plain").unwrap(), Plain);
        let admission =
            Admission::new(config, Arc::clone(&shared), handlers, phases.clone(), Tasks::new(), metrics);
        let hub = EventHub::new(Arc::clone(&shared));
        let admission = Arc::new(admission);
        let config = LeaseDeskConfig { payload_bytes_max, settle_rates, tracer: Tracer::default() };
        let desk = LeaseDesk::new(config, Arc::clone(&admission), Arc::clone(&hub), pool_metrics);
        let mut background = JoinSet::new();
        background.spawn(Arc::clone(&hub).run(phases.clone()));
        background.spawn(Arc::clone(&desk).run(phases));
        let connections = Connections::serve(
            listener,
            Arc::clone(&app),
            self.secured.as_ref().map(|secured| Arc::clone(&secured.tls)),
        );
        Outside {
            address: connections.local_addr().unwrap(),
            app,
            store,
            phase,
            connections,
            drains,
            hub: Arc::clone(&hub),
            services: Some(Services { admission, store: shared, desk, hub }),
            secured: self.secured,
            _background: background,
        }
    }

    /// A server that is ready.
    pub(crate) async fn start(self) -> Outside {
        let mut outside = self.start_unattached().await;
        outside.attach();
        outside
    }
}

impl Outside {
    /// Its TLS.
    pub(crate) fn secured(&self) -> &Secured {
        self.secured.as_ref().unwrap()
    }

    /// Opens the store and is ready.
    pub(crate) fn attach(&mut self) {
        self.app.attach(self.services.take().unwrap());
        self.phase.advance(Phase::Ready);
    }

    pub(crate) async fn connect(&self) -> RawConnection {
        match &self.secured {
            None => RawConnection::open(self.address).await.unwrap(),
            Some(secured) => RawConnection::open_tls(self.address, &secured.client).await.unwrap(),
        }
    }

    /// Sends these bytes on a connection of their own, and reads the answer.
    pub(crate) async fn send(&self, request: &[u8]) -> RawAnswer {
        let mut connection = self.connect().await;
        connection.send(request).await.unwrap();
        connection.answer().await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> RawAnswer {
        self.request("GET", path, &[], "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> RawAnswer {
        self.request("POST", path, &[("Content-Type", "application/json")], body).await
    }

    /// Sends a request, and holds the answer against the OpenAPI document.
    pub(crate) async fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> RawAnswer {
        let answer = self.send(&request(method, path, headers, body.as_bytes())).await;
        conformance::check(method, path, &answer);
        answer
    }

    /// Submits a plain job and returns its id.
    pub(crate) async fn submitted(&self) -> JobId {
        let answer = self.post("/v1/jobs", r#"{"kind":"plain"}"#).await;
        assert_eq!(answer.status, 202, "{:?}", answer.json());
        id_of(&answer)
    }

    /// Claims the next job, as a pool would.
    pub(crate) async fn claim(&self) -> Claimed {
        let want = Want { queue: QueueName::default_queue(), kinds: None, share: 1 };
        let owner = Owner::Process(BootId::from_random(1));
        let request = ClaimRequest { owner, wants: vec![want], max: 1, lease: Duration::from_secs(30) };
        self.store.inner.claim(request).await.unwrap().pop().unwrap()
    }

    /// Claims the next job and completes it.
    pub(crate) async fn complete_next(&self) {
        let claimed = self.claim().await;
        self.settle(&claimed, End::Completed { result: Some(RawJson::parse("7").unwrap()) }).await;
    }

    pub(crate) async fn settle(&self, claimed: &Claimed, end: End) {
        let settled = self
            .store
            .inner
            .settle(vec![Settlement { id: claimed.id, by: Speaker::Server, end }])
            .await
            .unwrap();
        settled[0].unwrap();
    }

    /// Waits until so many requests are in work or held, the asking one not counted.
    pub(crate) async fn in_flight(&self, wanted: usize) {
        self.metric_is("steadfast_http_requests_in_flight", &(wanted + 1).to_string()).await;
    }

    /// Waits until a metric without labels has this value.
    pub(crate) async fn metric_is(&self, name: &str, wanted: &str) {
        let line = format!("{name} {wanted}");
        eventually(&line, || async {
            let answer = self.get("/metrics").await;
            let text = String::from_utf8(answer.body).unwrap();
            text.lines().any(|found| found == line).then_some(())
        })
        .await;
    }
}

/// The clock stands still while this lives: no time runs out for whoever has a slow machine.
pub(crate) struct Standstill {
    _ends: SyncSender<()>,
}

impl Standstill {
    /// On a runtime of one thread.
    pub(crate) fn begin() -> Self {
        let (ends, ended) = sync_channel::<()>(0);
        tokio::time::pause();
        // While a blocking task runs, a clock that is paused does not go on by itself. A test that hangs is not to
        // hang for ever.
        tokio::task::spawn_blocking(move || _ = ended.recv_timeout(PATIENCE));
        Self { _ends: ends }
    }
}

impl Drop for Standstill {
    fn drop(&mut self) {
        tokio::time::resume();
    }
}

/// An HTTP/1.1 request that keeps the connection.
pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    [head.as_bytes(), body].concat()
}

/// The id of the job an answer shows.
pub(crate) fn id_of(answer: &RawAnswer) -> JobId {
    answer.json()["id"].as_str().unwrap().parse().unwrap()
}

/// Checks that an answer is a whole problem document of this code, and returns it.
#[track_caller]
pub(crate) fn problem(answer: &RawAnswer, code: &str) -> Value {
    let problem = answer.json();
    assert_eq!(problem["code"], code, "{} {problem}", answer.status);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert_eq!(problem["type"], format!("/problems/{code}"));
    assert_eq!(problem["status"], answer.status);
    let known = steadfast_wire::ErrorCode::parse(code).unwrap();
    assert_eq!(problem["title"], known.title());
    assert_eq!(answer.status, known.status());
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{problem}");
    assert!(problem["retryable"].is_boolean());
    let trace = problem["trace_id"].as_str().unwrap();
    assert!(trace.len() == 32 && trace.bytes().all(|b| b.is_ascii_hexdigit()), "{trace}");
    if matches!(answer.status, 429 | 503) {
        let ms = problem["retry_after_ms"].as_u64().unwrap();
        assert!((50..=60_000).contains(&ms), "{ms}");
        assert_eq!(answer.header("retry-after"), Some(ms.div_ceil(1_000).to_string().as_str()));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
    problem
}
