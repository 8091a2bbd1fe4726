use std::net::{Ipv4Addr, TcpListener};

use steadfast_testkit::ports::{free_port, loopback};

use crate::given::{assert_refused, run};

const JOB: &str = "01993c1e-5f2a-7000-8000-4fa1c2d3e4f5";

#[tokio::test(flavor = "multi_thread")]
async fn every_command_says_that_nobody_is_there() {
    let address = loopback(free_port());
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("jobs.ndjson");
    std::fs::write(&file, "{\"kind\":\"echo\"}\n").expect("a file");
    for line in [
        "submit echo".to_owned(),
        "submit echo --wait".to_owned(),
        format!("submit --file {}", file.display()),
        format!("get {JOB}"),
        "list".to_owned(),
        format!("watch {JOB}"),
        format!("cancel {JOB}"),
        format!("retry {JOB}"),
        "queues".to_owned(),
        "queues pause default".to_owned(),
        "queues resume default".to_owned(),
        "drain".to_owned(),
        "drain --wait".to_owned(),
    ] {
        for output in ["text", "json"] {
            let exit = run(address, &format!("{line} --retry-for 0s --output {output}")).await;
            assert_refused(exit, 69, &["cannot reach", &address.to_string()]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_up_is_none() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || listener.incoming().for_each(drop));
    let refused = run(address, "submit echo --retry-for 0s --idempotency-key k").await;
    assert_refused(refused, 69, &["ended before the answer", "repeat this with --idempotency-key k"]);
    let refused = run(address, "list --retry-for 0s").await;
    assert_refused(refused, 69, &["ended before the answer"]);
}
