//! What the log says, and what it never says.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use steadfast_testkit::collector::Collector;
use steadfast_testkit::eventually;
use steadfast_testkit::gate::{Fate, Gate};
use steadfast_testkit::harness::{ALL_SCOPES, Server, given_server, token_entry};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_steadfast");
/// A part of every secret, and of nothing else.
const SECRET: &str = "swordfish";

/// A line as the page and the code describe it: level, message and fields.
type Line = (String, String, BTreeSet<String>);

#[test]
fn the_page_has_every_line_from_info_on_with_its_fields() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = fs::read_to_string(root.join("docs/LOGS.md")).expect("the page");
    let written: BTreeSet<Line> = page.lines().filter_map(row).collect();
    let mut said = BTreeSet::new();
    for file in sources(&root) {
        let code = fs::read_to_string(&file).expect("a source");
        for (level, start) in ["info", "warn", "error"].into_iter().flat_map(|level| calls(&code, level)) {
            let line = line(level, &code[start..]);
            said.insert(line.unwrap_or_else(|| panic!("{}: {:?}", file.display(), &code[start..start + 80])));
        }
    }
    let missing: Vec<_> = said.difference(&written).collect();
    let stale: Vec<_> = written.difference(&said).collect();
    assert!(
        missing.is_empty() && stale.is_empty(),
        "not on the page: {missing:#?}\nnot in the code: {stale:#?}"
    );
}

/// One row of the page: `| level | message | fields | when |`.
fn row(row: &str) -> Option<Line> {
    let mut cells = row.strip_prefix("| `")?.split(" | ");
    let (level, message, fields) = (cells.next()?, cells.next()?, cells.next()?);
    let level = level.strip_suffix('`')?;
    let fields = fields.split(", ").map(|field| field.trim_matches('`').to_owned());
    let is_level = ["info", "warn", "error"].contains(&level);
    is_level
        .then(|| (level.to_owned(), message.to_owned(), fields.filter(|field| !field.is_empty()).collect()))
}

/// The sources of the server and of the client library.
fn sources(root: &Path) -> Vec<PathBuf> {
    let crates = fs::read_dir(root.join("crates")).expect("the crates");
    let crates = crates.map(|entry| entry.expect("a crate").path());
    let ours = crates.filter(|path| !["bench", "models", "testkit"].iter().any(|name| path.ends_with(name)));
    let mut directories: Vec<_> = ours.chain([root.join("bin")]).map(|path| path.join("src")).collect();
    let mut files = Vec::new();
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => directories.push(path),
                false => files.push(path),
            }
        }
    }
    files
}

/// Where the arguments of each call begin.
fn calls<'a>(code: &'a str, level: &'static str) -> impl Iterator<Item = (&'static str, usize)> + use<'a> {
    let call = format!("tracing::{level}!(");
    let starts: Vec<_> = code.match_indices(&call).map(|(at, call)| (level, at + call.len())).collect();
    starts.into_iter()
}

/// What a call says: its fields, and its message, which comes last. Messages are literals.
fn line(level: &str, call: &str) -> Option<Line> {
    let mut arguments = arguments(call);
    let message = arguments.pop()?;
    let message = message.strip_prefix('"')?.strip_suffix('"')?;
    let name = |argument: &String| {
        let name = argument.split(" = ").next().unwrap_or_default();
        name.trim_start_matches(['%', '?']).to_owned()
    };
    Some((level.to_owned(), message.to_owned(), arguments.iter().map(name).collect()))
}

/// The arguments of a call up to its closing bracket.
fn arguments(call: &str) -> Vec<String> {
    let (mut arguments, mut argument) = (Vec::new(), String::new());
    let (mut depth, mut is_text) = (0, false);
    for char in call.chars() {
        match char {
            '"' => is_text = !is_text,
            _ if is_text => {}
            '(' | '[' | '{' => depth += 1,
            ')' if depth == 0 => break,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                arguments.push(std::mem::take(&mut argument).trim().to_owned());
                continue;
            }
            _ => {}
        }
        argument.push(char);
    }
    arguments.push(argument.trim().to_owned());
    arguments.retain(|argument| !argument.is_empty());
    arguments
}

/// A server that says everything it can, and whoever speaks to it by every protocol there is.
struct Talkative {
    server: Server,
    dir: TempDir,
    token: String,
}

impl Talkative {
    async fn start(collector: &Collector) -> Self {
        let dir = TempDir::new().expect("a directory");
        let token = format!("sf_{SECRET}_0123456789abcdefghijklmnopqrstuvwxyz");
        let file = dir.path().join("tokens.toml");
        fs::write(&file, token_entry("test", &ALL_SCOPES, &token)).expect("a file");
        let server = given_server(PROGRAM)
            .flag("--log", "trace,h2=trace,hyper_util::client=trace")
            .flag("--token-file", file)
            .settings("[queues.far]\nmode = \"pull\"")
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint())
            .env("OTEL_EXPORTER_OTLP_HEADERS", format!("api-key={SECRET}"))
            .env("OTEL_BSP_SCHEDULE_DELAY", "1")
            .start()
            .await;
        Self { server, dir, token }
    }

    /// What this answers over HTTP/1.1 and, the same once more, over HTTP/2.
    fn asks(&self, path: &str, arguments: &[&str]) -> Vec<Value> {
        ["--http1.1", "--http2-prior-knowledge"]
            .map(|version| {
                let mut curl = Command::new("curl");
                let url = format!("http://{}{path}", self.server.address());
                curl.args(["--silent", "--show-error", version, "--oauth2-bearer", &self.token, &url]);
                read(&curl.args(arguments).current_dir(self.dir.path()).output().expect("curl"))
            })
            .into()
    }

    fn posts(&self, path: &str, body: &Value) -> Vec<Value> {
        self.asks(path, &["--json", &body.to_string()])
    }
}

#[track_caller]
fn read(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text} {output:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_and_nothing_of_a_job_is_logged_at_any_level() {
    let (collector, gate) = (Collector::start().await, Gate::closed().await);
    gate.open();
    let mut talkative = Talkative::start(&collector).await;
    let secret = json!({ SECRET: SECRET });

    let mut delivery = gate.payload();
    let url =
        delivery["url"].as_str().expect("a URL").replace("/deliver", &format!("/{SECRET}?ms=0&key={SECRET}"));
    delivery = json!({ "url": url, "headers": { "X-Key": SECRET }, "body": secret });
    talkative.posts("/v1/jobs", &json!({ "kind": "http", "payload": delivery }));
    talkative
        .posts("/v1/jobs", &json!({ "kind": "http", "payload": { "url": "http://swordfish.invalid/" } }));
    let echo = json!({ "kind": "echo", "payload": secret, "tags": { SECRET: SECRET } });
    talkative.posts("/v1/jobs", &echo);
    let key = format!("Idempotency-Key: {SECRET}");
    talkative.asks("/v1/jobs", &["--json", &echo.to_string(), "--header", &key]);
    talkative.posts("/v1/jobs", &json!({ "kind": "echo", "unique_key": SECRET, "payload": { "a": SECRET } }));
    talkative.posts("/v1/jobs", &json!({ "kind": "sleep", "payload": SECRET }));
    talkative.asks("/v1/jobs", &["--json", "{\"swordfish"]);
    talkative.asks(&format!("/v1/jobs?tag={SECRET}:{SECRET}"), &[]);
    talkative.asks(&format!("/{SECRET}?{SECRET}"), &["--header", &format!("Cookie: {SECRET}")]);
    talkative.asks("/v1/queues", &["--oauth2-bearer", SECRET]);

    talkative.posts("/v1/jobs", &json!({ "kind": "far", "queue": "far", "payload": secret }));
    for leased in talkative.posts("/v1/leases", &json!({ "queues": ["far"], "limit": 1, "worker": "w" })) {
        let lease = leased["leases"][0]["lease"].as_str().expect("a lease").to_owned();
        let beat = json!({ "progress": secret, "checkpoint": secret });
        talkative.posts(&format!("/v1/leases/{lease}/heartbeat"), &beat);
        // The second is a repeat of the first, or comes too late.
        talkative.posts(&format!("/v1/leases/{lease}/complete"), &json!({ "result": secret }));
        let failure = json!({ "code": "any", "message": SECRET, "retryable": false });
        talkative.posts(&format!("/v1/leases/{lease}/fail"), &failure);
    }
    eventually("the deliveries", async || {
        let done = gate.deliveries().iter().filter(|delivery| delivery.fate == Fate::Answered).count();
        (done == 2 && !collector.spans().is_empty()).then_some(())
    })
    .await;
    let exit = talkative.server.stop().await.expect_code(0);
    assert!(exit.stderr.text().contains("\"level\":\"DEBUG\""), "it said everything it could");
    let leaks: Vec<_> =
        exit.output().lines().filter(|line| line.contains(SECRET)).map(str::to_owned).collect();
    assert!(leaks.is_empty(), "{leaks:#?}");
    assert!(
        !exit.stderr.text().contains("\"target\":\"hyper_util"),
        "libraries are held at info\n{}",
        exit.output()
    );
}

#[test]
fn the_password_of_a_database_that_is_away_is_not_logged() {
    let url = format!("postgres://user:{SECRET}@127.0.0.1:1/jobs?connect_timeout=1");
    let mut serve = Command::new(PROGRAM);
    serve.args([
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--log",
        "trace",
        "--store",
        &url,
        "--postgres-listen-url",
        &url,
    ]);
    let output = serve.output().expect("the program");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("127.0.0.1:1"), "{said}");
    assert!(!said.contains(SECRET), "{said}");
}
