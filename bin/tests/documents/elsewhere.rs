//! Commands of the documents that are not run as they stand, in blocks marked `sh`: each is for a platform that is not to be
//! had where tests run, or starts a server whose settings are good. Everything else is a block marked `console`.

use std::path::{Path, PathBuf};
use std::process::Command;

use steadfast_testkit::harness::token_entry;
use tempfile::TempDir;

use crate::console::PROGRAM;

const DOCUMENTS: [&str; 6] = [
    "README.md",
    "docs/BENCHMARKS.md",
    "docs/EXTENDING.md",
    "docs/LOGS.md",
    "docs/OPERATIONS.md",
    "docs/SECURITY.md",
];
/// Of the platform, or of this checkout: what other tests run, and what builds it.
const ELSEWHERE: [&str; 8] =
    ["cargo", "docker", "git", "install", "kubectl", "scripts/shutdown-demo", "scripts/test", "systemctl"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The commands in blocks marked `sh`, each with its further lines. A whole script is none: it is a program of the kind
/// `exec`, which bin/tests/exec runs.
fn commands_of(document: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join(document)).expect("a document");
    let blocks = text.split("```sh\n").skip(1).filter_map(|rest| rest.split_once("\n```"));
    let blocks = blocks.map(|(block, _)| block).filter(|block| !block.starts_with("#!"));
    blocks
        .flat_map(|block| block.replace("\\\n", "").lines().map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

#[test]
fn what_is_not_run_here_is_for_elsewhere_and_can_be_meant() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("tokens.toml"), token_entry("me", &["read"], "a token")).expect("a file");
    let mut servers = 0;
    for (document, command) in DOCUMENTS
        .iter()
        .flat_map(|document| commands_of(document).into_iter().map(move |command| (document, command)))
    {
        let program = command.split_whitespace().next().expect("no empty line");
        match program {
            "steadfast" => {
                assert_is_a_good_server(&command, &dir);
                servers += 1;
            }
            "export" => assert_bash(&["-c", &command], &command),
            _ => assert!(ELSEWHERE.contains(&program), "{document}: not run by any test: {command}"),
        }
        assert_bash(&["-n", "-c", &command], &command);
        assert_names_what_is_there(&command);
    }
    assert!(servers > 0, "the README starts a replica");
}

/// The server's settings, as `steadfast check` reads them where there is a `tokens.toml`.
fn assert_is_a_good_server(command: &str, dir: &TempDir) {
    let check = command.replacen("steadfast", &format!("exec {PROGRAM} check"), 1);
    let checked = Command::new("bash").args(["-c", &check]).current_dir(dir.path()).output().expect("bash");
    assert!(checked.status.success(), "{command}\n{}", String::from_utf8_lossy(&checked.stderr));
}

fn assert_bash(arguments: &[&str], command: &str) {
    let status = Command::new("bash").args(arguments).status().expect("bash");
    assert!(status.success(), "{command}");
}

/// The files of this checkout that it names.
fn assert_names_what_is_there(command: &str) {
    let ours = |word: &&str| ["deploy/", "scripts/"].iter().any(|directory| word.starts_with(directory));
    for word in command.split_whitespace().filter(ours) {
        let named = root().join(word);
        // Of a pattern, the directory.
        let there = if word.contains('*') { named.parent().expect("a directory") } else { &named };
        assert!(there.exists(), "{word} is not there: {command}");
    }
}
