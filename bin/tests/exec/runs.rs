//! What a program is given, and what its output and its end mean.

use serde_json::{Value, json};
use steadfast_client::Error;
use steadfast_domain::JobState;
use steadfast_testkit::eventually;
use steadfast_wire::JobDocument;

use crate::{Programs, assert_no_children, ended, job, run, submit, value};

#[tokio::test(flavor = "multi_thread")]
async fn a_program_gets_the_job_and_nothing_of_the_server_but_what_it_may() {
    let shows = r#"
        cat
        printf '\n%s|%s\n' "$1" "$2"
        pwd
        env | sort | grep -v -e ^MARK= -e ^PWD= -e ^PATH= -e ^STEADFAST_JOB_ID=
        echo "$STEADFAST_JOB_ID"
        [ "$(cut -d ' ' -f 5 /proc/$$/stat)" = $$ ] && echo its own group
        readlink /proc/$$/fd/* || exit 0
    "#;
    let programs = Programs::new().script("shows", r#""--width={width}", "{file}""#, shows);
    let mut server = programs.given().env("SECRET", "swordfish").env("HOME", "/root").start().await;
    let mut shown = job("shows", json!({ "width": 7, "file": "a b;$(c)", "input": { "any": [null] } }));
    shown.tags.insert("team".to_owned(), "a".to_owned());
    let done = run(&server, &shown).await;
    assert_eq!(done.state, JobState::Completed, "{done:?}");
    let output = value(done.result.as_ref())["output"].as_str().expect("text").to_owned();
    let (document, rest) = output.split_once('\n').expect("a line");
    assert_eq!(
        serde_json::from_str::<Value>(document).expect("JSON"),
        json!({
            "id": done.id, "queue": "default", "kind": "exec", "attempt": 1, "max_attempts": 5,
            "payload": { "program": "shows", "width": 7, "file": "a b;$(c)", "input": { "any": [null] } },
            "checkpoint": null, "tags": { "team": "a" },
        })
    );
    let id = done.id;
    let expected =
        format!("\n--width=7|a b;$(c)\n/\nSTEADFAST_ATTEMPT=1\nSTEADFAST_REPORT_FD=3\n{id}\nits own group\n");
    let (shown, files) = rest.split_at(expected.len());
    assert_eq!(shown, expected);
    assert_eq!(kinds_of(files), ["pipe", "pipe", "pipe", "pipe", "shows.sh"]);
    server.stop().await.expect_code(0);
}

/// What these open files are, sorted. Those that this test was itself started with come to every process below it.
fn kinds_of(files: &str) -> Vec<&str> {
    let own = std::fs::read_dir("/proc/self/fd").expect("this process's files").filter_map(Result::ok);
    let own: Vec<_> = own.filter_map(|entry| std::fs::read_link(entry.path()).ok()).collect();
    let others = files.lines().filter(|file| !own.iter().any(|own| own == std::path::Path::new(file)));
    let mut kinds: Vec<_> = others
        .map(|file| file.rsplit('/').next().and_then(|name| name.split(':').next()).unwrap_or(file))
        .collect();
    kinds.sort_unstable();
    kinds
}

#[tokio::test(flavor = "multi_thread")]
async fn a_json_document_is_the_result_and_progress_is_seen_on_the_way() {
    let reports = r#"
        echo 'no report' >&$STEADFAST_REPORT_FD
        echo '{"progress":{"done":1,"total":2}}' >&$STEADFAST_REPORT_FD
        until [ -e "$0.go" ]; do sleep 0.01; done
        echo '{"sum": 1e400}'
    "#;
    let programs = Programs::new().script("reports", "", reports);
    let mut server = programs.given().start().await;
    let client = server.client();
    let id = submit(&client, &job("reports", json!({}))).await;
    let progress = eventually("progress is reported", async || client.job(id).await.ok()?.progress).await;
    assert_eq!(value(Some(&progress)), json!({ "done": 1, "total": 2 }));
    std::fs::write(programs.dir.path().join("reports.sh.go"), "").expect("a file");
    let done = ended(&client, id).await;
    assert_eq!(done.result.expect("a result").as_str(), r#"{"sum": 1e400}"#);
    server.until_logged("lines that a program wrote for reports are none, or too long").await;
    server.stop().await.expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn output_without_end_is_read_and_bounded() {
    let floods = "head -c 20000000 /dev/zero >&2 & head -c 20000000 /dev/zero | tr '\\0' x; wait";
    let reports = "head -c 5000000 /dev/zero | tr '\\0' x >&$STEADFAST_REPORT_FD; exec <&- ; echo done";
    let programs = Programs::new().script("floods", "", floods).script("reports", "", reports);
    let mut server = programs.given().start().await;
    let done = run(&server, &job("floods", json!({}))).await;
    let result = value(done.result.as_ref());
    assert_eq!(result["truncated"], json!(true), "{:?}", done.state);
    let kept = result["output"].as_str().expect("text");
    assert!(kept.len() > 65_000 && kept.bytes().all(|byte| byte == b'x'), "{} bytes", kept.len());
    // It never reads its input either, which is more than a pipe holds.
    let large = job("reports", json!({ "input": "x".repeat(200_000) }));
    let done = run(&server, &large).await;
    assert_eq!(value(done.result.as_ref())["output"], "done\n", "{done:?}");
    server.stop().await.expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_ends_well_leaves_no_daemon() {
    let daemon = "setsid sleep $MARK > /dev/null 2>&1 &\nsetsid sleep $MARK &\necho '\"begun\"'";
    let programs = Programs::new().script("daemon", "", daemon);
    let mut server = programs.given().start().await;
    let done = run(&server, &job("daemon", json!({}))).await;
    assert_eq!((done.state, value(done.result.as_ref())), (JobState::Completed, json!("begun")));
    programs.assert_gone();
    assert_no_children(&mut server);
    server.stop().await.expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_is_told_with_the_last_lines_of_standard_error() {
    let ends = "echo 'a long way' >&2\necho 'no such file' >&2\n[ \"$1\" = 0 ] && kill -KILL $$\nexit $1";
    let programs = Programs::new().script("ends", r#""{code}""#, ends);
    let settings = format!("{}[exec.gone]\ncommand = \"{}\"\n", programs.settings, copy_of_true(&programs));
    let mut server = programs.given().settings(&settings).start().await;
    std::fs::remove_file(copy_of_true(&programs)).expect("it is there");
    let client = server.client();
    let error = async |name: &str, code: u8| {
        let id = submit(&client, &job(name, json!({ "code": code }))).await;
        let first = async || client.job(id).await.ok().filter(|job| !job.errors.is_empty());
        let job: JobDocument = eventually("an attempt failed", first).await;
        (job.state, job.errors[0].code.clone(), job.errors[0].message.clone())
    };
    let (state, code, message) = error("ends", 65).await;
    assert_eq!((state, code.as_str()), (JobState::Dead, "exit_code"));
    assert_eq!(message, "the program ended with exit code 65: a long way\nno such file");
    let (state, code, message) = error("ends", 75).await;
    assert_ne!(state, JobState::Dead, "{code}: {message}");
    let (state, code, message) = error("ends", 0).await;
    assert_ne!(state, JobState::Dead);
    assert_eq!((code.as_str(), &message[..37]), ("signal", "the program was ended by signal 9: a "));

    let id = submit(&client, &job("gone", json!({}))).await;
    let first = async || client.job(id).await.ok().filter(|job| !job.errors.is_empty());
    let missing = eventually("an attempt failed", first).await;
    assert_eq!(missing.errors[0].code, "not_started", "{missing:?}");
    server.stop().await.expect_code(0);
}

/// A program that is there when the server starts, and not when its job does.
fn copy_of_true(programs: &Programs) -> String {
    let path = programs.dir.path().join("true");
    if !path.exists() {
        std::fs::copy("/bin/true", &path).expect("a program to copy");
    }
    path.display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_that_names_no_program_or_would_add_an_option_is_refused() {
    let programs = Programs::new().script("takes", r#""{file}""#, "exit");
    let mut server = programs.given().start().await;
    for (name, fields, pointer) in [
        ("sh", json!({}), "#/payload/program"),
        ("/bin/sh", json!({}), "#/payload/program"),
        ("takes", json!({}), "#/payload/file"),
        ("takes", json!({ "file": "--help" }), "#/payload/file"),
        ("takes", json!({ "file": "a\0b" }), "#/payload/file"),
        ("takes", json!({ "file": "a", "argument": "b" }), "#/payload/argument"),
    ] {
        let refused = server.client().submit(&job(name, fields), &Default::default()).await;
        let Err(Error::Refused(problem)) = refused else { panic!("{name}: {refused:?}") };
        assert_eq!((problem.code.as_ref(), problem.errors[0].pointer.as_str()), ("invalid_job", pointer));
    }
    server.stop().await.expect_code(0);
}
