//! The units of `deploy/systemd`, held against systemd and against the settings.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use steadfast::settings::show_time;
use tempfile::TempDir;

use crate::PROGRAM;

const UNITS: [&str; 2] = ["steadfast.service", "steadfast.socket"];
/// Where the units expect the program.
const INSTALLED: &str = "/usr/bin/steadfast";
/// Tenths of `systemd-analyze security`'s scale from 0 to 10. What is left is that it needs the network.
const EXPOSURE_MAX: u32 = 15;

fn unit(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/systemd").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every value of a key.
fn values<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    let lines = unit.lines().filter_map(|line| line.split_once('='));
    lines.filter(|(name, _)| *name == key).map(|(_, value)| value).collect()
}

fn seconds(unit: &str, key: &str) -> Duration {
    let values = values(unit, key);
    let [value] = values[..] else { panic!("{key}: {values:?}") };
    Duration::from_secs(value.parse().expect("whole seconds"))
}

/// What a unit's `Environment=` says about the settings, as the program takes it.
fn checked(unit: &str) -> Value {
    let mut check = Command::new(PROGRAM);
    check.args(["check", "--output", "json"]).env_clear();
    check.envs(values(unit, "Environment").iter().filter_map(|variable| variable.split_once('=')));
    let output = check.output().expect("the program");
    assert!(output.status.success(), "{}", said(&output));
    serde_json::from_slice(&output.stdout).expect("a JSON document")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned()
}

#[test]
fn the_drain_fits_into_what_systemd_allows() {
    let service = unit("steadfast.service");
    let (checked, stop) = (checked(&service), seconds(&service, "TimeoutStopSec"));
    let budget = &checked["shutdown_budget"];
    assert_eq!(budget["graceful_cut_ms"], 0, "{budget}");
    let with_margin = Duration::from_millis(budget["with_margin_ms"].as_u64().expect("a number"));
    assert!(with_margin <= stop, "{with_margin:?} of {stop:?}");
    let kill_after = &checked["settings"]["shutdown.kill_after"]["value"];
    assert_eq!(kill_after, &show_time(stop), "the server is told the same");
}

#[test]
fn a_server_that_cannot_start_is_tried_again_without_end() {
    let service = unit("steadfast.service");
    let starts = seconds(&service, "StartLimitIntervalSec").div_duration_f64(seconds(&service, "RestartSec"));
    let [limit] = values(&service, "StartLimitBurst")[..] else { panic!("one limit") };
    assert!(starts < limit.parse().expect("a number"), "{starts} starts of {limit}");
}

#[test]
fn a_program_that_takes_all_memory_does_not_stop_the_service() {
    assert_eq!(values(&unit("steadfast.service"), "OOMPolicy"), ["continue"]);
}

#[test]
fn the_store_is_where_the_service_may_write() {
    let service = unit("steadfast.service");
    let store = checked(&service)["settings"]["store"]["value"].clone();
    let directory = format!("sqlite:///var/lib/{}/", values(&service, "StateDirectory").join(" "));
    assert!(store.as_str().is_some_and(|store| store.starts_with(&directory)), "{store} in {directory}");
}

#[test]
fn the_socket_listens_where_the_server_would_by_default() {
    let (service, socket) = (unit("steadfast.service"), unit("steadfast.socket"));
    let listen = &checked(&service)["settings"]["listen"]["value"];
    assert_eq!(values(&socket, "ListenStream"), [listen.as_str().expect("an address")]);
    assert_eq!(values(&service, "Requires"), ["steadfast.socket"]);
}

/// The units as they are installed, but for the program's place.
struct Installed(TempDir);

impl Installed {
    fn new() -> Self {
        let dir = TempDir::new().expect("a directory");
        for name in UNITS {
            fs::write(dir.path().join(name), unit(name).replace(INSTALLED, PROGRAM)).expect("a file");
        }
        Self(dir)
    }

    fn paths(&self) -> impl Iterator<Item = PathBuf> {
        UNITS.iter().map(|name| self.0.path().join(name))
    }
}

#[test]
fn systemd_finds_no_fault_with_the_units() {
    let installed = Installed::new();
    let output = analyze(["verify", "--man=no"], installed.paths());
    assert!(output.status.success() && said(&output).is_empty(), "{}", said(&output));
}

#[test]
fn the_service_is_locked_in() {
    let installed = Installed::new();
    let threshold = format!("--threshold={EXPOSURE_MAX}");
    let output = analyze(["security", "--offline=true", "--no-pager", &threshold], installed.paths().take(1));
    assert!(output.status.success(), "{}", said(&output));
}

fn analyze<const N: usize>(arguments: [&str; N], units: impl Iterator<Item = PathBuf>) -> Output {
    let output = Command::new("systemd-analyze").args(arguments).args(units).output();
    output.expect("systemd-analyze, of Debian's package systemd")
}
