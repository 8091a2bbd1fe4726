//! A folder of `deploy/kubernetes`: what its `kustomization.yaml` lists, read.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::container::Container;
use super::{path, read};

/// A database's URL, in place of the operator's.
const DATABASE_URL: &str = "postgres://steadfast:secret@postgresql.data:5432/steadfast?sslmode=verify-full";

/// One way to run the server on Kubernetes.
pub(crate) struct Manifests {
    pub(crate) folder: PathBuf,
    pub(crate) kustomization: Value,
    /// The objects of all files, and of the folders that it builds on.
    pub(crate) objects: Vec<Value>,
}

impl Manifests {
    /// Both of them.
    pub(crate) fn all() -> [Self; 2] {
        ["postgres", "sqlite"].map(Self::read)
    }

    /// What both of them add for the Prometheus operator.
    pub(crate) fn for_prometheus() -> Self {
        Self::read("monitoring")
    }

    fn read(name: &str) -> Self {
        let folder = path("deploy/kubernetes").join(name);
        let kustomization = kustomization(&folder);
        let objects = objects(&folder, &kustomization);
        Self { folder, kustomization, objects }
    }

    /// Every file of its own that is made part of what is applied.
    pub(crate) fn files(&self) -> Vec<String> {
        let mut files = texts(&self.kustomization["resources"]);
        files.retain(|name| !self.folder.join(name).is_dir());
        files.extend(self.generated().into_values().flatten());
        files
    }

    /// The files of each generated ConfigMap.
    pub(crate) fn generated(&self) -> BTreeMap<String, Vec<String>> {
        let maps = items(&self.kustomization["configMapGenerator"]);
        maps.map(|map| (text(&map["name"]), texts(&map["files"]))).collect()
    }

    /// The one object of this kind.
    pub(crate) fn the(&self, kind: &str) -> &Value {
        let [object] = self.all_of(kind)[..] else { panic!("one {kind} in {}", self.folder.display()) };
        object
    }

    pub(crate) fn all_of(&self, kind: &str) -> Vec<&Value> {
        self.objects.iter().filter(|object| object["kind"] == kind).collect()
    }

    /// The Deployment or StatefulSet.
    pub(crate) fn workload(&self) -> &Value {
        let kinds = ["Deployment", "StatefulSet"];
        self.objects
            .iter()
            .find(|object| kinds.iter().any(|kind| object["kind"] == *kind))
            .expect("a workload")
    }

    /// What its pods are made from.
    pub(crate) fn pod(&self) -> &Value {
        &self.workload()["spec"]["template"]
    }

    /// The one container of its pods, as it is written.
    pub(crate) fn written_container(&self) -> &Value {
        let [container] = &self.pod()["spec"]["containers"].as_array().expect("containers")[..] else {
            panic!("one container")
        };
        container
    }

    /// The same as Kubernetes starts it. Secrets are stand-ins.
    pub(crate) fn container(&self) -> Container {
        let written = self.written_container();
        let environment =
            items(&written["env"]).map(|variable| (text(&variable["name"]), value_of(variable)));
        let grace = &self.pod()["spec"]["terminationGracePeriodSeconds"];
        let grace = grace.as_u64().expect("a grace period");
        let mut container = Container::of_the_image(texts(&written["args"]), environment.collect(), grace);
        for mount in items(&written["volumeMounts"]) {
            let volume = self.volume(&text(&mount["name"]));
            let Some(map) = volume["configMap"]["name"].as_str() else { continue };
            for file in &self.generated()[map] {
                container.settings_file(
                    format!("{}/{file}", text(&mount["mountPath"])),
                    read(&self.folder.join(file)),
                );
            }
        }
        container
    }

    /// The volume of this name: what is mounted by it.
    pub(crate) fn volume(&self, name: &str) -> Value {
        let claims = &self.workload()["spec"]["volumeClaimTemplates"];
        let claims = items(claims).filter(|claim| claim["metadata"]["name"] == name);
        let volumes = items(&self.pod()["spec"]["volumes"]).filter(|volume| volume["name"] == name);
        let [volume] = volumes.chain(claims).collect::<Vec<_>>()[..] else { panic!("one volume {name}") };
        volume.clone()
    }

    /// The names and keys of the Secrets that it needs.
    pub(crate) fn secrets(&self) -> Vec<(String, String)> {
        let written = self.written_container();
        let referred = items(&written["env"]).filter_map(|variable| {
            let reference = variable["valueFrom"]["secretKeyRef"].as_object()?;
            Some((text(&reference["name"]), text(&reference["key"])))
        });
        // A file of a Secret that is mounted is named by the variable with its path.
        let mounted = items(&written["volumeMounts"]).filter_map(|mount| {
            let secret = self.volume(&text(&mount["name"]))["secret"]["secretName"].as_str()?.to_owned();
            let folder = format!("{}/", text(&mount["mountPath"]));
            let file = |variable: &Value| Some(variable["value"].as_str()?.strip_prefix(&folder)?.to_owned());
            Some((secret, items(&written["env"]).find_map(file).expect("a variable names the file")))
        });
        referred.chain(mounted).collect()
    }
}

fn kustomization(folder: &Path) -> Value {
    documents(&folder.join("kustomization.yaml")).pop().expect("a document")
}

fn objects(folder: &Path, of: &Value) -> Vec<Value> {
    let resources = texts(&of["resources"]).into_iter().map(|name| folder.join(name));
    let read = |resource: PathBuf| match resource.is_dir() {
        true => objects(&resource, &kustomization(&resource)),
        false => documents(&resource),
    };
    resources.flat_map(read).collect()
}

/// The documents of a file of YAML.
pub(crate) fn documents(file: &Path) -> Vec<Value> {
    let text = read(file);
    let documents = serde_yaml_ng::Deserializer::from_str(&text).map(Value::deserialize);
    documents.collect::<Result<_, _>>().unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// The names of the files of a folder.
pub(crate) fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// The members of a list; none of what is not there.
pub(crate) fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// # Panics
/// When it is no text.
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("a text: {value}")).to_owned()
}

pub(crate) fn texts(list: &Value) -> Vec<String> {
    items(list).map(text).collect()
}

/// A variable's value, or what stands for the Secret that has it.
fn value_of(variable: &Value) -> String {
    match &variable["valueFrom"]["secretKeyRef"]["name"] {
        Value::Null => text(&variable["value"]),
        secret if secret == "steadfast-database" => DATABASE_URL.to_owned(),
        other => panic!("nothing stands for the Secret {other}"),
    }
}
