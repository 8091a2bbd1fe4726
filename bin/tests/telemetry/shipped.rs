//! What is shipped for Prometheus and Grafana fits what the server says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;
use serde_json::Value;
use steadfast_domain::JobState;
use steadfast_lifecycle::Phase;
use steadfast_wire::ErrorCode;

use crate::exposition::{Draining, series, with_certificate};

const RULES: &str = "deploy/prometheus/alerts.yml";
const DASHBOARD: &str = "deploy/grafana/steadfast.json";
/// Where the alerts send whoever gets them.
const RUNBOOK: &str = "https://github.com/steadfast-jobs/steadfast/blob/main/docs/OPERATIONS.md#";

/// The parts of a file of rules.
#[derive(Deserialize)]
struct Rules {
    groups: Vec<RuleGroup>,
}

#[derive(Deserialize)]
struct RuleGroup {
    rules: Vec<Alert>,
}

#[derive(Deserialize)]
struct Alert {
    alert: String,
    expr: String,
    annotations: BTreeMap<String, String>,
}

/// A file of this repository.
pub(crate) fn read(file: &str) -> String {
    fs::read_to_string(path(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file)
}

#[test]
fn promtool_accepts_the_rules_and_the_configuration_and_the_alerts_pass_their_tests() {
    for arguments in [
        ["check", "config", "prometheus.yml"],
        ["check", "rules", "alerts.yml"],
        ["test", "rules", "alerts.test.yml"],
    ] {
        promtool(&arguments, &path("deploy/prometheus"));
    }
}

#[test]
fn each_alert_says_what_it_means_and_leads_to_what_to_do() {
    let text = read("docs/OPERATIONS.md");
    let headings: BTreeSet<String> =
        text.lines().filter_map(|line| line.strip_prefix("### ")).map(str::to_lowercase).collect();
    let tested = read("deploy/prometheus/alerts.test.yml");
    for Alert { alert, annotations, .. } in alerts() {
        assert!(annotations["summary"].len() > 10 && annotations["description"].len() > 10, "{alert}");
        let anchor = annotations["runbook_url"].strip_prefix(RUNBOOK).expect("a section of the page");
        assert_eq!(anchor, alert.to_lowercase());
        assert!(headings.contains(anchor), "the page says nothing of {alert}");
        assert!(tested.contains(&alert), "{alert} has no test");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_and_dashboard_name_what_a_server_shows() {
    let draining = Draining::begin().await;
    let mut shown = labels_of(series(&draining.scrape));
    draining.end().await;
    shown.extend(labels_of(series(&with_certificate().await)));
    let queries = queries();
    assert!(queries.len() > 40, "{queries:?}");
    for query in queries {
        let mut labels = BTreeSet::from(["namespace", "job", "instance", "le"]);
        let uses = uses(&query);
        for Use { metric, matched } in &uses {
            let name = ["_bucket", "_sum", "_count"].iter().find_map(|part| metric.strip_suffix(part));
            let own = shown.get(*metric).or_else(|| shown.get(name?));
            let own = own.unwrap_or_else(|| panic!("no server shows {metric}: {query}"));
            labels.extend(own.iter().map(String::as_str));
            for (label, values) in matched {
                assert!(labels.contains(label), "{metric} has no {label}: {query}");
                let unknown = values.split('|').find(|value| !is_known(label, value));
                assert_eq!(unknown, None, "{label} never has this value: {query}");
            }
        }
        for grouped in grouped_by(&query) {
            assert!(labels.contains(grouped), "nothing in it has {grouped}: {query}");
        }
    }
}

#[test]
fn each_query_of_the_dashboard_parses() {
    let rules = queries().into_iter().enumerate().map(|(n, expr)| {
        let expr = expr.replace("$__rate_interval", "5m");
        serde_json::json!({ "record": format!("query:{n}"), "expr": expr })
    });
    let file = serde_json::json!({ "groups": [{ "name": "queries", "rules": rules.collect::<Vec<_>>() }] });
    let dir = tempfile::tempdir().expect("a directory");
    // JSON is YAML.
    fs::write(dir.path().join("queries.yml"), file.to_string()).expect("written");
    promtool(&["check", "rules", "queries.yml"], dir.path());
}

#[test]
fn panels_of_the_dashboard_are_told_apart() {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().expect("panels");
    let ids: BTreeSet<u64> = panels.iter().filter_map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len());
    let rows = panels.iter().filter(|panel| panel["type"] == "row").filter_map(|row| row["title"].as_str());
    let rows: Vec<&str> = rows.collect();
    assert_eq!(rows, ["Intake", "Queues", "Work", "Store", "HTTP", "Process and drain"]);
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{panel}");
    }
}

/// Servers of two namespaces may have one name; outside of Kubernetes there is no namespace, and `.*` matches that.
#[test]
fn the_dashboard_shows_the_chosen_replicas_and_no_others() {
    let dashboard = dashboard();
    let chosen = [("namespace", "$namespace"), ("job", "$job"), ("instance", "$instance")];
    let mut queries = Vec::new();
    add_queries(&dashboard, &mut queries);
    for query in &queries {
        for Use { metric, matched } in uses(query) {
            assert!(matched.starts_with(&chosen), "{metric} is not only of the chosen replicas: {query}");
        }
    }
    let variables = dashboard["templating"]["list"].as_array().expect("variables");
    let variables: Vec<_> = variables.iter().filter(|variable| variable["type"] == "query").collect();
    for (n, variable) in variables.iter().enumerate() {
        assert_eq!(variable["name"], chosen[n].0);
        assert_eq!(variable["definition"], variable["query"]["query"]);
        let query = variable["definition"].as_str().expect("a query");
        assert_eq!(uses(query)[0].matched, chosen[..n], "it depends on what was chosen before: {query}");
    }
    assert_eq!((variables.len(), &variables[0]["allValue"]), (chosen.len(), &".*".into()));
}

fn alerts() -> Vec<Alert> {
    let rules: Rules = serde_yaml_ng::from_str(&read(RULES)).expect("rules");
    rules.groups.into_iter().flat_map(|group| group.rules).collect()
}

fn dashboard() -> Value {
    serde_json::from_str(&read(DASHBOARD)).expect("a JSON document")
}

/// Every query of the alerts and of the dashboard.
fn queries() -> Vec<String> {
    let mut queries: Vec<String> = alerts().into_iter().map(|alert| alert.expr).collect();
    add_queries(&dashboard(), &mut queries);
    queries
}

fn add_queries(value: &Value, queries: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| add_queries(item, queries)),
        Value::Object(members) => {
            queries.extend(members.get("expr").and_then(Value::as_str).map(str::to_owned));
            members.values().for_each(|member| add_queries(member, queries));
        }
        _ => {}
    }
}

/// One metric in a query, with the labels that choose its series.
struct Use<'a> {
    metric: &'a str,
    matched: Vec<(&'a str, &'a str)>,
}

/// Our metrics in a query, and `up`, which is Prometheus' own, left out.
fn uses(query: &str) -> Vec<Use<'_>> {
    let mut uses = Vec::new();
    let mut rest = query;
    while let Some(start) = rest.find("steadfast_") {
        rest = &rest[start..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let metric = &rest[..end];
        rest = &rest[end..];
        let matched = match rest.strip_prefix('{').and_then(|inside| inside.split_once('}')) {
            Some((inside, _)) => inside.split(", ").map(matcher).collect(),
            None => Vec::new(),
        };
        uses.push(Use { metric, matched });
    }
    uses
}

/// The label and the value of `label="value"` and `label=~"value|value"`.
fn matcher(text: &str) -> (&str, &str) {
    let (label, value) = text.split_once('=').expect("a matcher");
    (label, value.trim_start_matches('~').trim_matches('"'))
}

/// The labels of `by (…)` and `on (…)`.
fn grouped_by(query: &str) -> Vec<&str> {
    let lists = ["by (", "on ("].into_iter().flat_map(|word| query.split(word).skip(1));
    let inside = lists.filter_map(|list| list.split(')').next());
    inside.flat_map(|labels| labels.split(", ")).collect()
}

fn is_known(label: &str, value: &str) -> bool {
    match label {
        "state" => JobState::parse(value).is_ok(),
        "phase" => Phase::ALL.iter().any(|phase| phase.as_str() == value),
        "code" => ErrorCode::ALL.iter().any(|code| code.as_str() == value),
        _ => true,
    }
}

/// `name{label,…}` as names and labels.
fn labels_of(series: BTreeSet<String>) -> BTreeMap<String, BTreeSet<String>> {
    let read = |series: String| match series.trim_end_matches('}').split_once('{') {
        Some((name, labels)) => (name.to_owned(), labels.split(',').map(str::to_owned).collect()),
        None => (series, BTreeSet::new()),
    };
    series.into_iter().map(read).collect()
}

fn promtool(arguments: &[&str], dir: &Path) {
    let output =
        Command::new("promtool").args(arguments).current_dir(dir).output().expect("promtool is there");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
}
