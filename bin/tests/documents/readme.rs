//! Runs the README's own commands against the built program and compares what they print.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use steadfast_client::Client;
use steadfast_testkit::eventually;
use steadfast_testkit::harness::{Process, Signal};

use crate::console::{PROGRAM, assert_prints, steps_of};

/// Where the README has the server listen.
const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
const SCRIPT_WITHIN: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn the_readmes_commands_print_what_it_says() {
    let readme =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).expect("README.md");
    let steps = steps_of(&readme);
    assert!(!steps.is_empty(), "the README has commands");
    assert!(TcpListener::bind(ADDRESS).is_ok(), "{ADDRESS} is taken, and the README's commands need it");

    let dir = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(PROGRAM);
    command.current_dir(dir.path()).env_clear();
    let mut server = Process::start(command);
    let client = Client::new(&format!("http://{ADDRESS}")).expect("an address");
    eventually("the server is ready", async || client.ready().await.ok()).await;

    assert_prints(Command::new("bash"), dir.path(), &steps, SCRIPT_WITHIN).await;
    server.signal(Signal::TERM);
    let exit = server.exit_within(SCRIPT_WITHIN).await;
    exit.expect("the server ends").expect_code(0);
}
