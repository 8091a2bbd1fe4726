//! Streams over replicas: a client that comes back to another one goes on where it was, and whoever listens to all
//! jobs hears on each what another has done.

use std::time::Duration;

use serde_json::json;
use steadfast_client::{Client, JobEvent, JobEvents, SubmitOptions};
use steadfast_domain::{JobId, JobState, QueueName, Version};
use steadfast_testkit::PATIENCE;
use steadfast_testkit::harness::Server;
use steadfast_testkit::history::{History, Marked as _};
use steadfast_testkit::ports::{free_port, loopback};
use steadfast_testkit::postgres::{Cluster, in_schema};
use steadfast_testkit::proxy::{Cut, Proxy};
use steadfast_wire::{JobDocument, RetryRequest, SubmitRequest};
use tokio::time::timeout;

use crate::given::given_replica;
use crate::listening::Listener;

/// Attempts of the job, each of which fails and is a durable change; fewer than a job remembers. Most of them are to come
/// when its queue is paused, which takes a busy machine a while.
const ATTEMPTS: u32 = 25;
/// It is accepted, and then each attempt ends.
const LAST: Version = Version(1 + ATTEMPTS as u64);
const RETRY_AFTER: Duration = Duration::from_millis(250);
/// Changes that a client reads before it goes to the other replica.
const AT_ONE: usize = 3;
/// From this version on one replica is gone.
const ONE_GOES: Version = Version(7);

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_changes_replicas_sees_each_change_once_in_order_and_the_end() {
    let store = Cluster::shared().await.new_schema();
    let mut servers = given_replica(store).start_replicas(2).await;
    let clients: Vec<Client> = servers.iter().map(Server::client).collect();
    let id = fails_again_and_again(&clients[0]).await;

    let mut seen = Seen(None);
    for client in clients.iter().cycle() {
        let mut events = client.job_events(id, seen.0);
        for _ in 0..AT_ONE {
            assert_eq!(seen.next(&mut events).await, None, "no end yet");
        }
        if seen.0 >= Some(ONE_GOES) {
            break;
        }
    }
    // A client listens where the server goes: it is told, tries again there, and goes elsewhere.
    let queue = QueueName::default_queue();
    clients[1].pause(&queue).await.expect("nothing starts any more");
    let mut events = clients[0].job_events(id, seen.0);
    let exit = servers[0].stop();
    let told = async {
        while let Ok(Some(_)) = events.next().await {
            seen.take(&events);
        }
    };
    let (exit, ()) = tokio::join!(exit, told);
    exit.expect_code(0);
    clients[1].resume(&queue).await.expect("it goes on");
    let mut events = clients[1].job_events(id, seen.0);
    let end = loop {
        if let Some(end) = seen.next(&mut events).await {
            break end;
        }
    };
    assert_eq!((end.state, end.version, seen.0), (JobState::Dead, LAST, Some(LAST)));
    assert_eq!(events.next().await.expect("the stream has ended"), None);
    let mut again = clients[1].job_events(id, seen.0);
    assert_eq!(again.next().await.expect("there is nothing more"), None);
    servers[1].stop().await.expect_code(0);
}

/// The version seen last, over all streams.
struct Seen(Option<Version>);

impl Seen {
    /// The next durable change, which must be the one after the last; or the end.
    async fn next(&mut self, events: &mut JobEvents) -> Option<Box<JobDocument>> {
        loop {
            match timeout(PATIENCE, events.next()).await.expect("in time").expect("the server answers") {
                Some(JobEvent::State(change)) => {
                    assert_eq!(change.version, self.0.map_or(Version::FIRST, Version::next));
                    self.0 = Some(change.version);
                    return None;
                }
                Some(JobEvent::End(job)) => return Some(job),
                Some(JobEvent::Processing { .. } | JobEvent::Progress(_)) => {}
                None => panic!("a stream ended without the end"),
            }
        }
    }

    /// What a stream has told of, one after the other.
    fn take(&mut self, events: &JobEvents) {
        let next = self.0.map_or(Version::FIRST, Version::next);
        assert!(events.seen() == self.0 || events.seen() == Some(next), "{:?}", events.seen());
        self.0 = events.seen();
    }
}

/// A job that nobody is there to take.
async fn fails_again_and_again(client: &Client) -> JobId {
    let nobody = json!({ "url": format!("http://{}/", loopback(free_port())) });
    let retry = RetryRequest {
        max_attempts: Some(ATTEMPTS),
        backoff: Some("fixed".to_owned()),
        initial_ms: Some(RETRY_AFTER.as_millis() as u64),
        jitter: Some(0.0),
        ..RetryRequest::default()
    };
    let job = SubmitRequest { retry: Some(retry), ..History::new().begin(1).job("http", &nobody) };
    client.submit(&job, &SubmitOptions::default()).await.expect("room").job.id
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_hears_what_another_replica_has_done_or_that_it_missed_something() {
    let cluster = Cluster::shared().await;
    let schema = cluster.new_schema_name();
    let proxy = Proxy::to(loopback(cluster.port())).await;
    let given = given_replica(in_schema(&cluster.url(), &schema));
    let hints = in_schema(&cluster.url_through(proxy.address().port()), &schema);
    let mut first = given.clone().start().await;
    let mut second = given.flag("--postgres-listen-url", hints).start().await;

    let mut listener = Listener::open(second.address(), "/v1/events?queue=default").await;
    let accepted = |id: JobId| {
        format!("\"type\":\"state\",\"id\":\"{id}\",\"queue\":\"default\",\"version\":1,\"state\":\"queued\"")
    };
    // Only what is told while the other listens arrives, so it is told until something does.
    let history = History::new();
    let told = async {
        loop {
            let job = history.submit(&first.client(), "echo", &json!(1)).await.expect("room");
            if timeout(Duration::from_secs(1), listener.until(&accepted(job.id))).await.is_ok() {
                return;
            }
        }
    };
    timeout(PATIENCE, told).await.expect("it hears");

    proxy.cut(Cut::Reset);
    listener.until("event: resync\ndata: ").await;
    first.stop().await.expect_code(0);
    second.stop().await.expect_code(0);
    assert!(listener.rest().await.contains("event: server_shutdown"));
}
