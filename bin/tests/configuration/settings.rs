//! The settings from the outside: which source wins, what an error says, and what is not read.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::{Value, json};
use steadfast::settings::SETTINGS;
use steadfast_testkit::certificates::EXPIRED;
use tempfile::TempDir;

/// The program, run with nothing of this process's environment.
struct Run {
    command: Command,
    dir: TempDir,
}

fn steadfast(subcommand: &str) -> Run {
    let dir = TempDir::new().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_steadfast"));
    command.env_clear().current_dir(dir.path()).arg(subcommand);
    Run { command, dir }
}

impl Run {
    fn flag(mut self, flag: &str, value: &str) -> Self {
        self.command.args([flag, value]);
        self
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    fn file(self, text: &str) -> Self {
        fs::write(self.config(), text).unwrap();
        self.flag("--config", "steadfast.toml")
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("steadfast.toml")
    }

    fn output(mut self) -> Output {
        self.command.output().unwrap()
    }

    /// What a good `check` printed, as people read it.
    #[track_caller]
    fn prints(self) -> String {
        let output = self.flag("--output", "text").output();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a run said that refused its settings.
    #[track_caller]
    fn refuses(self) -> String {
        let output = self.output();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// Holds a refusal against everything it has to name.
    #[track_caller]
    fn refuses_naming(self, parts: &[&str]) {
        let said = self.refuses();
        for part in parts {
            assert!(said.contains(part), "{part:?} is not in {said:?}");
        }
    }
}

/// The words of the line that `check` prints for a setting: its value and its source.
#[track_caller]
fn line<'a>(printed: &'a str, key: &str) -> Vec<&'a str> {
    let mut lines = printed.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let line = lines.find(|words| words.first() == Some(&key)).unwrap_or_else(|| panic!("{key}: {printed}"));
    line[1..].to_vec()
}

#[test]
fn a_flag_wins_over_the_environment_over_the_file_over_the_default() {
    let file = "capacity = 1\nconcurrency = 1\nlease = \"1s\"";
    let printed = steadfast("check")
        .file(file)
        .env("STEADFAST_CAPACITY", "2")
        .env("STEADFAST_CONCURRENCY", "2")
        .flag("--capacity", "3")
        .prints();
    assert_eq!(line(&printed, "capacity"), ["3", "flag"]);
    assert_eq!(line(&printed, "concurrency"), ["2", "environment"]);
    assert_eq!(line(&printed, "lease"), ["1s", "file"]);
    assert_eq!(line(&printed, "payload_max"), ["256KiB", "default"]);
}

#[test]
fn a_bad_value_is_named_with_its_key_and_what_is_allowed_from_every_source() {
    let allowed = "a whole number from 1 to 1000000000";
    steadfast("check").flag("--capacity", "many").refuses_naming(&["--capacity", "\"many\"", allowed]);
    steadfast("check").env("STEADFAST_CAPACITY", "0").refuses_naming(&[
        "STEADFAST_CAPACITY",
        "\"0\"",
        allowed,
    ]);
    steadfast("check").file("capacity = -1").refuses_naming(&[
        "capacity in steadfast.toml",
        "\"-1\"",
        allowed,
    ]);
    steadfast("check").file("[queues.mail]\ncapacity = []").refuses_naming(&[
        "queues.mail.capacity in steadfast.toml",
        "\"[]\"",
        allowed,
    ]);
}

#[test]
fn each_kind_of_value_says_what_is_allowed() {
    for (flag, value, allowed) in [
        ("--listen", "localhost", "an IP address and a port"),
        ("--store", "jobs.db", "sqlite://PATH, postgres://"),
        ("--capacity-bytes", "1GB", "a size such as"),
        ("--payload-max", "65MiB", "from 2B to 64MiB"),
        ("--lease", "30", "a duration such as"),
        ("--lease", "999ms", "from 1s to 1h"),
        ("--log-format", "xml", "text or json"),
        ("--log", "steadfast=loud", "a tracing filter"),
        ("--close-timeout", "0s", "from 100ms to 7d"),
        ("--kill-after", "", "a duration such as"),
    ] {
        steadfast("check").flag(flag, value).refuses_naming(&[flag, &format!("{value:?}"), allowed]);
    }
    steadfast("check").env("STEADFAST_ALLOW_PRIVATE_ADDRESSES", "yes").refuses_naming(&[
        "STEADFAST_ALLOW_PRIVATE_ADDRESSES",
        "\"yes\"",
        "true or false",
    ]);
}

#[test]
fn an_address_that_others_reach_needs_tokens_or_the_word_insecure() {
    const BOTH: [&str; 2] = ["--token-file", "--insecure"];
    for address in ["0.0.0.0:8080", "[::]:8080", "192.0.2.1:80", "[::ffff:192.0.2.1]:80"] {
        for flag in ["--listen", "--admin-listen"] {
            steadfast("check").flag(flag, address).refuses_naming(&[flag, BOTH[0], BOTH[1]]);
            steadfast("serve").flag(flag, address).refuses_naming(&[flag, BOTH[0], BOTH[1]]);
            let mut run = steadfast("check").flag(flag, address);
            run.command.arg("--insecure");
            assert_eq!(line(&run.prints(), "insecure"), ["true", "flag"]);
        }
    }
    steadfast("check").file("listen = \"0.0.0.0:0\"").refuses_naming(&["listen in steadfast.toml", BOTH[0]]);
    for address in ["127.0.0.1:0", "127.0.0.7:0", "[::1]:0", "[::ffff:127.0.0.1]:0"] {
        steadfast("check").flag("--listen", address).flag("--admin-listen", address).prints();
    }
}

#[test]
fn a_check_shows_when_the_certificate_ends() {
    let files = |run: Run| {
        fs::write(run.dir.path().join("both.pem"), EXPIRED).unwrap();
        run.flag("--tls-cert", "both.pem").flag("--tls-key", "both.pem")
    };
    let printed = files(steadfast("check")).prints();
    assert_eq!(line(&printed, "certificate"), ["expires", "at", "2002-01-01T00:00:00.000Z"]);
    for (run, end) in
        [(files(steadfast("check")), json!("2002-01-01T00:00:00.000Z")), (steadfast("check"), json!(null))]
    {
        let output = run.flag("--output", "json").output();
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(document["certificate_expires_at"], end);
    }
}

#[test]
fn a_token_file_is_read_before_any_port_is_bound_and_shown_without_its_hashes() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    steadfast("serve")
        .flag("--listen", &address)
        .env("STEADFAST_TOKEN_FILE", "missing.toml")
        .refuses_naming(&["STEADFAST_TOKEN_FILE", "missing.toml"]);
    let run = steadfast("check").flag("--token-file", "steadfast.toml");
    fs::write(run.config(), "[[token]]\nname = \"a\"").unwrap();
    run.refuses_naming(&["--token-file", "steadfast.toml", "token 1 (a): scopes", "\"submit\", \"read\""]);

    let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let run = steadfast("check").flag("--token-file", "steadfast.toml").flag("--listen", "0.0.0.0:0");
    let entry = format!("name = \"a\"\ntenant = \"t\"\nscopes = [\"read\", \"work\"]\nsha256 = \"{hash}\"");
    fs::write(run.config(), format!("[[token]]\n{entry}")).unwrap();
    let printed = run.prints();
    let (_, token) = printed.split_once("\ntoken a\n").unwrap();
    assert_eq!((line(token, "scopes"), line(token, "tenant")), (vec!["read,", "work"], vec!["t"]));
    assert!(!printed.contains(hash), "{printed}");
}

#[test]
fn what_is_no_setting_is_an_error() {
    steadfast("check").flag("--capcity", "7").refuses_naming(&["--capcity", "--capacity"]);
    steadfast("check").file("capcity = 7").refuses_naming(&["capcity in steadfast.toml", "no such setting"]);
    steadfast("check").file("lame_duck = \"1s\"").refuses_naming(&["lame_duck in steadfast.toml"]);
    steadfast("check").file("[shutdwn]").refuses_naming(&["shutdwn in steadfast.toml"]);
    steadfast("check").file("[queues.mail]\npriority = 1").refuses_naming(&["queues.mail.priority in"]);
    steadfast("check").file("[queues.Mail]").refuses_naming(&["queues.Mail in", "a-z"]);
    steadfast("check").file("capacity 7").refuses_naming(&["steadfast.toml", "line 1"]);
    steadfast("check").flag("--config", "missing.toml").refuses_naming(&["--config", "missing.toml"]);
}

#[test]
fn a_file_that_is_no_toml_is_named_without_what_stands_there() {
    let broken = "capacity = 5\nstore = \"postgres://steadfast:secret@db/jobs\n";
    let said = steadfast("check").file(broken).refuses();
    assert!(said.contains("steadfast.toml: line 2: not TOML: ") && !said.contains("secret"), "{said}");
}

#[test]
fn a_database_is_named_without_its_password() {
    let url = "postgres://steadfast:secret@db/jobs?schema=a&password=secret";
    let printed = steadfast("check").flag("--store", url).env("STEADFAST_POSTGRES_LISTEN_URL", url).prints();
    assert_eq!(line(&printed, "store"), ["postgres://steadfast@db/jobs?schema=a", "flag"]);
    assert_eq!(
        line(&printed, "postgres_listen_url"),
        ["postgres://steadfast@db/jobs?schema=a", "environment"]
    );
    assert!(!printed.contains("secret"), "{printed}");

    let said = steadfast("check").flag("--store", "postgres://steadfast:secret@db/jobs?schema=A-B").refuses();
    assert!(said.contains("postgres://…") && said.contains("schema=NAME"), "{said}");
    assert!(!said.contains("secret"), "{said}");
}

#[test]
fn a_database_that_is_not_there_is_named_without_its_password() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("postgres://steadfast:secret@{nobody}/jobs");
    let output = steadfast("serve").flag("--listen", "127.0.0.1:0").flag("--store", &url).output();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("cannot connect to postgres://steadfast@{nobody}/jobs")), "{said}");
    assert!(!said.contains("secret"), "{said}");
}

#[test]
fn bad_settings_are_found_before_any_port_is_bound() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    steadfast("serve").flag("--listen", &address).flag("--capacity", "0").refuses_naming(&["--capacity"]);
    let output = steadfast("serve").flag("--listen", &address).flag("--store", "memory:").output();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8(output.stderr).unwrap().contains(&address));
}

#[test]
fn what_kubernetes_injects_for_a_service_of_this_name_changes_nothing() {
    let plain = steadfast("check").prints();
    let mut run = steadfast("check");
    for (name, value) in [
        ("STEADFAST_PORT", "tcp://10.0.0.1:8080"),
        ("STEADFAST_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
        ("STEADFAST_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("STEADFAST_PORT_8080_TCP_PORT", "8080"),
        ("STEADFAST_PORT_8080_TCP_PROTO", "tcp"),
        ("STEADFAST_SERVICE_HOST", "10.0.0.1"),
        ("STEADFAST_SERVICE_PORT", "8080"),
        ("STEADFAST_SERVICE_PORT_HTTP", "8080"),
        ("STEADFAST_LAME_DUCK", "an old name"),
        ("RUST_LOG", "trace"),
    ] {
        run = run.env(name, value);
    }
    assert_eq!(run.prints(), plain);
}

#[test]
fn every_default_can_be_written_in_every_source() {
    let writable: Vec<_> =
        SETTINGS.iter().filter(|s| s.default() != "unset" && s.key != "log_format").collect();
    let (mut flags, mut environment) = (steadfast("check"), steadfast("check"));
    let (mut top, mut shutdown) = (String::new(), "[shutdown]\n".to_owned());
    for setting in &writable {
        flags.command.arg(format!("{}={}", setting.flag(), setting.default()));
        environment = environment.env(&setting.env(), &setting.default());
        match setting.key.strip_prefix("shutdown.") {
            Some(key) => shutdown += &format!("{key} = {:?}\n", setting.default()),
            None => top += &format!("{} = {:?}\n", setting.key, setting.default()),
        }
    }
    let file = steadfast("check").file(&(top + &shutdown));
    for (printed, source) in
        [(flags.prints(), "flag"), (environment.prints(), "environment"), (file.prints(), "file")]
    {
        for setting in &writable {
            assert_eq!(line(&printed, setting.key), [&setting.default(), source]);
        }
    }
}

#[test]
fn a_switch_may_stand_alone() {
    let mut run = steadfast("check");
    run.command.arg("--allow-private-addresses");
    assert_eq!(line(&run.prints(), "allow_private_addresses"), ["true", "flag"]);
}

#[test]
fn the_shutdown_budget_is_shown_and_held_against_the_platforms_time() {
    let printed = steadfast("check").flag("--kill-after", "30s").prints();
    assert!(printed.contains("graceful_timeout is cut by 12s"), "{printed}");
    assert_eq!(line(&printed, "draining"), ["18s"]);
    steadfast("check").flag("--kill-after", "11s").refuses_naming(&["kill_after (11s)", "12s"]);
    steadfast("check")
        .flag("--background-timeout", "6s")
        .refuses_naming(&["background_timeout (6s)", "close_timeout (5s)"]);
}

#[test]
fn queues_have_limits_of_their_own() {
    let file = "[queues.mail]\ncapacity = 5000\ncapacity_bytes = \"1MiB\"\nconcurrency = 4\nweight = 3\n\
                rate_limit = 0.5";
    let printed = steadfast("check").file(file).prints();
    let (_, queue) = printed.split_once("[queues.mail]").unwrap();
    assert_eq!(line(queue, "capacity"), ["5000"]);
    assert_eq!(line(queue, "capacity_bytes"), ["1MiB"]);
    assert_eq!(line(queue, "concurrency"), ["4"]);
    assert_eq!(line(queue, "weight"), ["3"]);
    assert_eq!(line(queue, "rate_limit"), ["0.5"]);
    assert_eq!((line(queue, "mode"), line(queue, "kinds")), (vec!["push"], vec!["unset"]));
}

#[test]
fn a_pull_queue_may_say_which_kinds_it_accepts() {
    let file = "[queues.images]\nmode = \"pull\"\nkinds = [\"resize\", \"crop\"]";
    let printed = steadfast("check").file(file).prints();
    let (_, queue) = printed.split_once("[queues.images]").unwrap();
    assert_eq!(line(queue, "mode"), ["pull"]);
    assert_eq!(line(queue, "kinds"), ["[\"resize\",", "\"crop\"]"]);
}

#[test]
fn what_a_queue_may_not_say_is_named_with_what_it_may() {
    for (value, parts) in [
        ("mode = \"poll\"", ["queues.a.mode in", "\"poll\"", "push or pull"]),
        ("rate_limit = 0", ["queues.a.rate_limit in", "\"0\"", "starts per second, from 0.001 to 1000000"]),
        ("rate_limit = \"50/s\"", ["queues.a.rate_limit in", "\"50/s\"", "such as 50 or 0.5"]),
        ("mode = \"pull\"\nkinds = []", ["queues.a.kinds in", "\"[]\"", "1 to 100 kinds"]),
        ("mode = \"pull\"\nkinds = \"x\"", ["queues.a.kinds in", "\"x\"", "1 to 100 kinds"]),
        ("kinds = [\"x\"]", ["queues.a.kinds in", "x", "only beside mode = \"pull\""]),
        ("mode = \"push\"\nkinds = [\"x\"]", ["queues.a.kinds in", "x", "only beside mode = \"pull\""]),
    ] {
        steadfast("check").file(&format!("[queues.a]\n{value}")).refuses_naming(&parts);
    }
}

#[test]
fn programs_are_shown_as_they_may_be_written() {
    let file = "[exec.resize]\ncommand = \"/bin/sh\"\narguments = [\"-c\", \"{{ w={w}\"]\n\
                environment = { LANG = \"C.UTF-8\" }\ninherit = []\ndirectory = \"/tmp\"\n\
                output_bytes_max = \"1KiB\"\ncompleted_codes = [0, 3]\npermanent_codes = [2]";
    let printed = steadfast("check").file(file).prints();
    let (_, program) = printed.split_once("[exec.resize]").unwrap();
    assert_eq!(line(program, "command"), ["/bin/sh"]);
    assert_eq!(line(program, "arguments"), ["[\"-c\",", "\"{{", "w={w}\"]"]);
    assert_eq!(line(program, "environment"), ["{", "LANG", "=", "\"C.UTF-8\"", "}"]);
    assert_eq!((line(program, "inherit"), line(program, "directory")), (vec!["[]"], vec!["/tmp"]));
    assert_eq!(line(program, "output_bytes_max"), ["1KiB"]);
    assert_eq!(line(program, "completed_codes"), ["[0,", "3]"]);
    assert_eq!(line(program, "permanent_codes"), ["[2]"]);

    let printed = steadfast("check").file("[exec.true]\ncommand = \"/bin/true\"").prints();
    let (_, program) = printed.split_once("[exec.true]").unwrap();
    assert_eq!((line(program, "inherit"), line(program, "directory")), (vec!["[\"PATH\"]"], vec!["/"]));
    assert_eq!(line(program, "permanent_codes"), ["[64,", "65,", "100]"]);
}

#[test]
fn what_a_program_may_not_say_is_named_with_what_it_may() {
    const COMMAND: &str = "command = \"/bin/sh\"\n";
    for (values, parts) in [
        ("", ["exec.a.command in", "\"\"", "the absolute path of a file that may be executed"]),
        ("command = \"sh\"", ["exec.a.command in", "\"sh\"", "absolute path"]),
        ("command = \"/etc/passwd\"", ["exec.a.command in", "passwd", "may be executed"]),
        ("command = \"/no/such\"", ["exec.a.command in", "/no/such", "may be executed"]),
        ("directory = \"/no/such\"", ["exec.a.directory in", "/no/such", "absolute path of a directory"]),
        ("arguments = \"x\"", ["exec.a.arguments in", "\"x\"", "a list of up to 100 texts"]),
        ("arguments = [\"--{a}\"]", ["exec.a.arguments in", "--{a}", "no field names an option"]),
        ("arguments = [\"{program}\"]", ["exec.a.arguments in", "{program}", "takes a field of the payload"]),
        ("environment = { A = 1 }", ["exec.a.environment in", "A = 1", "a table of up to 100 variables"]),
        (
            "inherit = [\"STEADFAST_TOKEN\"]",
            ["exec.a.inherit in", "STEADFAST_TOKEN", "none of them STEADFAST_*"],
        ),
        ("output_bytes_max = \"65KiB\"", ["exec.a.output_bytes_max in", "65KiB", "from 0 to 64KiB"]),
        ("completed_codes = [256]", ["exec.a.completed_codes in", "[256]", "each from 0 to 255"]),
        ("permanent_codes = 1", ["exec.a.permanent_codes in", "\"1\"", "a list of exit codes"]),
        ("shell = true", ["exec.a.shell in", "no such setting", ""]),
    ] {
        let command = if values.is_empty() || values.starts_with("command") { "" } else { COMMAND };
        steadfast("check").file(&format!("[exec.a]\n{command}{values}")).refuses_naming(&parts);
    }
    steadfast("check").file("[exec.A]").refuses_naming(&["exec.A in", "a-z"]);
    steadfast("check").file("[exec]\na = 1").refuses_naming(&["exec.a in", "\"1\"", "a table"]);
}

#[test]
fn opentelemetrys_variables_are_checked_as_settings_are() {
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
    let checked = steadfast("check").env(endpoint.0, "http://collector:4318?key=swordfish").prints();
    assert!(checked.contains("traces") && checked.contains("http://collector:4318/v1/traces\n"), "{checked}");
    assert!(!checked.contains("swordfish"), "{checked}");
    for subcommand in ["check", "serve"] {
        let grpc =
            steadfast(subcommand).env(endpoint.0, endpoint.1).env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
        grpc.refuses_naming(&["OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "http/protobuf"]);
    }
}
