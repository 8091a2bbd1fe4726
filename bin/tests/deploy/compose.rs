//! `deploy/docker/compose.yaml`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::container::Container;
use super::manifests::{documents, items, text, texts};
use super::path;

/// What stands for the operator's password, and for where it is put in.
const PASSWORD: (&str, &str) = ("${POSTGRES_PASSWORD:?set it in the environment or in .env}", "5tead1a5t");

fn compose() -> Value {
    documents(&path("deploy/docker/compose.yaml")).pop().expect("a document")
}

/// The service `steadfast` as the engine starts it.
fn container(compose: &Value) -> Container {
    let service = &compose["services"]["steadfast"];
    let variables = service["environment"].as_object().expect("variables");
    let environment: BTreeMap<_, _> = variables
        .iter()
        .map(|(name, value)| (name.clone(), text(value).replace(PASSWORD.0, PASSWORD.1)))
        .collect();
    Container::of_the_image(Vec::new(), environment, seconds(&service["stop_grace_period"]))
}

fn seconds(time: &Value) -> u64 {
    text(time).strip_suffix('s').and_then(|seconds| seconds.parse().ok()).expect("a time in seconds")
}

#[test]
fn the_server_takes_the_settings_and_its_drain_fits_the_grace_period() {
    container(&compose()).assert_a_drain_fits();
}

#[test]
fn the_database_is_there_first_and_goes_last() {
    let compose = compose();
    let [server, database] = ["steadfast", "postgres"].map(|name| &compose["services"][name]);
    assert_eq!(server["depends_on"]["postgres"]["condition"], "service_healthy");
    assert_eq!(texts(&database["healthcheck"]["test"])[..2], ["CMD", "pg_isready"]);
    let url = &container(&compose).environment["STEADFAST_STORE"];
    let names = ["POSTGRES_USER", "POSTGRES_DB"].map(|name| text(&database["environment"][name]));
    let [user, name] = names;
    assert_eq!(*url, format!("postgres://{user}:{}@postgres:5432/{name}", PASSWORD.1));
    assert_eq!(database["environment"]["POSTGRES_PASSWORD"], PASSWORD.0);
}

#[test]
fn the_published_port_is_the_servers_and_for_this_machine() {
    let compose = compose();
    let port = container(&compose).port("listen");
    assert_eq!(compose["services"]["steadfast"]["ports"], json!([format!("127.0.0.1:8080:{port}")]));
    assert_eq!(compose["networks"]["database"]["internal"], true);
    assert_eq!(texts(&compose["services"]["postgres"]["networks"]), ["database"]);
}

#[test]
fn the_container_has_no_rights_it_does_not_need() {
    let compose = compose();
    let server = &compose["services"]["steadfast"];
    assert_eq!(server["read_only"], true);
    assert_eq!(texts(&server["cap_drop"]), ["ALL"]);
    assert_eq!(texts(&server["security_opt"]), ["no-new-privileges:true"]);
    assert_eq!(server["user"], Value::Null, "the image's");
}

#[test]
fn every_secret_is_mounted_where_it_is_looked_for() {
    let compose = compose();
    let names: Vec<_> = items(&compose["services"]["steadfast"]["secrets"]).map(text).collect();
    assert_eq!(names, ["tokens.toml"]);
    assert_eq!(compose["secrets"]["tokens.toml"]["file"], "tokens.toml");
    assert_eq!(container(&compose).environment["STEADFAST_TOKEN_FILE"], "/run/secrets/tokens.toml");
}
