use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use steadfast_api::{Tls, TlsPart, TlsPem};
use steadfast_testkit::certificates::{Authority, EXPIRED, Issued, THIS_MACHINE};
use steadfast_testkit::eventually;
use steadfast_testkit::raw::{NoAnswer, RawConnection};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use crate::harness::{Outside, given_outside};
use crate::lease_waits::goes_away_as_its_job_comes;

/// Short enough for a test, long enough for a handshake on a busy machine.
const SHORT: Duration = Duration::from_secs(3);
/// The first bytes of a handshake: a record of 512 bytes, of which only the head has come.
const HALF_A_HELLO: &[u8] = &[22, 3, 1, 2, 0, 1];

/// What no client begins with.
const A_SERVERS_HELLO: &[u8] = &[22, 3, 1, 0, 4, 2, 0, 0, 0];

/// A server's TLS, and a client that trusts it.
pub(crate) struct Secured {
    pub(crate) dir: TempDir,
    pub(crate) authority: Authority,
    pub(crate) tls: Arc<Tls>,
    pub(crate) client: TlsConnector,
}

/// The contents of files.
struct Pem {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_authorities: Option<Vec<u8>>,
}

impl Pem {
    fn of(server: &Issued) -> Self {
        Self { certificate: read(&server.certificate), key: read(&server.key), client_authorities: None }
    }

    fn parts(&self) -> TlsPem<'_> {
        let Self { certificate, key, client_authorities } = self;
        TlsPem { certificate, key, client_authorities: client_authorities.as_deref() }
    }
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap()
}

impl Secured {
    pub(crate) fn new() -> Self {
        Self::asking(false)
    }

    /// If it `asks` for them, clients need certificates of the authority that has signed the server's, and the
    /// client has one.
    fn asking(asks: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::new(dir.path(), "authority");
        let mut pem = Pem::of(&authority.issue(dir.path(), "server", THIS_MACHINE));
        pem.client_authorities = asks.then(|| read(authority.certificate()));
        let tls = Arc::new(Tls::new(pem.parts()).unwrap());
        let shows = asks.then(|| authority.issue(dir.path(), "client", "DNS:client"));
        let client = authority.client(shows.as_ref(), &[]);
        Self { dir, authority, tls, client }
    }
}

async fn secured() -> Outside {
    given_outside().secured(Secured::new()).start().await
}

#[tokio::test]
async fn a_submit_under_tls_is_a_submit() {
    let outside = secured().await;
    let id = outside.submitted().await;
    assert_eq!(outside.get(&format!("/v1/jobs/{id}")).await.json()["state"], "queued");
}

#[tokio::test]
async fn the_protocol_is_agreed_on_in_the_handshake() {
    let outside = secured().await;
    let secured = outside.secured();
    let h2: &[u8] = b"h2";
    for (offered, agreed) in [
        (vec![h2, b"http/1.1"], Some(h2)),
        (vec![b"http/1.1".as_slice()], Some(b"http/1.1".as_slice())),
        (vec![], None),
    ] {
        let client = secured.authority.client(None, &offered);
        let stream = TcpStream::connect(outside.address).await.unwrap();
        let stream = client.connect(outside.address.ip().into(), stream).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), agreed);
    }
}

#[tokio::test]
async fn a_handshake_that_is_not_whole_in_time_is_cut() {
    let given = given_outside().secured(Secured::new()).config(|config| config.header_timeout = SHORT);
    let outside = given.start().await;
    let stalls = [b"".as_slice(), &HALF_A_HELLO[..1], HALF_A_HELLO].map(async |sent| {
        let began = Instant::now();
        let mut stalled = RawConnection::open(outside.address).await.unwrap();
        stalled.send(sent).await.unwrap();
        assert!(stalled.answer().await.is_err());
        assert!(began.elapsed() >= SHORT, "{sent:?}: {:?}", began.elapsed());
    });
    // One that has shaken hands and says nothing, too.
    let silent = async { assert!(outside.connect().await.answer().await.is_err()) };
    tokio::join!(join_all(stalls), silent);
    eventually("all are gone", || async { (outside.connections.open_count() == 0).then_some(()) }).await;
}

#[tokio::test]
async fn who_speaks_plain_http_is_told_to_speak_tls() {
    let outside = secured().await;
    for request in ["GET / HTTP/1.1\r\nHost: t\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut plain = RawConnection::open(outside.address).await.unwrap();
        plain.send(request.as_bytes()).await.unwrap();
        let answer = plain.answer().await.unwrap();
        assert!(answer.status == 400 && answer.closes(), "{answer:?}");
        assert!(String::from_utf8_lossy(&answer.body).contains("https"), "{answer:?}");
        assert_eq!(plain.until_eof().await.unwrap(), b"");
    }
}

#[tokio::test]
async fn what_is_neither_gets_an_alert_and_a_close() {
    let outside = secured().await;
    let mut stream = TcpStream::connect(outside.address).await.unwrap();
    stream.write_all(A_SERVERS_HELLO).await.unwrap();
    let mut received = Vec::new();
    stream.read_to_end(&mut received).await.expect("a close in order, no reset");
    assert_eq!(received.first(), Some(&21), "an alert: {received:?}");
}

#[tokio::test]
async fn a_client_without_the_right_certificate_is_refused() {
    let outside = given_outside().secured(Secured::asking(true)).start().await;
    outside.submitted().await;
    let Secured { dir, authority, .. } = outside.secured();
    let stranger = Authority::new(dir.path(), "stranger").issue(dir.path(), "strangers", "DNS:client");
    for (shows, alert) in [(None, "CertificateRequired"), (Some(stranger), "DecryptError")] {
        let client = authority.client(shows.as_ref(), &[]);
        // In TLS 1.3 a client learns it only when it reads.
        let mut refused = RawConnection::open_tls(outside.address, &client).await.unwrap();
        let _ = refused.get("/healthz").await;
        let NoAnswer::Broken(error) = refused.answer().await.unwrap_err() else { panic!("no alert") };
        assert!(error.to_string().contains(alert), "{error}");
    }
    outside.submitted().await;
}

#[tokio::test]
async fn a_new_certificate_is_for_new_connections() {
    let outside = secured().await;
    let Secured { dir, tls, client, .. } = outside.secured();
    let mut before = outside.connect().await;
    before.get("/healthz").await.unwrap();
    before.answer().await.unwrap();

    let other = Authority::new(dir.path(), "other");
    tls.replace(Pem::of(&other.issue(dir.path(), "new", THIS_MACHINE)).parts()).unwrap();
    let mut after = RawConnection::open_tls(outside.address, &other.client(None, &[])).await.unwrap();
    after.get("/healthz").await.unwrap();
    assert_eq!(after.answer().await.unwrap().status, 200);
    RawConnection::open_tls(outside.address, client).await.expect_err("the certificate is another's");
    before.get("/healthz").await.unwrap();
    assert_eq!(before.answer().await.unwrap().status, 200);

    let nothing = TlsPem { certificate: b"half a fi", key: b"", client_authorities: None };
    tls.replace(nothing).unwrap_err();
    RawConnection::open_tls(outside.address, &other.client(None, &[]))
        .await
        .expect("the last good one stays");
}

#[test]
fn what_makes_no_tls_is_named_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path(), "authority");
    let pem = Pem::of(&authority.issue(dir.path(), "server", THIS_MACHINE));
    let other = authority.issue(dir.path(), "other", THIS_MACHINE);
    let encrypted = dir.path().join("encrypted.key");
    let mut openssl = std::process::Command::new("openssl");
    openssl.args(["pkey", "-aes128", "-passout", "pass:secret", "-in"]).arg(&other.key);
    assert!(openssl.arg("-out").arg(&encrypted).status().unwrap().success());
    let (encrypted, other) = (read(&encrypted), read(&other.key));
    // As it comes out of a variable, and cut off.
    let key = String::from_utf8(pem.parts().key.to_vec()).unwrap();
    let (in_one_line, secret) = (key.replace('\n', "\\n"), key.lines().nth(1).unwrap());
    let cut_off = format!("-----BEGIN PRIVATE KEY-----\n{secret}");
    let broken = b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n".as_slice();

    use TlsPart::{Certificate, ClientAuthorities, Key};
    let (good, asks) =
        (pem.parts(), |authorities| TlsPem { client_authorities: Some(authorities), ..pem.parts() });
    let cases = [
        (TlsPem { certificate: good.key, ..good }, Certificate, "no certificate"),
        (TlsPem { certificate: b"", ..good }, Certificate, "no certificate"),
        (TlsPem { certificate: broken, ..good }, Certificate, "not usable as a server's"),
        (TlsPem { certificate: &broken[..30], ..good }, Certificate, "not PEM"),
        (TlsPem { key: good.certificate, ..good }, Key, "no key"),
        (TlsPem { key: in_one_line.as_bytes(), ..good }, Key, "a BEGIN line has to be"),
        (TlsPem { key: cut_off.as_bytes(), ..good }, Key, "an END line is missing"),
        (TlsPem { key: &encrypted, ..good }, Key, "is encrypted"),
        (TlsPem { key: &other, ..good }, Key, "not the key of the certificate"),
        (asks(good.key), ClientAuthorities, "no certificate"),
        (asks(broken), ClientAuthorities, "not usable as an authority"),
    ];
    for (pem, part, reason) in cases {
        let error = Tls::new(pem).unwrap_err();
        assert!(error.part == part && error.reason.contains(reason), "{part:?}, {reason}: {error}");
        // Neither as text nor as numbers of its bytes.
        let numbers = format!("{:?}", secret.as_bytes()).trim_matches(['[', ']']).to_owned();
        assert!(!error.reason.contains(secret) && !error.reason.contains(&numbers), "{error}");
    }
}

#[test]
fn tls_expires_with_the_servers_certificate() {
    let Secured { dir, authority, .. } = Secured::new();
    let mut pem = Pem::of(&authority.issue(dir.path(), "leaf", THIS_MACHINE));
    // Clients may not need what follows.
    pem.certificate.extend_from_slice(EXPIRED.as_bytes());
    let tls = Tls::new(pem.parts()).unwrap();
    assert!(tls.expires_at().unwrap() > SystemTime::now());
    let expired = || EXPIRED.as_bytes().to_vec();
    let expired = Pem { certificate: expired(), key: expired(), client_authorities: None };
    tls.replace(expired.parts()).unwrap();
    let year_2002 = UNIX_EPOCH + Duration::from_secs(1_009_843_200);
    assert_eq!(tls.expires_at(), Some(year_2002));
}

/// Whether the worker says so or only closes, and whether the server hears of it first or of the job.
#[tokio::test]
async fn a_worker_that_goes_away_as_its_job_comes_leaves_it_as_it_was_under_tls() {
    let outside = secured().await;
    for round in 0..30 {
        goes_away_as_its_job_comes(&outside, round % 2 == 0).await;
    }
}

#[tokio::test]
async fn beyond_the_cap_the_reserve_serves_under_tls_too() {
    let given = given_outside().secured(Secured::new()).config(|config| config.connections_max = 1);
    let outside = given.start().await;
    let mut first = outside.connect().await;
    first.get("/v1/jobs").await.unwrap();
    assert_eq!(first.answer().await.unwrap().status, 200);
    // More than there are reserved places: each has to go before the next can come.
    let mut stalled = Vec::new();
    for _ in 0..steadfast_api::RESERVED_CONNECTIONS + 20 {
        let mut connection = RawConnection::open(outside.address).await.unwrap();
        connection.send(HALF_A_HELLO).await.unwrap();
        stalled.push(connection);
    }
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(outside.get(path).await.status, 200, "{path}");
    }
}
