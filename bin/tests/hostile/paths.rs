use std::fs;

use steadfast_testkit::harness::token_entry;
use steadfast_testkit::history::all_jobs;

use crate::{all_said_to, given, statuses};

const JOB: &str = r#"{"kind":"echo"}"#;
/// Targets that a router may take for `/v1/jobs` and a proxy's rules may not, or the other way round.
const NOT_THE_JOBS: [&str; 24] = [
    "//v1/jobs",
    "/v1//jobs",
    "/v1/jobs/",
    "/./v1/jobs",
    "/v1/./jobs",
    "/v1/../v1/jobs",
    "/livez/../v1/jobs",
    "/v1/%2e%2e/v1/jobs",
    "/livez/%2e%2e/v1/jobs",
    "/livez/..%2fv1/jobs",
    "/livez/..;/v1/jobs",
    "/v1%2fjobs",
    "/v1/jobs%2f",
    "/%76%31/jobs",
    "/v1/jo%62s",
    "/V1/JOBS",
    "/v1/jobs;a=b",
    "/v1/jobs%00",
    "/v1/jobs%20",
    "/v1/jobs%c0%ae",
    "/v1/jobs%ff",
    "/v1\\jobs",
    "/v1/jobs\\..\\jobs",
    "http://t//v1/jobs",
];

fn request(method: &str, target: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} {target} HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{body}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_path_itself_is_the_path() {
    let server = given().start().await;
    for target in NOT_THE_JOBS {
        let said = all_said_to(server.address(), request("POST", target, JOB).as_bytes()).await;
        assert!(matches!(statuses(&said)[..], [400 | 404 | 405]), "{target}: {said}");
    }
    for target in
        ["/v1/jobs/%2e%2e/queues", "/v1/jobs/..%2fqueues", "/v1/queues/../jobs", "/problems/%2e%2e%2fmetrics"]
    {
        let said = all_said_to(server.address(), request("GET", target, "").as_bytes()).await;
        assert!(matches!(statuses(&said)[..], [400 | 404]), "{target}: {said}");
    }
    for (method, target) in [("CONNECT", "t:80"), ("OPTIONS", "*"), ("GET", "v1/jobs"), ("GET", "")] {
        let said = all_said_to(server.address(), request(method, target, "").as_bytes()).await;
        assert!(matches!(statuses(&said)[..], [400 | 404 | 405]), "{method} {target}: {said}");
    }
    assert!(all_jobs(&server.client()).await.is_empty());

    // The absolute form is another way to write the same target (RFC 9112, section 3.2.2).
    let said = all_said_to(server.address(), request("POST", "http://t/v1/jobs?a=b", JOB).as_bytes()).await;
    assert_eq!(statuses(&said), [202], "{said}");
    assert_eq!(all_jobs(&server.client()).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_way_of_writing_a_path_leads_around_the_tokens() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("tokens.toml");
    let entry = token_entry("nobody", &["admin"], "a token that nobody has");
    fs::write(&file, entry).expect("a file");
    let path = file.into_os_string();
    let process = given().flag("--token-file", path).launch(dir.path());
    let address = steadfast_testkit::eventually("it listens", || async {
        process.stderr().events("ready").first()?;
        process.stderr().events("listening").pop()?["address"].as_str()?.parse().ok()
    })
    .await;
    let more = ["/v1/jobs", "http://t/v1/jobs", "/jobs", "/v1/queues", "/v1/leases", "/metrics/../v1/jobs"];
    for target in NOT_THE_JOBS.into_iter().chain(more) {
        for method in ["GET", "POST", "HEAD", "BREW"] {
            let said = all_said_to(address, request(method, target, JOB).as_bytes()).await;
            assert!(matches!(statuses(&said)[..], [400 | 401 | 404 | 405]), "{method} {target}: {said}");
        }
    }
    for target in ["/v1/jobs", "http://t/v1/jobs", "/jobs", "/v1/leases"] {
        let said = all_said_to(address, request("POST", target, JOB).as_bytes()).await;
        assert_eq!(statuses(&said), [401], "{target}: {said}");
    }
}
