use std::net::SocketAddr;

use crate::given::{command, end_of, run};

const JOB: &str = "01993c1e-5f2a-7000-8000-4fa1c2d3e4f5";

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_meant_is_said_before_anything_is_sent() {
    // Nobody listens there: who asks gets 69.
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
    let dir = tempfile::tempdir().expect("a directory");
    let missing = dir.path().join("missing").display().to_string();
    for (line, said) in [
        ("submit".to_owned(), "KIND"),
        ("submit Echo".to_owned(), "Echo"),
        ("submit echo {".to_owned(), "the payload is not valid JSON"),
        (format!("submit echo @{missing}"), "cannot open"),
        (format!("submit --file {missing}"), "missing"),
        ("submit echo --file x".to_owned(), "--file"),
        ("submit --file x --queue mail".to_owned(), "--queue"),
        ("submit --file x --idempotency-key k".to_owned(), "--idempotency-key"),
        ("submit --file - --journal j".to_owned(), "--journal"),
        ("submit echo --journal j".to_owned(), "--journal"),
        ("submit echo --delay soon".to_owned(), "10m"),
        ("submit echo --deadline tomorrow".to_owned(), "2027-01-01T00:00:00Z"),
        ("submit echo --priority urgent".to_owned(), "critical"),
        ("submit echo --max-attempts 0".to_owned(), "--max-attempts"),
        ("submit echo --tag a".to_owned(), "KEY=VALUE"),
        ("get".to_owned(), "<ID>"),
        ("get 7".to_owned(), "UUID"),
        ("list --state running".to_owned(), "processing"),
        ("list --limit 0".to_owned(), "--limit"),
        ("list --limit 1 --all".to_owned(), "--all"),
        ("list --tag a".to_owned(), "KEY=VALUE"),
        ("watch".to_owned(), "<ID>"),
        ("cancel".to_owned(), "<ID>"),
        ("retry x".to_owned(), "UUID"),
        ("queues stop mail".to_owned(), "stop"),
        ("queues pause".to_owned(), "<NAME>"),
        ("queues resume Mail".to_owned(), "a-z"),
        ("drain --force".to_owned(), "--force"),
        ("drain --retry-for 1".to_owned(), "10m"),
        ("drain --server nowhere".to_owned(), "--server"),
        (format!("get {JOB} --output yaml"), "json"),
        ("check --output yaml".to_owned(), "json"),
        ("token --scope read".to_owned(), "<NAME>"),
        ("token Billing --scope read".to_owned(), "a-z"),
        ("token billing".to_owned(), "--scope"),
        ("token billing --scope root".to_owned(), "submit, read, work, admin"),
        ("token billing --scope read --tenant Acme".to_owned(), "a-z"),
        ("openapi now".to_owned(), "now"),
        ("completions".to_owned(), "<SHELL>"),
        ("completions tcsh".to_owned(), "bash"),
        ("man nothing".to_owned(), "nothing"),
        ("rest".to_owned(), "rest"),
    ] {
        let exit = run(nowhere, &line).await;
        assert_eq!(exit.code, Some(2), "{line}\n{}", exit.output());
        let error = exit.stderr.text();
        assert!(
            error.contains(said) && exit.stdout.text().is_empty(),
            "{line}: {said:?} is missing in:\n{error}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_none_is_not_shown() {
    let mut command = command(SocketAddr::from(([127, 0, 0, 1], 1)), ["list"]);
    command.env("STEADFAST_TOKEN", "two words");
    let error = end_of(command).await.expect_code(2).stderr.text();
    assert!(error.contains("STEADFAST_TOKEN") && !error.contains("two words"), "{error}");
}
