//! A worker against a server that answers as a test says.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde::Serialize;
use steadfast_domain::{Fence, Job, JobId, JobState, KindName, NewJob, RawJson, Timestamp, Version};
use steadfast_wire::lease::{
    Directive, LeaseAnswer, LeaseDocument, LeaseId, LeaseSettled, SettledDocument, SettlementsAnswer,
};
use steadfast_wire::{ErrorCode, JobDocument, PROBLEM_CONTENT_TYPE, Problem};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::*;

const TAKE: &str = "/v1/leases";
const SETTLE: &str = "/v1/leases/settle";
/// A worker tells an end for so long, in real time: a third of it is what a slow machine may lose.
const LEASE: Duration = Duration::from_secs(9);
const NOW: Timestamp = Timestamp::from_unix_ms(0);

/// What a request for a path is answered, after so many others for it: a status, a body, and how long that takes.
type Script = fn(&str, usize) -> (u16, String, Duration);

/// A server on a port of its own.
struct Server {
    client: Client,
    /// The paths of all requests so far.
    asked: watch::Receiver<Vec<String>>,
    _serving: JoinSet<()>,
}

async fn given_server(script: Script) -> Server {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let client = Client::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let (sender, asked) = watch::channel(Vec::new());
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(answer(stream, script, sender.clone()));
        }
    });
    Server { client, asked, _serving: serving }
}

/// Answers one request, and closes.
async fn answer(mut stream: TcpStream, script: Script, asked: watch::Sender<Vec<String>>) {
    let mut head = Vec::new();
    while !head.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
        stream.read_buf(&mut head).await.unwrap();
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap().to_owned();
    let before = asked.borrow().iter().filter(|earlier| **earlier == path).count();
    asked.send_modify(|asked| asked.push(path.clone()));
    let (status, body, time) = script(&path, before);
    sleep(time).await;
    let media_type = if status == 200 { "application/json" } else { PROBLEM_CONTENT_TYPE };
    let text = format!(
        "HTTP/1.1 {status} .\r\nConnection: close\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    // A client that no longer waits has closed it.
    let _ = stream.write_all(text.as_bytes()).await;
    let _ = stream.shutdown().await;
    let _ = stream.read_to_end(&mut Vec::new()).await;
}

fn at_once(status: u16, body: &impl Serialize) -> (u16, String, Duration) {
    (status, serde_json::to_string(body).unwrap(), Duration::ZERO)
}

fn refused(code: ErrorCode) -> (u16, String, Duration) {
    at_once(code.status(), &Problem::new(code, "", ""))
}

fn lease() -> LeaseId {
    LeaseId { job: JobId::from_u128(7), fence: Fence(1), lease_ms: LEASE.as_millis() as u64 }
}

fn given_job() -> (u16, String, Duration) {
    let new = NewJob::new(KindName::new("echo").unwrap(), RawJson::empty_object());
    let job = JobDocument::full(Job::accept(new, lease().job, NOW, None));
    let lease = LeaseDocument { lease: lease(), expires_at: NOW, timeout_ms: 60_000, traceparent: None, job };
    at_once(200, &LeaseAnswer { leases: vec![lease], directive: Directive::Run, retry_after_ms: None })
}

fn taken() -> (u16, String, Duration) {
    let settled =
        SettledDocument { id: lease().job, state: JobState::Completed, version: Version(3), at: NOW };
    let settled = LeaseSettled { lease: lease(), settled: Some(settled), code: None };
    at_once(200, &SettlementsAnswer { settlements: vec![settled] })
}

/// Runs a worker until the server was asked for `path` so many times.
async fn work_until(server: &Server, path: &str, times: usize) -> Result<WorkReport, WorkError> {
    let config = WorkerConfig { lease: LEASE, ..WorkerConfig::new("w") };
    let mut asked = server.asked.clone();
    let stop = async {
        let _ = asked.wait_for(|asked| asked.iter().filter(|asked| *asked == path).count() >= times).await;
    };
    let worker = Worker::new(server.client.clone(), config);
    let work = worker.run(async |_| Ok(Finish::Completed(None)), stop);
    timeout(Duration::from_secs(30), work).await.unwrap()
}

#[tokio::test]
async fn a_token_that_is_not_known_at_the_start_ends_it() {
    let server = given_server(|_, _| refused(ErrorCode::Unauthenticated)).await;
    let Err(WorkError::Refused(error)) = work_until(&server, TAKE, 2).await else {
        panic!("nobody lets it in");
    };
    assert_eq!(error.code(), Some(ErrorCode::Unauthenticated));
}

#[tokio::test]
async fn a_token_that_is_not_known_for_a_while_later_on_costs_no_result_and_no_worker() {
    let server = given_server(|path, before| match (path, before) {
        (TAKE, 0) => given_job(),
        (SETTLE, 1..) => taken(),
        _ => refused(ErrorCode::Unauthenticated),
    })
    .await;
    let report = work_until(&server, TAKE, 4).await.unwrap();
    assert_eq!(report, WorkReport { completed: 1, ..WorkReport::default() });
}

#[tokio::test]
async fn an_end_that_the_server_takes_slowly_is_told_with_more_and_more_patience() {
    let server = given_server(|path, before| match (path, before) {
        (TAKE, 0) => given_job(),
        (SETTLE, _) => {
            let (status, body, _) = taken();
            (status, body, LEASE / 3 + Duration::from_millis(50))
        }
        _ => refused(ErrorCode::StoreUnavailable),
    })
    .await;
    let report = work_until(&server, TAKE, 2).await.unwrap();
    assert_eq!(report, WorkReport { completed: 1, ..WorkReport::default() });
}
