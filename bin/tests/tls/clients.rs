use std::ffi::OsStr;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use steadfast_testkit::certificates::Authority;
use steadfast_testkit::harness::{Exit, Process, Signal};
use steadfast_testkit::{PATIENCE, eventually};

use super::given::{PROGRAM, Secured, given};
use super::workers::{GivenWorker, Language, PULLED};

/// Less than for how long the command line is told to repeat what may do better later.
const AT_ONCE: Duration = Duration::from_secs(20);
/// Submits a job and waits for its end.
const PYTHON: &str = r#"
import json, ssl, sys, urllib.request
context = ssl.create_default_context(cafile=sys.argv[2])
headers = {"Content-Type": "application/json", "Prefer": "wait=10"}
job = urllib.request.Request(sys.argv[1] + "/v1/jobs", b'{"kind":"echo"}', headers)
print(json.load(urllib.request.urlopen(job, context=context))["state"])
"#;

async fn end_of(program: &str, arguments: &[&str]) -> Exit {
    let mut command = Command::new(program);
    command.args(arguments);
    Process::start(command).exit_within(PATIENCE).await.expect("it ends")
}

/// The command line, trusting the authorities in `trusted`.
async fn steadfast(server: &str, trusted: &OsStr, line: &str) -> Exit {
    let mut command = Command::new(PROGRAM);
    command.env_clear().env("STEADFAST_SERVER", server).env("SSL_CERT_FILE", trusted).args(line.split(' '));
    Process::start(command).exit_within(PATIENCE).await.expect("it ends")
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_and_python_speak_to_it() {
    let mut server = given(|given| given).await;
    let authority = server.authority.certificate().to_str().unwrap().to_owned();
    let (url, host) = (server.url("/readyz"), format!("https://localhost:{}", server.address.port()));
    for (protocol, spoken) in [("--http2", "2"), ("--http1.1", "1.1")] {
        let arguments = ["-sS", protocol, "--cacert", &authority, "-w", " %{http_version}", &url];
        let exit = end_of("curl", &arguments).await.expect_code(0);
        assert_eq!(exit.stdout.text(), format!("{{\"status\":\"ready\"}} {spoken}"));
    }
    let exit = end_of("python3", &["-c", PYTHON, &host, &authority]).await.expect_code(0);
    assert_eq!(exit.stdout.text(), "completed");
    let plain = end_of("curl", &["-sS", &url.replace("https", "http")]).await.expect_code(0);
    assert!(plain.stdout.text().contains("https"), "{}", plain.output());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_trusts_what_it_is_told_to() {
    let mut server = given(|given| given).await;
    let (url, trusted) = (server.url(""), server.authority.certificate().as_os_str());
    let exit = steadfast(&url, trusted, "submit echo 7 --wait --output json").await.expect_code(0);
    let job: Value = serde_json::from_str(&exit.stdout.text()).expect("a document");
    assert_eq!((&job["state"], &job["result"]), (&json!("completed"), &json!(7)));

    let stranger = Authority::new(server.dir.path(), "stranger");
    let exit =
        steadfast(&url, stranger.certificate().as_os_str(), "queues --retry-for 60s").await.expect_code(69);
    let error = exit.stderr.text();
    assert!(error.contains("is not trusted") && error.contains("SSL_CERT_FILE"), "{error}");
    assert!(exit.took < AT_ONCE, "{:?}", exit.took);
    let exit = steadfast(&url, "/no/such.pem".as_ref(), "queues").await.expect_code(2);
    assert!(exit.stderr.text().contains("/no/such.pem"), "{}", exit.output());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_workers_work_for_it() {
    let mut server = given(|given| given.settings(PULLED)).await;
    for language in [Language::Python, Language::Node] {
        let worker = GivenWorker::new(language).trusts(server.authority.certificate());
        let mut worker = worker.start(&server.url(""));
        let submit = r#"{"kind":"any","payload":{"seconds":0}}"#;
        let job = server.post("/v1/jobs", submit).await.json();
        let id = job["id"].as_str().expect("it is accepted");
        eventually("the job is done", async || {
            let job = server.get(&format!("/v1/jobs/{id}")).await.json();
            (job["state"] == "completed").then_some(())
        })
        .await;
        worker.signal(Signal::TERM);
        worker.exit_within(PATIENCE).await.expect("it ends").expect_code(0);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_clients_with_a_certificate_are_let_in() {
    let dir = tempfile::tempdir().expect("a directory");
    let clients = Authority::new(dir.path(), "clients");
    let client = clients.issue(dir.path(), "client", "DNS:client");
    let mut server = given(|given| given.flag("--tls-client-ca", clients.certificate())).await;
    let authority = server.authority.certificate().to_str().unwrap().to_owned();
    let (certificate, key) = (client.certificate.to_str().unwrap(), client.key.to_str().unwrap());
    let url = server.url("/readyz");
    let with = ["-sS", "--cacert", &authority, "--cert", certificate, "--key", key, &url];
    assert_eq!(end_of("curl", &with).await.expect_code(0).stdout.text(), r#"{"status":"ready"}"#);
    let without = end_of("curl", &["-sS", "--cacert", &authority, &url]).await;
    let said = without.stderr.text();
    assert!(without.code != Some(0) && said.contains("certificate required"), "{}", without.output());
    server.stop().await;
}

/// The endpoint is the server itself: a delivery to it submits a second job.
#[tokio::test(flavor = "multi_thread")]
async fn deliveries_go_to_endpoints_whose_certificate_is_trusted() {
    let mut server = given(|given| given).await;
    let delivered = delivery(&server, &server.url("/v1/jobs")).await;
    let said = (&delivered["state"], &delivered["result"]["status"]);
    assert_eq!(said, (&json!("completed"), &json!(202)), "{delivered}");
    server.stop().await;

    let dir = tempfile::tempdir().expect("a directory");
    let stranger = Authority::new(dir.path(), "stranger");
    let mut server = given(|given| given.env("SSL_CERT_FILE", stranger.certificate())).await;
    let refused = delivery(&server, &server.url("/v1/jobs")).await;
    let said = (&refused["state"], &refused["errors"][0]["code"]);
    assert_eq!(said, (&json!("dead"), &json!("tls")), "{refused}");
    server.stop().await;
}

/// A job that delivers a submit to `url`, once it has ended.
async fn delivery(server: &Secured, url: &str) -> Value {
    let payload = json!({ "url": url, "method": "POST", "body": { "kind": "echo" } });
    let job = json!({ "kind": "http", "payload": payload, "retry": { "max_attempts": 1 } }).to_string();
    let head = "POST /v1/jobs HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nPrefer: wait=20\r\n";
    let mut connection = server.connect().await;
    let request = format!("{head}Content-Length: {}\r\n\r\n{job}", job.len());
    connection.send(request.as_bytes()).await.expect("the request is sent");
    connection.answer().await.expect("a whole answer").json()
}
