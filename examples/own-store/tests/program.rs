//! The program, where its store cannot be opened.

use std::fs;
use std::process::Command;

#[test]
fn a_store_that_cannot_be_opened_ends_the_program_and_says_why() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::create_dir(dir.path().join("audit.ndjson")).expect("a directory in the file's place");
    let mut program = Command::new(env!("CARGO_BIN_EXE_own-store"));
    let output = program.args(["--listen", "127.0.0.1:0"]).current_dir(&dir).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("Is a directory"), "{said}");
}
