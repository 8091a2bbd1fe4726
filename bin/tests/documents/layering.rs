//! Which crate may depend on which: docs/ARCHITECTURE.md, "Code map". A new edge is a decision, with an ADR.

use std::collections::BTreeSet;

use cargo_metadata::{DependencyKind, MetadataCommand};

/// What each crate may depend on. Its tests may use `testkit` too, and what these depend on themselves.
const ALLOWED: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("lifecycle", &[]),
    ("wire", &["domain"]),
    ("queue", &["domain", "lifecycle"]),
    ("store-sqlite", &["queue", "domain"]),
    ("store-postgres", &["queue", "domain"]),
    ("handlers", &["queue", "domain"]),
    ("api", &["queue", "lifecycle", "wire", "domain"]),
    ("client", &["wire", "domain"]),
    (
        "bin",
        &[
            "api",
            "client",
            "domain",
            "handlers",
            "lifecycle",
            "queue",
            "store-postgres",
            "store-sqlite",
            "wire",
        ],
    ),
    ("testkit", &["queue", "lifecycle", "client", "wire", "domain"]),
    ("models", &[]),
    // Whoever extends Steadfast needs one dependency; the examples have no other.
    ("own-handlers", &["bin"]),
    ("own-store", &["bin"]),
    ("bench", &["client", "domain", "queue", "store-postgres", "testkit", "wire"]),
];

/// Outside crates that must not come near a pure one: no runtime, no clock, no randomness, no network.
const PURE: &[&str] = &["domain", "wire"];
const IMPURE: &[&str] = &[
    "tokio",
    "tokio-util",
    "hyper",
    "axum",
    "reqwest",
    "rusqlite",
    "tokio-postgres",
    "rand",
    "futures-util",
];

/// One dependency, as a manifest states it. Our crates go without their prefix.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Edge {
    from: String,
    to: String,
    dev: bool,
}

#[test]
fn every_dependency_between_the_crates_is_an_allowed_one() {
    let edges = workspace_edges();
    assert!(edges.iter().any(|edge| edge.from == "bin" && edge.to == "queue"), "the workspace was read");
    assert_eq!(forbidden(&edges), Vec::<&Edge>::new());
}

#[test]
fn each_kind_of_forbidden_dependency_is_found() {
    for (from, to, dev) in [
        ("domain", "queue", false),
        ("domain", "tokio", false),
        ("wire", "reqwest", false),
        ("lifecycle", "domain", false),
        ("queue", "wire", false),
        ("queue", "testkit", false),
        ("store-sqlite", "api", false),
        ("store-sqlite", "store-sqlite-tools", false),
        ("store-sqlite", "handlers", true),
        ("store-postgres", "store-sqlite", false),
        ("handlers", "store-sqlite", false),
        ("api", "store-sqlite", false),
        ("api", "handlers", true),
        ("client", "queue", false),
        ("testkit", "store-sqlite", false),
        ("testkit", "bin", false),
        ("bin", "testkit", false),
        ("own-handlers", "queue", false),
        ("unheard-of", "domain", false),
    ] {
        let edge = Edge { from: from.to_owned(), to: to.to_owned(), dev };
        assert_eq!(forbidden(std::slice::from_ref(&edge)), [&edge], "{edge:?} is not found");
    }
}

#[test]
fn tests_may_use_the_testkit_and_what_lies_below() {
    for (from, to) in [
        ("store-sqlite", "testkit"),
        ("queue", "testkit"),
        ("bin", "testkit"),
        ("handlers", "lifecycle"),
        ("domain", "tokio"),
    ] {
        let edge = Edge { from: from.to_owned(), to: to.to_owned(), dev: true };
        assert!(forbidden(&[edge]).is_empty(), "{from} -> {to}");
    }
}

/// The edges that no rule allows.
fn forbidden(edges: &[Edge]) -> Vec<&Edge> {
    edges.iter().filter(|edge| !is_allowed(edge)).collect()
}

fn is_allowed(Edge { from, to, dev }: &Edge) -> bool {
    let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| name == from) else {
        return false;
    };
    if IMPURE.contains(&to.as_str()) {
        return *dev || !PURE.contains(&from.as_str());
    }
    allowed.contains(&to.as_str()) || (*dev && (to == "testkit" || reaches(from, to)))
}

/// Whether allowed edges lead from one crate to another.
fn reaches(from: &str, to: &str) -> bool {
    let direct = ALLOWED.iter().filter(|(name, _)| *name == from).flat_map(|(_, allowed)| *allowed);
    direct.into_iter().any(|next| *next == to || reaches(next, to))
}

/// Every dependency of a workspace member on another, or on an impure outside crate.
fn workspace_edges() -> Vec<Edge> {
    let metadata = MetadataCommand::new().no_deps().exec().expect("cargo metadata reads this workspace");
    let members: BTreeSet<&str> = metadata.packages.iter().map(|package| package.name.as_str()).collect();
    let mut edges = BTreeSet::new();
    for package in &metadata.packages {
        for dependency in &package.dependencies {
            let name = dependency.name.as_str();
            if members.contains(name) || IMPURE.contains(&name) {
                let (from, to) = (short(&package.name), short(name));
                edges.insert(Edge { from, to, dev: dependency.kind == DependencyKind::Development });
            }
        }
    }
    edges.into_iter().collect()
}

/// The crate's name without the project's; the program's own package is `bin`.
fn short(package: &str) -> String {
    match package.strip_prefix("steadfast-") {
        Some(name) => name.to_owned(),
        None if package == "steadfast" => "bin".to_owned(),
        None => package.to_owned(),
    }
}
