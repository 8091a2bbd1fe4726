//! Pausing one of two queues under load: nothing of it starts after the answer, in any replica; the other flows on;
//! a restart changes nothing; and it goes on at once when it is resumed.

use std::collections::BTreeSet;
use std::time::Duration;

use steadfast_client::{Client, JobFilter, SubmitOptions};
use steadfast_domain::{JobId, JobState, QueueName, RawJson};
use steadfast_testkit::gate::Gate;
use steadfast_testkit::harness::{Given, Keep, Server, given_server};
use steadfast_testkit::postgres::Cluster;
use steadfast_testkit::{eventually, within};
use steadfast_wire::{ErrorCode, SubmitRequest};
use tokio::task::JoinSet;
use tokio::time::Instant;

const CONCURRENCY: usize = 4;
/// Room in each queue: the flood keeps it full.
const CAPACITY: usize = 200;
const CLIENTS: usize = 2;
/// Starts that are waited for to say that a queue flows.
const FLOWS: usize = 100;
/// A resumed queue starts at once; a busy machine may take far longer. A poll may come as soon, so the pool's own test, on
/// paused time, is the sharper one: this one shows that the start needs nothing but the resume.
const RESUMES_WITHIN: Duration = Duration::from_secs(20);
const PAUSED: &str = "paused";
const OTHER: &str = "other";

fn queue(name: &str) -> QueueName {
    QueueName::new(name).expect("a valid name")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_holds_in_one_process() {
    Case::begin(given_server(env!("CARGO_BIN_EXE_steadfast")), 1).await.holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_holds_in_every_replica() {
    let store = Keep::Postgres(Cluster::shared().await.new_schema());
    Case::begin(given_server(env!("CARGO_BIN_EXE_steadfast")).store(store), 2).await.holds().await;
}

/// Servers on one store. Each queue's jobs go to a gate of its own, which records every start.
struct Case {
    servers: Vec<Server>,
    paused: Gate,
    other: Gate,
    flood: JoinSet<()>,
}

impl Case {
    async fn begin(given: Given, replicas: usize) -> Self {
        let settings =
            [PAUSED, OTHER].map(|name| format!("[queues.{name}]\ncapacity = {CAPACITY}\n")).concat();
        let given = given.settings(&settings).concurrency(CONCURRENCY);
        let mut servers = vec![given.clone().start().await];
        if replicas > 1 {
            servers.extend(given.start_replicas(replicas - 1).await);
        }
        let (paused, other) = (Gate::closed().await, Gate::closed().await);
        paused.open();
        other.open();
        let mut case = Self { servers, paused, other, flood: JoinSet::new() };
        case.flood();
        case
    }

    /// Clients of every server that keep both queues full.
    fn flood(&mut self) {
        for (name, gate) in [(PAUSED, &self.paused), (OTHER, &self.other)] {
            let job = SubmitRequest {
                kind: "http".to_owned(),
                queue: Some(name.to_owned()),
                payload: Some(RawJson::encode(&gate.payload()).expect("a JSON value is a payload")),
                ..SubmitRequest::default()
            };
            for server in &self.servers {
                for _ in 0..CLIENTS {
                    let (client, job) = (server.client(), job.clone());
                    self.flood.spawn(async move { keep_full(&client, &job).await });
                }
            }
        }
    }

    async fn holds(mut self) {
        until_flows(&self.paused).await;
        let client = self.servers.last().expect("a server").client();
        assert!(client.pause(&queue(PAUSED)).await.expect("it is there").paused);
        // What was claimed before the answer may start after it: it is processing, or has started by now.
        let claimed = processing(&self.servers[0].client(), PAUSED).await;
        let mut allowed = started(&self.paused);
        allowed.extend(&claimed);
        assert!(claimed.len() <= 4 * CONCURRENCY * self.servers.len(), "{}", claimed.len());
        until_flows(&self.other).await;
        eventually("what was claimed has ended", async || {
            processing(&client, PAUSED).await.is_empty().then_some(())
        })
        .await;
        let before = started(&self.paused);
        assert!(before.is_subset(&allowed), "{:?} started", before.difference(&allowed));

        self.restart().await;
        self.flood();
        until_flows(&self.other).await;
        let client = self.servers[0].client();
        let document = client.queue(&queue(PAUSED)).await.expect("it is there");
        assert!(document.paused && document.depth.processing == 0, "{document:?}");
        assert_eq!(started(&self.paused), before, "a restart resumes nothing");
        self.resumes_at_once().await;
    }

    async fn restart(&mut self) {
        self.flood.shutdown().await;
        for server in &mut self.servers {
            server.stop().await.expect_code(0);
            server.start_again().await;
        }
    }

    /// With nothing else to do, so that nothing else makes a pool look.
    async fn resumes_at_once(mut self) {
        self.flood.shutdown().await;
        let client = self.servers[0].client();
        eventually("the other queue is done", async || {
            (client.queue(&queue(OTHER)).await.expect("it is there").jobs == 0).then_some(())
        })
        .await;
        let before = self.paused.deliveries().len();
        let asked = Instant::now();
        client.resume(&queue(PAUSED)).await.expect("it is there");
        let first = within(RESUMES_WITHIN, async || {
            (self.paused.deliveries().len() > before).then(|| asked.elapsed())
        });
        println!("resumed, and started after {:?}", first.await.expect("it starts at once"));
        eventually("all of it runs", async || {
            (client.queue(&queue(PAUSED)).await.expect("it is there").jobs == 0).then_some(())
        })
        .await;
        for server in &mut self.servers {
            server.stop().await.expect_code(0);
        }
    }
}

/// Submits for as long as it lives.
async fn keep_full(client: &Client, job: &SubmitRequest) {
    loop {
        match client.submit(job, &SubmitOptions::default()).await {
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error.code(), Some(ErrorCode::QueueFull), "{error}");
                tokio::time::sleep(error.retry_after().expect("a 429 says when")).await;
            }
        }
    }
}

/// Waits until many more jobs have started.
async fn until_flows(gate: &Gate) {
    let enough = gate.deliveries().len() + FLOWS;
    eventually("the queue flows", async || (gate.deliveries().len() >= enough).then_some(())).await;
}

fn started(gate: &Gate) -> BTreeSet<JobId> {
    gate.deliveries().iter().map(|delivery| delivery.job).collect()
}

async fn processing(client: &Client, name: &str) -> BTreeSet<JobId> {
    let filter = JobFilter {
        queue: Some(name.to_owned()),
        state: Some(JobState::Processing),
        limit: Some(1_000),
        ..JobFilter::default()
    };
    let page = client.jobs(&filter).await.expect("a page");
    assert_eq!(page.next_cursor, None, "few enough for a page");
    page.jobs.iter().map(|job| job.id).collect()
}
