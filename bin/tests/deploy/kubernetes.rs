//! The manifests of `deploy/kubernetes`, whichever store they are for.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Value, json};
use steadfast_testkit::harness::Server;
use steadfast_testkit::raw::RawConnection;

use super::dockerfile::Image;
use super::manifests::{Manifests, items, names_in, text};
use super::{path, read};

#[test]
fn every_file_is_applied() {
    for manifests in Manifests::all().into_iter().chain([Manifests::for_prometheus()]) {
        let mut applied = BTreeSet::from_iter(manifests.files());
        applied.insert("kustomization.yaml".to_owned());
        assert_eq!(applied, BTreeSet::from_iter(names_in(&manifests.folder)), "{:?}", manifests.folder);
    }
}

#[test]
fn the_server_takes_the_settings_and_its_drain_fits_the_grace_period() {
    for manifests in Manifests::all() {
        manifests.container().assert_a_drain_fits();
        let container = manifests.written_container();
        assert_eq!(container["lifecycle"], Value::Null, "what runs before the SIGTERM has the server's time");
    }
}

#[test]
fn replicas_are_replaced_one_by_one_and_serve_until_no_request_comes() {
    let [postgres, sqlite] = Manifests::all();
    assert_eq!(postgres.workload()["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"], 0);
    assert_eq!(postgres.workload()["spec"]["replicas"], Value::Null, "the autoscaler's");
    assert_eq!(postgres.container().checked()["settings"]["shutdown.lame_duck"]["value"], "5s");
    assert_eq!(sqlite.workload()["spec"]["replicas"], 1, "one process owns the file");
    let policy = &sqlite.workload()["spec"]["podManagementPolicy"];
    assert_eq!(policy, "Parallel", "a pod that never becomes ready is replaced");
    for service in sqlite.all_of("Service") {
        assert_eq!(service["spec"]["publishNotReadyAddresses"], true, "a drain hears its workers");
    }
    for service in postgres.all_of("Service") {
        let is_for_prometheus = service["metadata"]["name"] == "steadfast-admin";
        assert_eq!(service["spec"]["publishNotReadyAddresses"] == true, is_for_prometheus, "{service}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_probed_and_scraped_is_served() {
    for manifests in Manifests::all() {
        let server = manifests.container().serve().await;
        let container = manifests.written_container();
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            let asked = &container[probe]["httpGet"];
            assert_answers(&server, &manifests, &asked["port"], &text(&asked["path"])).await;
        }
        let monitor = ServiceMonitor::of(&manifests);
        let [endpoint] = &monitor.spec.endpoints[..] else { panic!("one endpoint") };
        let mut ports = items(&monitor.service(&manifests)["spec"]["ports"]);
        let port = ports.find(|port| port["name"] == endpoint.port.as_str()).expect("its port");
        assert_answers(&server, &manifests, &port["targetPort"], &endpoint.path).await;
    }
}

#[test]
fn prometheus_calls_the_servers_as_the_alerts_do() {
    let alerts = read(&path("deploy/prometheus/alerts.yml"));
    let (_, selector) = alerts.split_once("up{job=~\"").expect("the job of the alerts");
    let (prefix, _) = selector.split_once(".*\"}").expect("the beginning of its name");
    for manifests in Manifests::all() {
        let monitor = ServiceMonitor::of(&manifests);
        let name = text(&monitor.service(&manifests)["metadata"]["labels"][monitor.spec.job_label]);
        assert!(name.starts_with(prefix), "{name} is none of {prefix}");
    }
}

/// One is a copy of the other, since `kubectl apply -k` reads no file outside of its folder.
#[test]
fn the_alerts_that_are_applied_are_those_of_the_file() {
    let alerts = read(&path("deploy/prometheus/alerts.yml"));
    let groups = alerts.lines().skip_while(|line| *line != "groups:").map(|line| format!("  {line}"));
    let applied = read(&path("deploy/kubernetes/monitoring/prometheus-rule.yaml"));
    let applied = applied.lines().skip_while(|line| *line != "spec:").skip(1);
    assert!(applied.eq(groups), "its first lines say how to copy them again");
    for manifests in Manifests::all() {
        let rule = manifests.the("PrometheusRule");
        assert_eq!(rule["apiVersion"], "monitoring.coreos.com/v1");
        assert!(!rule["spec"]["groups"][0]["rules"].as_array().expect("rules").is_empty());
    }
}

#[test]
fn every_selector_finds_the_pods_and_every_port_is_theirs() {
    for manifests in Manifests::all() {
        let pod = &manifests.pod()["metadata"]["labels"];
        let workload = manifests.workload();
        let mut selectors = vec![&workload["spec"]["selector"]["matchLabels"]];
        selectors.push(&manifests.the("NetworkPolicy")["spec"]["podSelector"]["matchLabels"]);
        selectors.extend(manifests.all_of("Service").iter().map(|service| &service["spec"]["selector"]));
        let budgets = manifests.all_of("PodDisruptionBudget");
        selectors.extend(budgets.iter().map(|budget| &budget["spec"]["selector"]["matchLabels"]));
        let spreads = items(&manifests.pod()["spec"]["topologySpreadConstraints"]);
        selectors.extend(spreads.map(|spread| &spread["labelSelector"]["matchLabels"]));
        for selector in selectors {
            assert!(carries(pod, selector), "{selector} in {:?}", manifests.folder);
        }
        for target in manifests.all_of("HorizontalPodAutoscaler") {
            let target = &target["spec"]["scaleTargetRef"];
            assert_eq!(
                (&target["kind"], &target["name"]),
                (&workload["kind"], &workload["metadata"]["name"])
            );
        }
        let services = manifests.all_of("Service");
        let served = services.iter().flat_map(|service| items(&service["spec"]["ports"]));
        let rules = items(&manifests.the("NetworkPolicy")["spec"]["ingress"]);
        let let_in = rules.flat_map(|rule| items(&rule["ports"]));
        for port in served.map(|port| &port["targetPort"]).chain(let_in.map(|port| &port["port"])) {
            container_port(&manifests, port);
        }
        if workload["kind"] == "StatefulSet" {
            let governing = &workload["spec"]["serviceName"];
            assert!(services.iter().any(|service| service["metadata"]["name"] == *governing), "{governing}");
        }
    }
}

/// The profile "restricted" of Kubernetes' Pod Security Standards, and more.
#[test]
fn pods_have_no_rights_they_do_not_need() {
    let image = Image::read();
    for manifests in Manifests::all() {
        let pod = &manifests.pod()["spec"];
        assert_eq!(pod["automountServiceAccountToken"], false);
        assert_eq!(pod["enableServiceLinks"], false);
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        let user =
            format!("{}:{}", pod["securityContext"]["runAsUser"], pod["securityContext"]["runAsGroup"]);
        assert_eq!(user, image.user(), "the image's directories are this user's");
        assert_eq!(
            manifests.written_container()["securityContext"],
            json!({
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": { "drop": ["ALL"] },
            })
        );
        assert!(manifests.written_container()["resources"]["limits"]["memory"].is_string());
    }
}

#[test]
fn the_image_is_this_version() {
    for manifests in Manifests::all() {
        let [image] = &manifests.kustomization["images"].as_array().unwrap()[..] else { panic!("one image") };
        assert_eq!(manifests.written_container()["image"], image["name"]);
        assert_eq!(image["newTag"], env!("CARGO_PKG_VERSION"));
    }
}

/// Each of them is made by a command of the documentation: `kubectl create secret generic NAME --from-…=KEY=…`.
#[test]
fn the_documentation_makes_every_secret() {
    let documentation = read(&path("docs/OPERATIONS.md"));
    let commands =
        documentation.lines().filter_map(|line| line.strip_prefix("kubectl create secret generic "));
    let made: BTreeSet<(String, String)> = commands
        .map(|command| {
            let (name, option) = command.split_once(" --from-").expect("what it is made from");
            let key = option.split('=').nth(1).expect("its key");
            (name.to_owned(), key.to_owned())
        })
        .collect();
    let needed: BTreeSet<_> = Manifests::all().iter().flat_map(Manifests::secrets).collect();
    assert_eq!(made, needed);
}

#[test]
fn the_kustomizations_use_what_these_tests_read() {
    let known = ["apiVersion", "configMapGenerator", "images", "kind", "resources"];
    for manifests in Manifests::all() {
        let used: Vec<_> = manifests.kustomization.as_object().unwrap().keys().collect();
        assert!(used.iter().all(|key| known.contains(&key.as_str())), "{used:?}");
        for volume in items(&manifests.pod()["spec"]["volumes"]) {
            let Some(map) = volume["configMap"]["name"].as_str() else { continue };
            assert!(manifests.generated().contains_key(map), "{map}");
        }
    }
}

/// Asks the server for what the container is asked at this port, which must be one where it listens.
async fn assert_answers(server: &Server, manifests: &Manifests, port: &Value, path: &str) {
    let (container, port) = (manifests.container(), container_port(manifests, port));
    let address = match port {
        _ if port == container.port("listen") => server.address(),
        _ if port == container.port("admin_listen") => server.admin_address().await,
        _ => panic!("nobody listens at {port}"),
    };
    let mut connection = RawConnection::open(address).await.unwrap();
    connection.get(path).await.unwrap();
    let answer = connection.answer().await.unwrap();
    assert_eq!(answer.status, 200, "{path} at {port}");
}

/// The number of a container's port, by its name.
#[track_caller]
fn container_port(manifests: &Manifests, name: &Value) -> u64 {
    let mut ports = items(&manifests.written_container()["ports"]);
    let port = ports.find(|port| port["name"] == *name).unwrap_or_else(|| panic!("no port {name}"));
    port["containerPort"].as_u64().unwrap()
}

/// Whether `labels` has all of `selector`, which asks for something.
fn carries(labels: &Value, selector: &Value) -> bool {
    let selector = selector.as_object().expect("a selector");
    !selector.is_empty() && selector.iter().all(|(name, value)| labels[name] == *value)
}

/// What the Prometheus operator takes, as far as it is used here: its schema comes with no package.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ServiceMonitor {
    #[serde(rename = "apiVersion")]
    version: String,
    #[serde(rename = "kind")]
    _kind: String,
    #[serde(rename = "metadata")]
    _metadata: Value,
    spec: ServiceMonitorSpec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ServiceMonitorSpec {
    /// The label of the Service that says the job's name.
    job_label: String,
    selector: Selector,
    endpoints: Vec<Endpoint>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Selector {
    match_labels: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Endpoint {
    port: String,
    path: String,
    interval: String,
}

impl ServiceMonitor {
    fn of(manifests: &Manifests) -> Self {
        let monitor: Self =
            serde_json::from_value(manifests.the("ServiceMonitor").clone()).expect("its shape");
        assert_eq!(monitor.version, "monitoring.coreos.com/v1");
        for endpoint in &monitor.spec.endpoints {
            let seconds = endpoint.interval.strip_suffix('s').and_then(|seconds| seconds.parse::<u32>().ok());
            assert!(seconds.is_some_and(|seconds| seconds > 0), "{}", endpoint.interval);
        }
        monitor
    }

    /// The Service that is scraped.
    fn service<'a>(&self, manifests: &'a Manifests) -> &'a Value {
        let mut services = manifests.all_of("Service").into_iter();
        let service = services
            .find(|service| carries(&service["metadata"]["labels"], &self.spec.selector.match_labels));
        service.expect("a Service that is scraped")
    }
}
