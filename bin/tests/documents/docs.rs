//! Holds the documents against the code.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use steadfast::settings::{SETTINGS, TELEMETRY_DISABLED, TELEMETRY_VARIABLES};
use steadfast_domain::{Event, TRANSITIONS};

use crate::console::steps_of;

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The documents whose commands are run, each at the same time as any other.
const RUN: [&str; 4] = ["README.md", "docs/EXTENDING.md", "docs/OPERATIONS.md", "docs/SECURITY.md"];

#[test]
fn no_port_is_in_the_commands_of_two_documents() {
    let mut owners: BTreeMap<u16, &str> = BTreeMap::new();
    for document in RUN {
        for port in steps_of(&read(document)).iter().flat_map(|step| ports_in(&step.command)) {
            let owner = owners.entry(port).or_insert(document);
            assert_eq!(*owner, document, "both use port {port}");
        }
    }
    // The one that a server has by itself, and those beside it.
    assert!(owners.get(&8080) == Some(&"README.md") && owners.len() > RUN.len(), "{owners:?}");
}

/// The ports that a command names behind an address of this machine.
fn ports_in(command: &str) -> Vec<u16> {
    let after = |host: &str| {
        let rests = command.split(host).skip(1).filter_map(|rest| rest.strip_prefix(':'));
        let digits = rests.map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default());
        digits.filter_map(|digits| digits.parse().ok()).collect::<Vec<u16>>()
    };
    ["127.0.0.1", "localhost", "0.0.0.0", "[::1]"].into_iter().flat_map(after).collect()
}

fn event_name(event: Event) -> &'static str {
    match event {
        Event::Claim => "claim",
        Event::Complete => "complete",
        Event::Retry => "retry",
        Event::Die => "die",
        Event::HandBack => "hand_back",
        Event::Cancel => "cancel",
        Event::Expire => "expire",
        Event::Reopen => "reopen",
    }
}

#[test]
fn the_state_diagram_is_the_transition_table() {
    let text = read("docs/ARCHITECTURE.md");
    let drawn: BTreeSet<String> =
        text.lines().map(str::trim).filter(|line| line.contains(" --> ")).map(str::to_owned).collect();
    let allowed: BTreeSet<String> = TRANSITIONS
        .iter()
        .map(|(from, event, to)| format!("{} --> {}: {}", from.as_str(), to.as_str(), event_name(*event)))
        .collect();
    assert_eq!(drawn, allowed);
}

#[test]
fn the_command_prints_what_a_server_answers() {
    let printed = Command::new(env!("CARGO_BIN_EXE_steadfast")).arg("openapi").output().unwrap();
    assert!(printed.status.success());
    assert_eq!(String::from_utf8(printed.stdout).unwrap(), steadfast_api::openapi_document());
}

/// The settings' part of the page: its rows' flags, variables and defaults.
#[test]
fn the_settings_table_is_the_codes() {
    let text = read("docs/OPERATIONS.md");
    let written: Vec<String> = text
        .lines()
        .filter(|line| line.starts_with("| `--") && line.contains("` | `STEADFAST_"))
        .map(|line| line.split('|').map(str::trim).skip(1).take(3).collect::<Vec<_>>().join(" | "))
        .collect();
    let known: Vec<String> = SETTINGS
        .iter()
        .map(|setting| {
            // A default that is a value is written as one; one that is a description stays text.
            let default = setting.default();
            let default = match default.as_str() {
                "unset" => default,
                described if described.contains(", else ") => "`text` on a terminal, else `json`".to_owned(),
                value => format!("`{value}`"),
            };
            format!("`{}` | `{}` | {default}", setting.flag(), setting.env())
        })
        .collect();
    assert_eq!(written, known);
}

#[test]
fn the_table_of_traces_has_every_variable_that_is_read() {
    let text = read("docs/OPERATIONS.md");
    let rows = text.lines().filter(|line| line.starts_with("| `OTEL_"));
    let written: BTreeSet<&str> = rows
        .flat_map(|row| row.split('|').nth(1).unwrap_or_default().split(','))
        .map(|name| name.trim().trim_matches('`'))
        .collect();
    assert_eq!(written, TELEMETRY_VARIABLES.into_iter().chain([TELEMETRY_DISABLED]).collect());
}
