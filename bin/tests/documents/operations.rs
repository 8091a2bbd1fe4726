//! Runs the commands of docs/OPERATIONS.md against the built program and compares what they print.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::console::{assert_prints, steps_of};

const SCRIPT_WITHIN: Duration = Duration::from_secs(120);
#[tokio::test(flavor = "multi_thread")]
async fn the_commands_print_what_the_page_says() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/OPERATIONS.md");
    let steps = steps_of(&fs::read_to_string(page).expect("docs/OPERATIONS.md"));
    assert!(!steps.is_empty(), "the page has commands");
    let dir = tempfile::tempdir().expect("a directory");
    assert_prints(Command::new("bash"), dir.path(), &steps, SCRIPT_WITHIN).await;
}
