//! Runs the commands of docs/OPERATIONS.md against the built program and compares what they print.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::console::{assert_prints, steps_of};

const SCRIPT_WITHIN: Duration = Duration::from_secs(120);
/// What the commands of a block marked `sh` need, which is not to be had where tests run; and the script that
/// `bin/tests/stops/demo.rs` runs. Everything else is a block marked `console`.
const ELSEWHERE: [&str; 4] = ["kubectl ", "docker ", "systemctl ", "scripts/shutdown-demo"];

fn page() -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/OPERATIONS.md");
    fs::read_to_string(page).expect("docs/OPERATIONS.md")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_print_what_the_page_says() {
    let steps = steps_of(&page());
    assert!(!steps.is_empty(), "the page has commands");
    let dir = tempfile::tempdir().expect("a directory");
    assert_prints(Command::new("bash"), dir.path(), &steps, SCRIPT_WITHIN).await;
}

/// The shell understands the rest, too, and the files that it names are there.
#[test]
fn what_cannot_be_run_here_is_for_a_platform_and_can_be_meant() {
    let (page, root) = (page(), Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    let blocks = page.split("```sh\n").skip(1).filter_map(|rest| rest.split_once("\n```"));
    for (block, _) in blocks {
        if block.starts_with("#!/bin/sh") {
            // A program of the kind `exec`, run by bin/tests/exec.
            continue;
        }
        assert!(ELSEWHERE.iter().any(|tool| block.contains(tool)), "not run by any test:\n{block}");
        let understood = Command::new("bash").args(["-n", "-c", block]).status().expect("bash");
        assert!(understood.success(), "{block}");
        for word in block.split_whitespace().filter(|word| word.starts_with("deploy/")) {
            let named = root.join(word);
            // Of a pattern, the directory.
            let there = if word.contains('*') { named.parent().expect("a directory") } else { &named };
            assert!(there.exists(), "{word} is not there:\n{block}");
        }
    }
}
