//! A container as an orchestrator starts it, as far as it concerns the server in it.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use steadfast_testkit::harness::{Server, given_server};
use tempfile::TempDir;

use super::PROGRAM;
use super::dockerfile::Image;

/// What is in a token file, in place of the operator's.
const TOKENS: &str = r#"
[[token]]
name = "stand-in"
scopes = ["read"]
sha256 = "0000000000000000000000000000000000000000000000000000000000000000"
"#;
/// Variables whose values are other ones in a test.
const TOKEN_FILE: &str = "STEADFAST_TOKEN_FILE";
const ADMIN_LISTEN: &str = "STEADFAST_ADMIN_LISTEN";
const KILL_AFTER: &str = "STEADFAST_SHUTDOWN_KILL_AFTER";

/// A container, its files where a test can have them.
pub(crate) struct Container {
    /// What the program gets after its name.
    pub(crate) arguments: Vec<String>,
    /// All variables, those of the image too.
    pub(crate) environment: BTreeMap<String, String>,
    /// From the orchestrator's SIGTERM to its SIGKILL.
    pub(crate) grace_seconds: u64,
    /// Settings files, by their paths in the container.
    settings: BTreeMap<String, String>,
    dir: TempDir,
}

impl Container {
    /// The image's own variables, and `environment` over them. Its arguments are the image's, if it gives none.
    pub(crate) fn of_the_image(
        arguments: Vec<String>,
        environment: BTreeMap<String, String>,
        grace_seconds: u64,
    ) -> Self {
        let image = Image::read();
        let arguments = if arguments.is_empty() { image.cmd() } else { arguments };
        let mut all = image.environment();
        all.extend(environment);
        let dir = TempDir::new().unwrap();
        Self { arguments, environment: all, grace_seconds, settings: BTreeMap::new(), dir }
    }

    /// It finds this settings file at this path.
    pub(crate) fn settings_file(&mut self, path: String, text: String) {
        self.settings.insert(path, text);
    }

    /// What `steadfast check` prints under these settings.
    ///
    /// # Panics
    /// When it refuses them.
    pub(crate) fn checked(&self) -> Value {
        let mut command = Command::new(PROGRAM);
        command.env_clear().envs(self.environment_here()).current_dir(self.dir.path());
        command.args(["check", "--output", "json"]);
        if let Some(text) = self.config() {
            fs::write(self.dir.path().join("steadfast.toml"), text).unwrap();
            command.args(["--config", "steadfast.toml"]);
        }
        let checked = command.output().unwrap();
        let error = String::from_utf8_lossy(&checked.stderr);
        assert_eq!(checked.status.code(), Some(0), "check refuses the settings: {error}");
        assert_eq!(error, "", "check has nothing to say about them");
        serde_json::from_slice(&checked.stdout).unwrap()
    }

    /// The server under these settings, on free ports and a store of the test's own.
    pub(crate) async fn serve(&self) -> Server {
        let mut given = given_server(PROGRAM);
        for (name, value) in self.environment_here() {
            given = given.env(&name, value);
        }
        if self.environment.contains_key(ADMIN_LISTEN) {
            given = given.flag("--admin-listen", "127.0.0.1:0");
        }
        if let Some(text) = self.config() {
            given = given.settings(text);
        }
        given.start().await
    }

    /// # Panics
    /// When a drain as it is set could be cut short by the orchestrator, or the server thinks that it has less or
    /// more time than that gives it.
    pub(crate) fn assert_a_drain_fits(&self) {
        let grace = format!("{}s", self.grace_seconds);
        assert_eq!(self.environment.get(KILL_AFTER), Some(&grace), "the server knows when it will be killed");
        let budget = &self.checked()["shutdown_budget"];
        let needed = budget["with_margin_ms"].as_u64().expect("a sum");
        assert!(needed <= self.grace_seconds * 1_000, "{needed} ms do not fit into {grace}");
        assert_eq!(budget["graceful_cut_ms"], 0, "nothing had to be cut: {budget}");
    }

    /// The port of the address that a setting names.
    ///
    /// # Panics
    /// When it cannot be reached from outside of the container.
    pub(crate) fn port(&self, setting: &str) -> u64 {
        let address = &self.checked()["settings"][setting]["value"];
        let address = address.as_str().and_then(|address| address.parse::<SocketAddr>().ok());
        let address = address.unwrap_or_else(|| panic!("{setting} is an address"));
        assert!(address.ip().is_unspecified(), "{setting} is reached from outside: {address}");
        address.port().into()
    }

    /// The text of the settings file that the arguments name.
    fn config(&self) -> Option<&str> {
        match self.arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["serve"] => None,
            ["serve", "--config", path] => {
                Some(self.settings.get(path).unwrap_or_else(|| panic!("{path} is not mounted")))
            }
            ref other => panic!("this test does not know these arguments: {other:?}"),
        }
    }

    /// Its variables, with the token file where it is here.
    fn environment_here(&self) -> BTreeMap<String, String> {
        let mut environment = self.environment.clone();
        if let Some(path) = environment.get_mut(TOKEN_FILE) {
            *path = self.token_file().display().to_string();
        }
        environment
    }

    fn token_file(&self) -> PathBuf {
        let path = self.dir.path().join("tokens.toml");
        fs::write(&path, TOKENS).unwrap();
        path
    }
}
