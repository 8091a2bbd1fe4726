use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use parking_lot::Mutex;
use serde_json::Value;
use steadfast_testkit::certificates::{Authority, EXPIRED, Issued, THIS_MACHINE, read};
use steadfast_testkit::eventually;
use steadfast_testkit::harness::{Signal, given_server};
use steadfast_testkit::history::all_jobs;
use steadfast_testkit::raw::RawConnection;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::given::{PROGRAM, Secured, given, serve};

const CLIENTS: usize = 4;
const IN_FORCE: &str = "read again, and in force";
const HAS_EXPIRED: &str = "the certificate has expired: clients will refuse it";
const WRONG: &str = "read again, but wrong: what was in force stays so";

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_under_load_without_a_failed_request() {
    let mut server = given(|given| given).await;
    let (stop, stopped) = watch::channel(false);
    let accepted = Arc::new(Mutex::new(BTreeSet::new()));
    let mut clients: JoinSet<()> = (0..CLIENTS)
        .map(|client| submitting(&server, client % 2 == 0, stopped.clone(), Arc::clone(&accepted)))
        .collect();
    assert_eq!(shown(&server).await, read(&server.files.certificate).to_vec());

    let new = server.authority.issue(server.dir.path(), "new", THIS_MACHINE);
    put(&server, &new);
    until_in_force(&server, 1).await;
    assert_eq!(shown(&server).await, read(&new.certificate).to_vec());

    fs::write(&server.files.certificate, "half a certif").expect("the file can be written");
    eventually("the log names the file and the reason", || async {
        let events = server.process.stderr().events(WRONG);
        let names = |event: &Value| {
            event["error"].as_str().is_some_and(|error| error.contains("server.crt: there is no"))
        };
        events.iter().any(names).then_some(())
    })
    .await;
    assert_eq!(shown(&server).await, read(&new.certificate).to_vec());
    until_figured(&server, "steadfast_files_in_force{files=\"tls\"}", |in_force| in_force == 0.0).await;

    let newest = server.authority.issue(server.dir.path(), "newest", THIS_MACHINE);
    put(&server, &newest);
    server.process.signal(Signal::HUP);
    until_in_force(&server, 2).await;
    assert_eq!(shown(&server).await, read(&newest.certificate).to_vec());
    until_figured(&server, "steadfast_files_in_force{files=\"tls\"}", |in_force| in_force == 1.0).await;

    stop.send_replace(true);
    while let Some(client) = clients.join_next().await {
        client.expect("no request has failed");
    }
    server.stop().await;
    let again = given_server(PROGRAM).start_in(server.dir).await;
    let stored = all_jobs(&again.client()).await.iter().map(|job| job.id.to_string()).collect();
    assert_eq!(*accepted.lock(), stored);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_is_told_of_until_another_is_there() {
    let dir = tempfile::tempdir().expect("a directory");
    let (certificate, key) = (dir.path().join("server.crt"), dir.path().join("server.key"));
    for file in [&certificate, &key] {
        fs::write(file, EXPIRED).expect("a file can be written");
    }
    let authority = Authority::new(dir.path(), "authority");
    let server = serve(dir, authority, Issued { certificate, key }, |given| given).await;
    assert_eq!(server.process.stderr().events(HAS_EXPIRED).len(), 1);

    let client = server.authority.client(None, &[]);
    assert!(RawConnection::open_tls(server.address, &client).await.is_err(), "nobody takes it");
    let new = server.authority.issue(server.dir.path(), "new", THIS_MACHINE);
    put(&server, &new);
    until_in_force(&server, 1).await;
    let (day, now) = (24.0 * 3600.0, UNIX_EPOCH.elapsed().expect("after 1970").as_secs_f64());
    let expiry = "steadfast_tls_certificate_expiry_timestamp_seconds";
    until_figured(&server, expiry, |at| (now + day..=now + 2.0 * day).contains(&at)).await;
    until_figured(&server, "steadfast_tls_handshakes_refused_total", |refused| refused == 1.0).await;
    assert_eq!(server.process.stderr().events(HAS_EXPIRED).len(), 1, "the new one has not expired");
}

/// Submits until it is stopped, on a connection that it keeps, or each time on another.
fn submitting(
    server: &Secured,
    keeps: bool,
    stopped: watch::Receiver<bool>,
    accepted: Arc<Mutex<BTreeSet<String>>>,
) -> impl Future<Output = ()> + Send + 'static {
    let (client, address) = (server.authority.client(None, &[]), server.address);
    async move {
        let mut kept = None;
        while !*stopped.borrow() {
            let mut connection = match kept.take() {
                Some(connection) => connection,
                None => RawConnection::open_tls(address, &client).await.expect("a handshake"),
            };
            connection.post("/v1/jobs", r#"{"kind":"echo"}"#).await.expect("the request is sent");
            let answer = connection.answer().await.expect("a whole answer");
            assert_eq!(answer.status, 202, "{}", answer.json());
            accepted.lock().insert(answer.json()["id"].as_str().expect("an id").to_owned());
            kept = keeps.then_some(connection);
        }
    }
}

/// The certificate that a new connection is shown.
async fn shown(server: &Secured) -> Vec<u8> {
    let stream = TcpStream::connect(server.address).await.expect("a connection");
    let client = server.authority.client(None, &[]);
    let stream = client.connect(server.address.ip().into(), stream).await.expect("a handshake");
    stream.get_ref().1.peer_certificates().expect("a certificate")[0].to_vec()
}

/// Puts these files in the place of the server's, each at once.
fn put(server: &Secured, new: &Issued) {
    for (from, to) in [(&new.certificate, &server.files.certificate), (&new.key, &server.files.key)] {
        let beside = to.with_extension("beside");
        fs::copy(from, &beside).and_then(|_| fs::rename(&beside, to)).expect("a file can be put in place");
    }
}

/// Waits until a metric has such a value.
async fn until_figured(server: &Secured, series: &str, is_it: impl Fn(f64) -> bool) {
    eventually(series, || async {
        let text = String::from_utf8(server.get("/metrics").await.body).ok()?;
        let figure = text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok());
        figure.is_some_and(&is_it).then_some(())
    })
    .await;
}

/// Waits until new files have come into force so many times.
async fn until_in_force(server: &Secured, times: usize) {
    eventually(IN_FORCE, || async {
        (server.process.stderr().events(IN_FORCE).len() >= times).then_some(())
    })
    .await;
}
