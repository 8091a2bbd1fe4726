//! The reader of documents itself.

use super::*;

#[test]
fn only_console_blocks_are_run_with_what_they_print() {
    let document = "```sh\ncargo run\n```\n```console\n$ a \\\n  -b\none\ntwo\n$ c\n```\ntext\n```console\n$ d\nx\n```\n";
    let step = |command: &str, expected: &[&str]| Step {
        command: command.to_owned(),
        expected: expected.iter().map(ToString::to_string).collect(),
    };
    let expected = [step("a \\\n  -b", &["one", "two"]), step("c", &[]), step("d", &["x"])];
    assert_eq!(steps_of(document), expected);
}

#[test]
fn a_block_named_after_a_file_is_written_to_it() {
    let document =
        "```rust src/a.rs\nfn a() {}\n```\n```rust\nfn b() {}\n```\n```rust from src/c.rs\nfn c() {}\n```\n";
    let steps = steps_of(document);
    assert_eq!(steps.len(), 1, "{steps:?}");
    assert!(
        steps[0].command.contains("> src/a.rs") && steps[0].command.contains("\nfn a() {}\n"),
        "{steps:?}"
    );
}

#[test]
fn what_differs_from_run_to_run_is_masked_and_nothing_else() {
    let id = "01993c1e-0000-7000-8000-0000000000ff";
    assert_eq!(mask(&format!(r#"{{"id":"{id}","n":12}}"#)), r#"{"id":"<id>","n":12}"#);
    assert_eq!(mask(&format!("location: /v1/jobs/{id}")), "location: /v1/jobs/<id>");
    assert_eq!(mask(r#""at":"2026-11-21T00:00:00.123Z""#), r#""at":"<time>""#);
    assert_eq!(mask("Retry-After: 17"), "retry-after: <masked>");
    assert_eq!(
        mask(r#"{"retry_after_ms":950,"outcome":"none"}"#),
        r#"{"retry_after_ms":<ms>,"outcome":"none"}"#
    );
    assert_eq!(mask("HTTP/1.1 202 Accepted"), "HTTP/1.1 202 Accepted");
}

#[test]
fn an_ellipsis_stands_for_anything() {
    assert!(
        matches("a…c", "abc") && matches("…", "abc") && matches("a…b…d", "a1b2cd") && matches("abc", "abc")
    );
    assert!(!matches("a…c", "abd") && !matches("abc", "abcd") && !matches("a…b…d", "a1c2d"));
}
