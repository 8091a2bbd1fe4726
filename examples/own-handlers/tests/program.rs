//! The program, as far as it is this example's own.

use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_own-handlers"));
    program.args(arguments).env_remove("IMPORTS").output().expect("it runs")
}

#[test]
fn what_it_cannot_be_built_without_is_said_and_nothing_is_served() {
    let output = run(&["--listen", "127.0.0.1:0", "--store", "memory:"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("IMPORTS must name the directory"), "{said}");
}

#[test]
fn what_does_not_serve_needs_none_of_it() {
    for arguments in [&["check"][..], &["openapi"], &["--help"]] {
        assert!(run(arguments).status.success(), "{arguments:?}");
    }
}
