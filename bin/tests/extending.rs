//! Takes the steps of docs/EXTENDING.md in an empty directory, with this checkout as the reader's, and compares what
//! they print. The code it quotes from the examples has to be there.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is how a test fails")]

mod console;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{env, fs};

use cargo_metadata::MetadataCommand;
use console::{PROGRAM, assert_prints, steps_of};

/// They compile these crates once more: for Cargo they are dependencies of another workspace.
const SCRIPT_WITHIN: Duration = Duration::from_secs(20 * 60);

fn checkout() -> PathBuf {
    fs::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).expect("this checkout")
}

fn document() -> String {
    fs::read_to_string(checkout().join("docs/EXTENDING.md")).expect("docs/EXTENDING.md")
}

#[tokio::test(flavor = "multi_thread")]
async fn its_steps_lead_where_it_says() {
    let steps = steps_of(&document());
    assert!(!steps.is_empty(), "the document has steps");
    let outside = Outside::new();
    let dir = outside.0.join("empty");
    fs::create_dir_all(&dir).expect("an empty directory");
    fs::create_dir(outside.0.join(".cargo")).expect("a directory");
    fs::write(outside.0.join(".cargo/config.toml"), cargo_config()).expect("Cargo's settings");
    assert_prints(bash(), &dir, &steps, SCRIPT_WITHIN).await;
}

/// A new directory outside of this workspace, always the same for one checkout: what is built for it takes the place of
/// what was built for the one before.
struct Outside(PathBuf);

impl Outside {
    fn new() -> Self {
        let mut checkout_hash = DefaultHasher::new();
        checkout().hash(&mut checkout_hash);
        let dir = env::temp_dir().join(format!("steadfast-extending-{:016x}", checkout_hash.finish()));
        // What a killed run left.
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir).expect("a directory");
        Self(dir)
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Where these tests were built: what the steps have in common with them is not built again.
fn target() -> PathBuf {
    let built = Path::new(PROGRAM).ancestors().nth(2);
    built.expect("the program is in target/debug").to_owned()
}

/// A shell that finds this checkout, and everything it has downloaded, but downloads nothing.
fn bash() -> Command {
    let mut bash = Command::new("bash");
    // What Cargo tells this test of its package would have other packages built anew, and again by the next build.
    let told = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_str().is_some_and(told)) {
        bash.env_remove(name);
    }
    bash.env("STEADFAST", checkout()).env("CARGO_TARGET_DIR", target()).env("CARGO_NET_OFFLINE", "true");
    bash
}

/// This workspace's way of building, so that crates of others come out the same.
fn cargo_config() -> String {
    let metadata = MetadataCommand::new().no_deps().exec().expect("cargo metadata reads this workspace");
    let manifest = table("Cargo.toml");
    let mut dev = manifest["profile"]["dev"].as_table().expect("a profile").clone();
    let packages = dev["package"].as_table_mut().expect("profiles of packages");
    for package in metadata.packages {
        let quick =
            toml::Table::from_iter([("opt-level".to_owned(), 0.into()), ("debug".to_owned(), false.into())]);
        packages.insert(package.name.to_string(), quick.into());
    }
    let profile = toml::Table::from_iter([("dev".to_owned(), toml::Value::from(dev))]);
    // Another variable would have SQLite compiled anew, here and by whoever builds in the checkout next.
    let env = table(".cargo/config.toml")["env"].clone();
    toml::Table::from_iter([("env".to_owned(), env), ("profile".to_owned(), profile.into())]).to_string()
}

/// A file of this checkout.
fn table(file: &str) -> toml::Table {
    fs::read_to_string(checkout().join(file)).expect(file).parse().expect("TOML")
}

#[test]
fn what_it_quotes_is_there() {
    let document = document();
    let mut quotes = 0;
    let mut lines = document.lines();
    while let Some(file) = lines.by_ref().find_map(|line| line.strip_prefix("```rust from ")) {
        let quote: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        let text = fs::read_to_string(checkout().join(file)).expect(file);
        assert!(text.contains(&quote.join("\n")), "{file} does not have\n{}", quote.join("\n"));
        quotes += 1;
    }
    assert!(quotes > 0, "the document quotes the examples");
}

#[test]
fn none_of_its_rust_is_unchecked() {
    let bare = document().lines().any(|line| line == "```rust");
    assert!(
        !bare,
        "a block of Rust is a file of the steps, or a quotation: `rust src/main.rs`, `rust from examples/…`"
    );
}
