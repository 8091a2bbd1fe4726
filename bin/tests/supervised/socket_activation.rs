//! Sockets that are handed over, by a test that plays systemd's part: it holds the listening socket, and the server
//! comes and goes.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use steadfast_domain::JobState;
use steadfast_testkit::gate::Gate;
use steadfast_testkit::harness::{Given, Server, Signal, given_server};
use steadfast_testkit::history::{
    Evidence, Expected, History, Marked as _, Told, all_jobs, told_by, until_all_ended,
};
use steadfast_testkit::ports::{free_port, loopback};
use steadfast_testkit::raw::{NoAnswer, RawAnswer, RawConnection};
use steadfast_testkit::{PATIENCE, eventually};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

const PROGRAM: &str = env!("CARGO_BIN_EXE_steadfast");
/// How often the server is restarted under load: a few times unless it is set.
const RESTARTS: &str = "STEADFAST_TEST_RESTARTS";
const CLIENTS: usize = 8;
/// Jobs accepted between two restarts, at least.
const ACCEPTED_BETWEEN: usize = 50;

#[tokio::test(flavor = "multi_thread")]
async fn restarts_under_load_refuse_and_reset_no_connection_and_lose_no_job() {
    let socket = listening();
    let address = socket.local_addr().expect("it is bound");
    let given = given_server(PROGRAM).hand_over(socket);
    let mut server = given.start().await;
    let history = Arc::new(History::new());
    let load = Load::start(address, &history);
    let begun = Instant::now();
    for restart in 1..=restarts() {
        until_accepted(&history, restart * ACCEPTED_BETWEEN).await;
        server.stop().await.expect_code(0);
        // Nobody accepts now.
        let mut waiting = RawConnection::open(address).await.expect("a connection is not refused");
        waiting.get("/livez").await.expect("a request is sent");
        server.start_again().await;
        assert_eq!(waiting.answer().await.expect("the next process answers").status, 200);
    }
    let took = begun.elapsed();
    let seen = load.end().await;

    let refused = history.count(|told| *told == Told::Refused);
    println!(
        "{} restarts in {took:?}, {seen:?}: {} accepted, {refused} refused",
        restarts(),
        history.accepted().len()
    );
    assert_eq!(seen.broken, Vec::<String>::new(), "connections that broke");
    assert_kept(&server, &history).await;
    server.stop().await.expect_code(0);
}

async fn until_accepted(history: &History, jobs: usize) {
    eventually("jobs are accepted", async || (history.accepted().len() >= jobs).then_some(())).await;
}

fn restarts() -> usize {
    std::env::var(RESTARTS).map_or(10, |text| text.parse().expect("a number"))
}

fn listening() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port")
}

async fn assert_kept(server: &Server, history: &History) {
    let client = server.client();
    until_all_ended(&client).await;
    let jobs = all_jobs(&client).await;
    history.assert_kept(Evidence { jobs: &jobs, ..Evidence::default() }, Expected::Ended);
}

/// Clients that submit one job after the other over connections that they keep for as long as the server does.
struct Load {
    ended: watch::Sender<bool>,
    clients: JoinSet<Seen>,
}

/// What the clients saw.
#[derive(Debug, Default)]
struct Seen {
    connections: usize,
    answers: usize,
    slowest: Duration,
    /// Each connection that was refused or reset, or on which a request had no whole answer.
    broken: Vec<String>,
}

impl Load {
    fn start(address: SocketAddr, history: &Arc<History>) -> Self {
        let ended = watch::Sender::new(false);
        let clients = (0..CLIENTS).map(|_| submit(address, Arc::clone(history), ended.subscribe())).collect();
        Self { ended, clients }
    }

    async fn end(self) -> Seen {
        self.ended.send_replace(true);
        self.clients.join_all().await.into_iter().fold(Seen::default(), |mut all, seen| {
            all.connections += seen.connections;
            all.answers += seen.answers;
            all.slowest = all.slowest.max(seen.slowest);
            all.broken.extend(seen.broken);
            all
        })
    }
}

async fn submit(address: SocketAddr, history: Arc<History>, ended: watch::Receiver<bool>) -> Seen {
    let mut seen = Seen::default();
    while !*ended.borrow() {
        seen.connections += 1;
        match RawConnection::open(address).await {
            Ok(connection) => submit_over(connection, &history, &ended, &mut seen).await,
            Err(error) => seen.broken.push(format!("connect: {error}")),
        }
    }
    seen
}

/// Submits until the server says that it closes the connection.
async fn submit_over(
    mut connection: RawConnection,
    history: &History,
    ended: &watch::Receiver<bool>,
    seen: &mut Seen,
) {
    for nth in 1.. {
        let (mark, begun) = (history.begin(1), Instant::now());
        match answer_to(&mut connection, &mark.body("echo", &json!({}))).await {
            Ok(answer) => {
                history.told(mark, told_by(&answer));
                seen.answers += 1;
                seen.slowest = seen.slowest.max(begun.elapsed());
                if answer.closes() || *ended.borrow() {
                    return;
                }
            }
            Err(error) => return seen.broken.push(format!("request {nth} of its connection: {error}")),
        }
    }
}

async fn answer_to(connection: &mut RawConnection, body: &str) -> Result<RawAnswer, NoAnswer> {
    connection.post("/v1/jobs", body).await?;
    connection.answer().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inherited_socket_takes_the_place_of_the_address() {
    let socket = listening();
    let address = socket.local_addr().expect("it is bound");
    let mut server = given_server(PROGRAM).hand_over(socket).start().await;
    let listening = server.until_logged("listening").await;
    assert_eq!((&listening["inherited"], server.address()), (&json!(true), address), "{listening}");
    server.stop().await.expect_code(0);
}

/// By systemd's own program, which hands over at the first connection.
#[tokio::test(flavor = "multi_thread")]
async fn the_socket_with_the_name_admin_is_the_admin_listeners() {
    let [clients, admins] = [loopback(free_port()), loopback(free_port())];
    let activate = ["systemd-socket-activate".to_owned(), "--fdname=http:admin".to_owned()];
    let listen = [clients, admins].map(|address| format!("--listen={address}"));
    let given = given_server(PROGRAM).under(activate.into_iter().chain(listen));
    let dir = TempDir::new().expect("a directory");
    let mut process = given.launch(dir.path());
    assert_eq!(answer_to_get(clients, "/livez").await.status, 200);
    assert_eq!(answer_to_get(admins, "/metrics").await.status, 200);
    for event in ["listening", "admin listener open"] {
        // The log is written on a thread of its own.
        let event = eventually(event, async || process.stderr().events(event).pop()).await;
        assert_eq!(event["inherited"], true, "{event}");
    }
    assert_eq!(answer_to_get(clients, "/metrics").await.status, 404, "it is there for admins only");
    process.signal(Signal::TERM);
    process.exit_within(PATIENCE).await.expect("it ends").expect_code(0);
}

async fn answer_to_get(address: SocketAddr, path: &str) -> RawAnswer {
    let what = "the socket listens";
    let mut connection = eventually(what, async || RawConnection::open(address).await.ok()).await;
    connection.get(path).await.expect("a request is sent");
    connection.answer().await.expect("an answer")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_socket_for_clients_is_one_too_many() {
    let listen = [loopback(free_port()), loopback(free_port())];
    let activate = ["systemd-socket-activate".to_owned(), "--fdname=one:two".to_owned()];
    let activate = activate.into_iter().chain(listen.map(|address| format!("--listen={address}")));
    let given = given_server(PROGRAM).under(activate);
    let dir = TempDir::new().expect("a directory");
    let mut process = given.launch(dir.path());
    let _connection =
        eventually("the socket listens", async || RawConnection::open(listen[0]).await.ok()).await;
    let exit = process.exit_within(PATIENCE).await.expect("it ends").expect_code(2);
    assert!(exit.output().contains("a further one as \"two\""), "{}", exit.output());
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_for_another_process_are_none_of_the_servers() {
    let given = given_server(PROGRAM).env("LISTEN_FDS", "1").env("LISTEN_PID", "1");
    let mut server = given.start().await;
    assert_eq!(server.until_logged("listening").await["inherited"], false);
    server.stop().await.expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_cannot_be_listened_on_ends_the_start_and_is_named() {
    let dir = TempDir::new().expect("a directory");
    let datagrams = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let local = UnixListener::bind(dir.path().join("socket")).expect("a free name");
    let bound = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    for socket in [OwnedFd::from(datagrams), OwnedFd::from(local), OwnedFd::from(bound)] {
        let given = given_server(PROGRAM).hand_over(socket).env("LISTEN_FDNAMES", "http");
        let said = refusal(&given).await;
        assert!(said.contains("\"http\" (LISTEN_FDS) is no TCP socket that listens"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_others_reach_is_guarded_as_an_address_is() {
    let socket = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a free port");
    let gate = Gate::closed().await;
    let given = given_server(PROGRAM).hand_over(socket);
    let said = refusal(&given).await;
    assert!(said.contains("a socket that was handed over: 0.0.0.0:"), "{said}");
    let mut server = given.env("STEADFAST_INSECURE", "true").start().await;
    let (client, history) = (server.client(), History::new());
    let job = history.submit(&client, "http", &gate.payload()).await.expect("room");
    let job = client.job_when_ended(job.id, PATIENCE).await.expect("it is there");
    assert_eq!((job.state, &*job.errors[0].code), (JobState::Dead, "address_denied"), "{job:?}");
    server.stop().await.expect_code(0);
}

/// What it says that ends with 2 instead of serving.
async fn refusal(given: &Given) -> String {
    let dir = TempDir::new().expect("a directory");
    let exit = given.launch(dir.path()).exit_within(PATIENCE).await.expect("it ends");
    let said = exit.output();
    assert_eq!(exit.code, Some(2), "{said}");
    said
}
