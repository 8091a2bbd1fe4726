use std::collections::BTreeSet;

use serde_json::Value;
use steadfast_lifecycle::Phase;
use steadfast_wire::{ErrorCode, schema};

use crate::harness::{given_outside, problem};

/// Every route that the contract names and this server has.
const ROUTES: &[&str] = &[
    "POST /jobs",
    "POST /v1/jobs",
    "GET /v1/jobs",
    "POST /v1/jobs/batch",
    "GET /v1/jobs/{id}",
    "POST /v1/jobs/{id}/cancel",
    "POST /v1/jobs/{id}/retry",
    "GET /v1/jobs/{id}/events",
    "GET /v1/events",
    "GET /v1/ws",
    "POST /v1/leases",
    "POST /v1/leases/heartbeat",
    "POST /v1/leases/settle",
    "POST /v1/leases/{lease}/heartbeat",
    "POST /v1/leases/{lease}/complete",
    "POST /v1/leases/{lease}/fail",
    "POST /v1/leases/{lease}/release",
    "GET /v1/queues",
    "GET /v1/queues/{name}",
    "POST /v1/queues/{name}/pause",
    "POST /v1/queues/{name}/resume",
    "GET /livez",
    "GET /healthz",
    "GET /readyz",
    "GET /metrics",
    "POST /v1/drain",
    "GET /openapi.json",
    "GET /problems/{code}",
    "GET /",
];

/// Methods a client may come with, but HEAD, which is GET's.
const METHODS: [&str; 6] = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

pub(crate) fn document() -> Value {
    serde_json::from_str(steadfast_api::openapi_document()).unwrap()
}

/// Each operation: its method, its path, itself.
pub(crate) fn operations(document: &Value) -> Vec<(String, &str, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    paths
        .iter()
        .flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().iter();
            methods.map(move |(method, operation)| (method.to_uppercase(), path.as_str(), operation))
        })
        .collect()
}

#[test]
fn it_has_the_routes_of_the_contract() {
    let document = document();
    let described: BTreeSet<String> =
        operations(&document).iter().map(|(method, path, _)| format!("{method} {path}")).collect();
    assert_eq!(described, ROUTES.iter().map(|route| (*route).to_owned()).collect());
}

#[test]
fn every_operation_has_its_own_name() {
    let document = document();
    let operations = operations(&document);
    let ids: BTreeSet<&str> =
        operations.iter().map(|(.., operation)| operation["operationId"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), operations.len());
}

/// A path with a value for its parameter.
pub(crate) fn filled(path: &str) -> String {
    path.replace("{id}", "019aa3c4-6f80-7000-8c4e-5b1f0c6a7d21")
        .replace("{lease}", "019aa3c4-6f80-7000-8c4e-5b1f0c6a7d21.7.30000")
        .replace("{name}", "default")
        .replace("{code}", "internal")
}

#[tokio::test]
async fn each_path_has_the_methods_that_are_described_and_no_others() {
    let outside = given_outside().start().await;
    let document = document();
    for (path, item) in document["paths"].as_object().unwrap() {
        let mut described: BTreeSet<String> =
            item.as_object().unwrap().keys().map(|method| method.to_uppercase()).collect();
        if described.contains("GET") {
            described.insert("HEAD".to_owned());
        }
        for method in METHODS.iter().filter(|method| !described.contains(**method)) {
            let answer = outside.request(method, &filled(path), &[], "").await;
            problem(&answer, "method_not_allowed");
            let allowed: BTreeSet<String> =
                answer.header("allow").unwrap().split(',').map(str::to_owned).collect();
            assert_eq!(allowed, described, "{path}");
        }
    }
}

#[test]
fn each_code_is_described_where_it_is_answered() {
    let document = document();
    let mut found = BTreeSet::new();
    for (method, path, operation) in operations(&document) {
        for (status, response) in operation["responses"].as_object().unwrap() {
            let codes = &response["content"]["application/problem+json"]["schema"]["properties"]["code"];
            for code in codes["enum"].as_array().into_iter().flatten() {
                let code = ErrorCode::parse(code.as_str().unwrap()).unwrap();
                assert_eq!(code.status().to_string(), *status, "{method} {path}");
                found.insert(code.as_str());
            }
        }
    }
    // What has no operation is a response of its own.
    assert!(document["components"]["responses"]["method_not_allowed"].is_object());
    found.insert(ErrorCode::MethodNotAllowed.as_str());
    assert_eq!(found, ErrorCode::ALL.into_iter().map(ErrorCode::as_str).collect());
}

#[test]
fn the_phases_are_those_of_the_server() {
    assert_eq!(schema::PHASES, Phase::ALL.map(Phase::as_str));
}

#[tokio::test]
async fn it_is_served_whole_or_as_unchanged() {
    let outside = given_outside().start().await;
    let answer = outside.get("/openapi.json").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.body, steadfast_api::openapi_document().as_bytes());

    let tag = answer.header("etag").unwrap().to_owned();
    let weak = format!("W/{tag}");
    let among = format!("\"other\", {tag}");
    for given in [tag.as_str(), &weak, &among, "*"] {
        let again = outside.request("GET", "/openapi.json", &[("If-None-Match", given)], "").await;
        assert_eq!((again.status, again.header("etag")), (304, Some(tag.as_str())), "{given}");
        assert!(again.body.is_empty());
    }
    let changed = outside.request("GET", "/openapi.json", &[("If-None-Match", "\"other\"")], "").await;
    assert_eq!(changed.status, 200);
}
