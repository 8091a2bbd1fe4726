use std::net::SocketAddr;

use crate::given::{document, end_of, run, shell, text};

const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);

#[tokio::test(flavor = "multi_thread")]
async fn check_prints_the_settings_and_the_budget() {
    let shown = text(NOWHERE, "check --capacity 77 --kill-after 90s").await;
    for part in ["capacity", "77", "kill_after", "90s", "graceful", "shutdown budget"] {
        assert!(shown.contains(part), "{part:?} is missing:\n{shown}");
    }
    let checked = document(NOWHERE, "check --capacity 77 --kill-after 90s").await;
    assert_eq!(checked["settings"]["capacity"], serde_json::json!({"value": "77", "source": "flag"}));
    assert_eq!(checked["shutdown_budget"]["phases_ms"]["draining"], serde_json::json!(30_000));
    assert_eq!(checked["shutdown_budget"]["with_margin_ms"], serde_json::json!(42_000));
    let exit = run(NOWHERE, "check --capacity many").await.expect_code(2);
    let error = exit.stderr.text();
    assert!(error.contains("capacity") && error.contains("many"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn completions_are_scripts_of_their_shells() {
    for name in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let exit = run(NOWHERE, &format!("completions {name}")).await.expect_code(0);
        assert!(exit.stdout.text().contains("idempotency-key"), "{name}");
    }
    // Bash itself takes the script, and has it complete a command.
    let line = "eval \"$(steadfast completions bash)\"; COMP_WORDS=(steadfast can); COMP_CWORD=1; \
                _steadfast steadfast can steadfast; echo \"${COMPREPLY[@]}\"";
    let exit = end_of(shell(NOWHERE, line)).await.expect_code(0);
    assert_eq!(exit.stdout.text(), "cancel", "{}", exit.output());
}

#[tokio::test(flavor = "multi_thread")]
async fn manual_pages_have_every_command_with_its_options() {
    let page = run(NOWHERE, "man").await.expect_code(0).stdout.text();
    assert!(page.contains(".TH steadfast 1"), "{page}");
    let commands = commands().await;
    for command in &commands {
        assert!(page.contains(&format!("steadfast\\-{command}(1)")), "{command} is missing:\n{page}");
        let own = run(NOWHERE, &format!("man {command}")).await.expect_code(0).stdout.text();
        assert!(own.contains(&format!(".TH steadfast-{command} 1")), "{own}");
    }
    let packaging = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/OPERATIONS.md"));
    let looped = format!("for command in {}; do", commands.join(" "));
    assert!(packaging.expect("a document").contains(&looped), "docs/OPERATIONS.md has not {looped:?}");
    let page = run(NOWHERE, "man submit").await.expect_code(0).stdout.text();
    assert!(page.contains(".TH steadfast-submit 1") && page.contains("\\-\\-idempotency\\-key"), "{page}");
    let page = run(NOWHERE, "man queues pause").await.expect_code(0).stdout.text();
    assert!(page.contains(".TH steadfast-queues-pause 1"), "{page}");
}

/// Every command, as the help lists them.
async fn commands() -> Vec<String> {
    let help = run(NOWHERE, "--help").await.expect_code(0).stdout.text();
    let listed =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = listed.filter_map(|line| line.split_whitespace().next().map(str::to_owned));
    names.filter(|name| name != "help").collect()
}
