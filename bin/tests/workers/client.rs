//! The worker of the client library against a real server: ends of attempts, stops, lost leases, a server that is away.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use steadfast_client::worker::{Attempt, Failure, Finish, Stop, WorkError, WorkReport, Worker, WorkerConfig};
use steadfast_client::{Client, SubmitOptions};
use steadfast_domain::{JobId, JobState, RawJson, TraceParent};
use steadfast_testkit::eventually;
use steadfast_testkit::ports::free_port;
use steadfast_testkit::proxy::{Cut, Proxy};
use steadfast_wire::{JobDocument, RetryRequest, SubmitRequest};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::given::{given_server_without_workers, metrics};

/// Nobody who lives loses it, however busy the machine is.
const LEASE: Duration = Duration::from_secs(30);
/// Where a test waits until one is renewed, after a third of it, or is over.
const SHORT_LEASE: Duration = Duration::from_secs(6);
/// A tenth of it is between the end of an attempt and that of its lease: more than a busy machine takes.
const CUT_OFF_LEASE: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn each_end_of_an_attempt_is_told_to_the_server() {
    let server = given_server_without_workers().start().await;
    let client = server.client();
    let worker =
        Running::start(&client, config(8), async |attempt: Attempt| match attempt.payload::<Value>()?["how"]
            .as_str()
        {
            Some("well") => Ok(Finish::Completed(Some(encode(&json!({"sum": 7}))))),
            Some("too much") => Ok(Finish::Completed(Some(encode(&json!("x".repeat(70_000)))))),
            Some("badly") => Err(Failure::permanent("bad", "never again")),
            Some("for now") => Err(Failure::retryable("busy", "later")),
            Some("on the way") if attempt.last_checkpoint().is_none() => {
                Ok(Finish::Yield { checkpoint: Some(encode(&json!({"half": true}))) })
            }
            Some("on the way") => Ok(Finish::Completed(attempt.last_checkpoint().cloned())),
            _ => panic!("it is caught"),
        });
    let ended = async |how: &str| {
        let job = submit(&client, json!({"how": how})).await;
        let job = client.job_when_ended(job, Duration::from_secs(30)).await.expect("it ends");
        let said = job.errors.last().map_or_else(String::new, |error| error.code.clone());
        let result = job.result.filter(|_| job.state == JobState::Completed);
        (job.state, job.attempt, result.map_or(said, |result| result.as_str().to_owned()))
    };
    let text = str::to_owned;
    assert_eq!(ended("well").await, (JobState::Completed, 1, text(r#"{"sum":7}"#)));
    assert_eq!(ended("too much").await, (JobState::Dead, 1, text("result_too_large")));
    assert_eq!(ended("badly").await, (JobState::Dead, 1, text("bad")));
    assert_eq!(ended("for now").await, (JobState::Dead, 2, text("busy")));
    assert_eq!(ended("on the way").await, (JobState::Completed, 1, text(r#"{"half":true}"#)));
    assert_eq!(ended("by a panic").await, (JobState::Dead, 2, text("panic")));

    let report = worker.stop().await.expect("it was asked to");
    assert_eq!(report, WorkReport { completed: 2, failed: 6, released: 1, lost: 0 });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_reaches_the_attempt_with_a_heartbeat() {
    let server = given_server_without_workers().start().await;
    let client = server.client();
    let short = WorkerConfig { lease: SHORT_LEASE, ..config(1) };
    let worker = Running::start(&client, short, async |attempt: Attempt| {
        assert_eq!(attempt.stopped().await, Stop::Cancelled);
        Ok(Finish::Yield { checkpoint: None })
    });
    let job = submit(&client, json!({})).await;
    until_state(&client, job, JobState::Processing).await;
    let answered = client.cancel(job).await.expect("it may be");
    // A heartbeat may come before the answer does.
    assert!(answered.cancel_requested || answered.state == JobState::Cancelled, "{answered:?}");
    until_state(&client, job, JobState::Cancelled).await;
    assert_eq!(worker.stop().await.expect("it was asked to").released, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_goes_from_the_submit_to_the_attempt() {
    let server = given_server_without_workers().start().await;
    let client = server.client();
    let (told, mut traces) = mpsc::channel(2);
    let worker = Running::start(&client, config(1), move |attempt: Attempt| {
        told.try_send(attempt.trace_parent().cloned()).expect("the test waits");
        async { Ok(Finish::Completed(None)) }
    });
    let trace_parent = TraceParent::from_ids(7, 8);
    for trace_parent in [Some(trace_parent.clone()), None] {
        let options = SubmitOptions { trace_parent, ..SubmitOptions::default() };
        client.submit(&request(json!({}), 1), &options).await.expect("room");
    }
    let told = traces.recv().await.flatten().expect("it is part of a trace");
    assert_eq!(told.trace_id(), trace_parent.trace_id());
    assert_eq!(traces.recv().await, Some(None), "its client named none");
    worker.stop().await.expect("it was asked to");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_runs_out_of_its_time_fails() {
    let server = given_server_without_workers().start().await;
    let client = server.client();
    let worker = Running::start(&client, config(1), async |attempt: Attempt| {
        assert_eq!(attempt.stopped().await, Stop::Timeout);
        Ok(Finish::Yield { checkpoint: Some(encode(&json!("so far"))) })
    });
    let request = SubmitRequest { timeout_ms: Some(100), ..request(json!({}), 1) };
    let job = client.submit(&request, &SubmitOptions::default()).await.expect("room").job.id;
    let job = until_state(&client, job, JobState::Dead).await;
    assert_eq!(job.errors[0].code, "timeout");
    assert_eq!(job.checkpoint, Some(encode(&json!("so far"))));
    assert_eq!(worker.stop().await.expect("it was asked to").failed, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_is_seen_and_a_checkpoint_outlives_the_worker() {
    let server = given_server_without_workers().start().await;
    let client = server.client();
    let (stored, mut is_stored) = mpsc::channel(1);
    let short = WorkerConfig { lease: SHORT_LEASE, ..config(1) };
    let first = Running::start(&client, short, move |attempt: Attempt| {
        let stored = stored.clone();
        async move {
            attempt.progress(encode(&json!({"done": 1}))).expect("it is small");
            attempt.checkpoint(encode(&json!({"next": 2}))).await.expect("the lease holds");
            stored.send(()).await.expect("the test waits");
            std::future::pending().await
        }
    });
    let job = submit(&client, json!({})).await;
    is_stored.recv().await.expect("it is stored");
    eventually("its progress is seen", async || {
        let job = client.job(job).await.ok()?;
        (job.progress? == encode(&json!({"done": 1}))).then_some(())
    })
    .await;
    first.die().await;

    let second = Running::start(&client, config(1), async |attempt: Attempt| {
        Ok(Finish::Completed(attempt.last_checkpoint().cloned()))
    });
    let job = until_state(&client, job, JobState::Completed).await;
    assert_eq!((job.result, job.interruptions), (Some(encode(&json!({"next": 2}))), 1));
    second.stop().await.expect("it was asked to");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_then_tells_then_cuts_and_hands_back() {
    let server = given_server_without_workers().start().await;
    let client = server.client();
    let go_on = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&go_on);
    let short = Duration::from_secs(3);
    let config = WorkerConfig { graceful_timeout: short, cancel_timeout: short, ..config(4) };
    let worker = Running::start(&client, config, move |attempt: Attempt| {
        let gate = Arc::clone(&gate);
        async move {
            match attempt.payload::<Value>()?["how"].as_str() {
                Some("ends") => drop(gate.acquire().await),
                Some("listens") => {
                    assert_eq!(attempt.stopped().await, Stop::Shutdown);
                    return Ok(Finish::Yield { checkpoint: Some(encode(&json!("half"))) });
                }
                _ => std::future::pending::<()>().await,
            }
            Ok(Finish::Completed(None))
        }
    });
    let mut jobs = Vec::new();
    for how in ["ends", "listens", "is deaf"] {
        jobs.push(submit(&client, json!({"how": how})).await);
    }
    for job in &jobs {
        until_state(&client, *job, JobState::Processing).await;
    }
    let mut stopping = worker.begin_to_stop();
    eventually("it asks for no more jobs", async || {
        let scrape = metrics(&server).await;
        scrape.lines().any(|line| line == "steadfast_http_requests_in_flight 1").then_some(())
    })
    .await;
    let late = submit(&client, json!({"how": "ends"})).await;
    let early = tokio::time::timeout(Duration::from_millis(100), ended(&mut stopping)).await;
    assert!(early.is_err(), "attempts run: the stop waits");
    go_on.add_permits(1);
    let report = ended(&mut stopping).await.expect("it was asked to");
    assert_eq!(report, WorkReport { completed: 1, failed: 0, released: 2, lost: 0 });

    let found = async |id| client.job(id).await.expect("it is stored");
    assert_eq!(found(jobs[0]).await.state, JobState::Completed);
    for (id, checkpoint) in [(jobs[1], json!("half")), (jobs[2], json!(null)), (late, json!(null))] {
        let job = found(id).await;
        assert_eq!((job.state, job.attempt, job.interruptions), (JobState::Queued, 0, 0));
        assert_eq!(job.checkpoint, Some(encode(&checkpoint)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_ends_before_its_lease_can_be_anothers() {
    let server = given_server_without_workers().start().await;
    let (direct, proxy) = (server.client(), Proxy::to(server.address()).await);
    let cut_off = Client::new(&format!("http://{}", proxy.address())).expect("an address");
    // When the first attempt's future was gone, and when the second began.
    let (gone, began) = (Arc::new(Mutex::new(None)), Arc::new(Mutex::new(None)));
    let (runs, mut first_runs) = mpsc::channel(1);
    let first = {
        let gone = Arc::clone(&gone);
        let config = WorkerConfig { lease: CUT_OFF_LEASE, ..config(1) };
        Running::start(&cut_off, config, move |attempt: Attempt| {
            let (runs, at_its_end) = (runs.clone(), Noting(Arc::clone(&gone)));
            async move {
                runs.send(()).await.expect("the test waits");
                let _at_its_end = at_its_end;
                assert_eq!(attempt.stopped().await, Stop::LeaseLost);
                std::future::pending().await
            }
        })
    };
    let job = submit(&direct, json!({})).await;
    first_runs.recv().await.expect("it runs");
    proxy.stall();
    let second = {
        let began = Arc::clone(&began);
        Running::start(&direct, config(1), move |_| {
            began.lock().get_or_insert_with(Instant::now);
            async { Ok(Finish::Completed(None)) }
        })
    };
    let job = until_state(&direct, job, JobState::Completed).await;
    assert_eq!(job.interruptions, 1);
    let (gone, began) = (gone.lock().expect("it was cut off"), began.lock().expect("it ran"));
    assert!(gone < began, "both ran at once, for {:?}", gone - began);

    proxy.pass();
    proxy.cut(Cut::Reset);
    assert_eq!(first.stop().await.expect("it was asked to").lost, 1);
    assert_eq!(second.stop().await.expect("it was asked to").completed, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_does_not_wait_for_a_connection_that_fell_silent() {
    let server = given_server_without_workers().start().await;
    let (direct, proxy) = (server.client(), Proxy::to(server.address()).await);
    let behind = Client::new(&format!("http://{}", proxy.address())).expect("an address");
    let go_on = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&go_on);
    let (runs, mut it_runs) = mpsc::channel(1);
    let worker = Running::start(&behind, WorkerConfig { lease: 2 * SHORT_LEASE, ..config(1) }, move |_| {
        let (runs, gate) = (runs.clone(), Arc::clone(&gate));
        async move {
            runs.send(()).await.expect("the test waits");
            gate.acquire().await.expect("the test goes on").forget();
            Ok(Finish::Completed(None))
        }
    });
    let job = submit(&direct, json!({})).await;
    it_runs.recv().await.expect("it runs");
    proxy.cut(Cut::Silent);
    go_on.add_permits(1);
    // A request on its own would hang until the client's own limit, a minute later.
    let job = direct.job_when_ended(job, Duration::from_secs(20)).await.expect("it ends");
    assert_eq!((job.state, job.attempt, job.interruptions), (JobState::Completed, 1, 0));
    assert_eq!(worker.stop().await.expect("it was asked to").completed, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_is_waited_for() {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let mut server = given_server_without_workers().listen(address).start().await;
    let client = server.client();
    let go_on = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&go_on);
    let (runs, mut it_runs) = mpsc::channel(2);
    let worker = Running::start(&client, config(2), move |_| {
        let (runs, gate) = (runs.clone(), Arc::clone(&gate));
        async move {
            runs.send(()).await.expect("the test waits");
            gate.acquire().await.expect("the test goes on").forget();
            Ok(Finish::Completed(None))
        }
    });
    let held = submit(&client, json!({})).await;
    it_runs.recv().await.expect("it runs");
    server.kill().await;
    go_on.add_permits(2);
    server.start_again().await;
    let next = submit(&client, json!({})).await;
    for job in [held, next] {
        let job = until_state(&client, job, JobState::Completed).await;
        assert_eq!((job.attempt, job.interruptions), (1, 0), "the lease outlived the server");
    }
    assert_eq!(worker.stop().await.expect("it was asked to").completed, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_never_given_jobs_says_why() {
    let server = given_server_without_workers().start().await;
    let config = WorkerConfig { queues: vec!["nowhere".into()], ..config(1) };
    let worker = Worker::new(server.client(), config.clone());
    let ended = worker.run(async |_| Ok(Finish::Completed(None)), std::future::pending()).await;
    let Err(WorkError::Refused(error)) = ended else { panic!("{ended:?}") };
    assert_eq!(error.problem().map(|problem| problem.code.as_ref()), Some("queue_not_found"));

    let worker = Worker::new(server.client(), WorkerConfig { concurrency: 0, ..config });
    let ended = worker.run(async |_| Ok(Finish::Completed(None)), std::future::pending()).await;
    assert_eq!(ended.expect_err("no place").to_string(), "concurrency 0: must be from 1 to 1000");
}

/// Notes when it is dropped.
struct Noting(Arc<Mutex<Option<Instant>>>);

impl Drop for Noting {
    fn drop(&mut self) {
        self.0.lock().get_or_insert_with(Instant::now);
    }
}

/// A worker at work.
struct Running {
    stop: oneshot::Sender<()>,
    run: Run,
}

/// The one task of a run.
type Run = JoinSet<Result<WorkReport, WorkError>>;

impl Running {
    fn start<H, F>(client: &Client, config: WorkerConfig, handler: H) -> Self
    where
        H: Fn(Attempt) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Finish, Failure>> + Send + 'static,
    {
        let worker = Worker::new(client.clone(), config);
        let (stop, stopped) = oneshot::channel();
        let mut run = JoinSet::new();
        run.spawn(async move { worker.run(handler, async { drop(stopped.await) }).await });
        Self { stop, run }
    }

    async fn stop(self) -> Result<WorkReport, WorkError> {
        ended(&mut self.begin_to_stop()).await
    }

    fn begin_to_stop(self) -> Run {
        drop(self.stop);
        self.run
    }

    /// Ends it without a word to the server.
    async fn die(mut self) {
        self.run.shutdown().await;
    }
}

async fn ended(run: &mut Run) -> Result<WorkReport, WorkError> {
    run.join_next().await.expect("it was started").expect("no panic")
}

fn config(concurrency: usize) -> WorkerConfig {
    WorkerConfig { concurrency, lease: LEASE, ..WorkerConfig::new("tester") }
}

fn encode(value: &Value) -> RawJson {
    RawJson::encode(value).expect("it has a JSON form")
}

/// A job that is tried again at once.
fn request(payload: Value, max_attempts: u32) -> SubmitRequest {
    let retry =
        RetryRequest { max_attempts: Some(max_attempts), initial_ms: Some(0), ..RetryRequest::default() };
    SubmitRequest {
        kind: "any".into(),
        payload: Some(encode(&payload)),
        retry: Some(retry),
        ..SubmitRequest::default()
    }
}

async fn submit(client: &Client, payload: Value) -> JobId {
    client.submit(&request(payload, 2), &SubmitOptions::default()).await.expect("room").job.id
}

async fn until_state(client: &Client, id: JobId, state: JobState) -> JobDocument {
    eventually(&format!("{id} is {state:?}"), async || {
        client.job(id).await.ok().filter(|job| job.state == state)
    })
    .await
}
