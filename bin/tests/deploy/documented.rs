//! The container that `docs/OPERATIONS.md` starts by `docker run`.

use std::collections::BTreeMap;

use super::container::Container;
use super::{path, read};

#[test]
fn a_drain_of_the_documented_container_fits_what_docker_waits() {
    let mut environment = BTreeMap::new();
    let mut grace_seconds = None;
    let command = command();
    let mut words = command.split_whitespace();
    while let Some(word) = words.next() {
        let mut value = || words.next().expect("a value behind it");
        match word {
            "--env" => {
                let (name, value) = value().split_once('=').expect("NAME=VALUE");
                environment.insert(name.to_owned(), value.to_owned());
            }
            "--stop-timeout" => grace_seconds = value().parse().ok(),
            _ => {}
        }
    }
    let grace_seconds = grace_seconds.expect("it says how long Docker waits, whose own time is short");
    Container::of_the_image(Vec::new(), environment, grace_seconds).assert_a_drain_fits();
}

/// The whole command, its lines put together.
fn command() -> String {
    let text = read(&path("docs/OPERATIONS.md"));
    let lines = text.lines().skip_while(|line| !line.starts_with("docker run "));
    let mut command = String::new();
    for line in lines {
        let Some(part) = line.strip_suffix('\\') else { return command + line };
        command.push_str(part);
    }
    panic!("a command that begins with `docker run`")
}
