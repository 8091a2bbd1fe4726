//! Every kind of bad input gets the answer that the API's page names, without an inner word, and the
//! server is none the worse for it.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use steadfast_testkit::harness::{Server, given_server};
use steadfast_testkit::history::{Evidence, Expected, History, all_jobs, until_all_ended};
use steadfast_testkit::raw::{RawAnswer, RawConnection};

const PROGRAM: &str = env!("CARGO_BIN_EXE_steadfast");
const PAYLOAD_MAX: usize = 1_000;

/// One request and the answer it must get.
struct Case {
    name: &'static str,
    request: Vec<u8>,
    status: u16,
    code: &'static str,
    /// The places that the member `errors` must name, exactly.
    pointers: &'static [&'static str],
}

/// A `POST /v1/jobs` of these bytes.
fn submit(body: impl AsRef<[u8]>) -> Vec<u8> {
    post_as("/v1/jobs", "Content-Type: application/json\r\n", body)
}

fn post_as(path: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let length = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nHost: test\r\n{headers}Content-Length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

fn bare(method: &str, path: &str) -> Vec<u8> {
    format!("{method} {path} HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n").into_bytes()
}

const fn case(name: &'static str, request: Vec<u8>, status: u16, code: &'static str) -> Case {
    Case { name, request, status, code, pointers: &[] }
}

/// A job that is JSON and yet not one that can be taken, with the places at fault.
fn invalid(name: &'static str, body: &str, pointers: &'static [&'static str]) -> Case {
    Case { name, request: submit(body), status: 422, code: "invalid_job", pointers }
}

fn malformed() -> Vec<Case> {
    let malformed = |name, body: &[u8]| case(name, submit(body), 400, "malformed_json");
    vec![
        malformed("an empty body", b""),
        malformed("broken JSON", b"{\"kind\":\"echo\""),
        malformed("two documents", b"{\"kind\":\"echo\"} {}"),
        malformed("a trailing comma", b"{\"kind\":\"echo\",}"),
        malformed("a raw NUL byte", b"{\"kind\":\"echo\",\"payload\":\"\0\"}"),
        malformed("invalid UTF-8", b"{\"kind\":\"echo\",\"payload\":\"\xff\xfe\"}"),
        malformed("a surrogate half in UTF-8", b"{\"kind\":\"echo\",\"payload\":\"\xed\xa0\x80\"}"),
        malformed("a number that is none", b"{\"kind\":\"echo\",\"payload\":NaN}"),
    ]
}

fn invalid_jobs() -> Vec<Case> {
    vec![
        invalid("an array", "[]", &["#"]),
        invalid("a string", "\"echo\"", &["#"]),
        invalid("null", "null", &["#"]),
        invalid("no kind", "{}", &["#/kind"]),
        invalid("an unknown field", r#"{"kind":"echo","kidn":1}"#, &["#/kidn"]),
        invalid("an unknown field within", r#"{"kind":"echo","retry":{"max":1}}"#, &["#/retry/max"]),
        invalid("a kind of the wrong type", r#"{"kind":7}"#, &["#/kind"]),
        invalid("a kind with a NUL", r#"{"kind":"e\u0000"}"#, &["#/kind"]),
        invalid("a delay of the wrong type", r#"{"kind":"echo","delay_ms":"1"}"#, &["#/delay_ms"]),
        invalid("a negative delay", r#"{"kind":"echo","delay_ms":-1}"#, &["#/delay_ms"]),
        invalid("a fraction", r#"{"kind":"echo","timeout_ms":1.5}"#, &["#/timeout_ms"]),
        invalid("a huge number", r#"{"kind":"echo","timeout_ms":1e999}"#, &["#/timeout_ms"]),
        invalid(
            "a number beyond 64 bits",
            r#"{"kind":"echo","delay_ms":99999999999999999999}"#,
            &["#/delay_ms"],
        ),
        invalid(
            "too many attempts",
            r#"{"kind":"echo","retry":{"max_attempts":1001}}"#,
            &["#/retry/max_attempts"],
        ),
        invalid("a priority nobody knows", r#"{"kind":"echo","priority":"urgent"}"#, &["#/priority"]),
        invalid("a time that is none", r#"{"kind":"echo","run_at":"tomorrow"}"#, &["#/run_at"]),
        invalid("tags of the wrong type", r#"{"kind":"echo","tags":{"a":1}}"#, &["#/tags/a"]),
        invalid(
            "a payload its kind refuses",
            r#"{"kind":"sleep","payload":{"ms":"long"}}"#,
            &["#/payload/ms"],
        ),
        invalid(
            "several faults at once",
            r#"{"kind":"echo","delay_ms":true,"priority":0}"#,
            &["#/delay_ms", "#/priority"],
        ),
    ]
}

fn limits() -> Vec<Case> {
    let deep = format!(r#"{{"kind":"echo","payload":{}{}}}"#, "[".repeat(65), "]".repeat(65));
    let abyss = format!(r#"{{"kind":"echo","payload":{}{}}}"#, "[".repeat(5_000), "]".repeat(5_000));
    let large = |bytes: usize| format!(r#"{{"kind":"echo","payload":"{}"}}"#, "x".repeat(bytes - 2));
    let batch = format!(r#"{{"jobs":[{}{{"kind":"echo"}}]}}"#, r#"{"kind":"echo"},"#.repeat(1_000));
    let batch = post_as("/v1/jobs/batch", "Content-Type: application/json\r\n", batch);
    vec![
        Case { pointers: &["#/payload"], ..case("too deep", submit(deep), 422, "invalid_job") },
        Case { pointers: &["#/payload"], ..case("far too deep", submit(abyss), 422, "invalid_job") },
        Case {
            pointers: &["#/payload"],
            ..case("a payload one byte too large", submit(large(PAYLOAD_MAX + 1)), 413, "payload_too_large")
        },
        case("a body far too large", submit(large(1_000_000)), 413, "payload_too_large"),
        Case { pointers: &["#/jobs"], ..case("a batch of 1,001", batch, 422, "invalid_job") },
        Case {
            pointers: &["#/kind"],
            ..case("a kind nobody runs", submit(r#"{"kind":"mail"}"#), 422, "unknown_kind")
        },
        case("a queue nobody declared", submit(r#"{"kind":"echo","queue":"mail"}"#), 404, "queue_not_found"),
    ]
}

fn protocol() -> Vec<Case> {
    let echo = r#"{"kind":"echo"}"#;
    let with =
        |headers: &str| post_as("/v1/jobs", &format!("Content-Type: application/json\r\n{headers}"), echo);
    let key = "k".repeat(256);
    vec![
        case("no content type", post_as("/v1/jobs", "", echo), 415, "unsupported_media_type"),
        case(
            "text",
            post_as("/v1/jobs", "Content-Type: text/plain\r\n", echo),
            415,
            "unsupported_media_type",
        ),
        case("an encoded body", with("Content-Encoding: gzip\r\n"), 415, "unsupported_media_type"),
        case("a key too long", with(&format!("Idempotency-Key: {key}\r\n")), 400, "invalid_parameter"),
        case("a key with a space", with("Idempotency-Key: a b\r\n"), 400, "invalid_parameter"),
        case("an empty key", with("Idempotency-Key: \"\"\r\n"), 400, "invalid_parameter"),
        case("a wrong method", bare("PUT", "/v1/jobs"), 405, "method_not_allowed"),
        case("a method nobody knows", bare("BREW", "/v1/jobs"), 405, "method_not_allowed"),
        case("an unknown route", bare("GET", "/v2/jobs"), 404, "not_found"),
        case("an unknown route below", bare("GET", "/v1/jobs/1/2/3"), 404, "not_found"),
        case("an id that is none", bare("GET", "/v1/jobs/seven"), 400, "invalid_parameter"),
        case("an id in bad UTF-8", bare("GET", "/v1/jobs/%ff"), 400, "invalid_parameter"),
        case(
            "a job that is not there",
            bare("GET", "/v1/jobs/01993c1e-0000-7000-8000-000000000000"),
            404,
            "job_not_found",
        ),
        case("a limit too large", bare("GET", "/v1/jobs?limit=1001"), 400, "invalid_parameter"),
        case("a limit that is none", bare("GET", "/v1/jobs?limit=many"), 400, "invalid_parameter"),
        case("a state nobody knows", bare("GET", "/v1/jobs?state=lost"), 400, "invalid_parameter"),
        case("a cursor made up", bare("GET", "/v1/jobs?cursor=x"), 400, "invalid_parameter"),
        case(
            "a wait that is none",
            bare("GET", "/v1/jobs/01993c1e-0000-7000-8000-000000000000?wait_ms=-1"),
            400,
            "invalid_parameter",
        ),
        case("another site's page", with("Sec-Fetch-Site: cross-site\r\n"), 403, "forbidden"),
        case("a foreign origin", with("Origin: http://elsewhere.example\r\n"), 403, "forbidden"),
    ]
}

/// Words of the program's inside, of its libraries and of the machine.
const INNER_WORDS: [&str; 10] =
    ["panick", "serde", "sqlite", "rusqlite", "tokio", "axum", "hyper", ".rs:", "unwrap", "steadfast_"];

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_get_the_answers_of_the_api() {
    let server = given_server(PROGRAM).flag("--payload-max", PAYLOAD_MAX.to_string()).start().await;
    for case in [malformed(), invalid_jobs(), limits(), protocol()].into_iter().flatten() {
        let answer = answer_to(&server, &case.request).await;
        assert_problem(&case, &answer);
    }
    assert_none_the_worse(server).await;
}

async fn answer_to(server: &Server, request: &[u8]) -> RawAnswer {
    let mut connection = RawConnection::open(server.address()).await.expect("a connection");
    connection.send(request).await.expect("the request is sent");
    connection.answer().await.unwrap_or_else(|fault| panic!("{fault}: {}", String::from_utf8_lossy(request)))
}

fn assert_problem(case: &Case, answer: &RawAnswer) {
    let (name, problem) = (case.name, answer.json());
    assert_eq!((answer.status, &problem["code"]), (case.status, &json!(case.code)), "{name}: {problem}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{name}");
    assert_eq!(problem["status"], json!(case.status), "{name}");
    assert_eq!(problem["type"], json!(format!("/problems/{}", case.code)), "{name}");
    assert_eq!(problem["trace_id"].as_str().map(str::len), Some(32), "{name}: {problem}");
    let posted = case.request.starts_with(b"POST");
    assert_eq!(problem["outcome"], if posted { json!("none") } else { Value::Null }, "{name}: {problem}");
    let pointers: BTreeSet<&str> =
        problem["errors"].as_array().into_iter().flatten().filter_map(|e| e["pointer"].as_str()).collect();
    assert_eq!(pointers, BTreeSet::from_iter(case.pointers.iter().copied()), "{name}: {problem}");
    let text = String::from_utf8_lossy(&answer.body).to_lowercase();
    for word in INNER_WORDS {
        assert!(!text.contains(word), "{name}: {word:?} is an inner word: {text}");
    }
    if answer.status == 405 {
        assert!(answer.header("allow").is_some_and(|allow| allow.contains("POST")), "{name}: Allow");
    }
}

/// No worker was lost, nothing was stored, and the server stops as always.
async fn assert_none_the_worse(mut server: Server) {
    let (client, history) = (server.client(), History::new());
    assert_eq!(all_jobs(&client).await, [], "nothing was stored");
    for n in 0..100 {
        history.submit(&client, "echo", &json!({ "n": n })).await.expect("room");
    }
    until_all_ended(&client).await;
    let jobs = all_jobs(&client).await;
    history.assert_kept(Evidence { jobs: &jobs, ..Evidence::default() }, Expected::Ended);
    let exit = server.stop().await.expect_code(0);
    assert!(!exit.stderr.text().contains("panicked"), "{}", exit.output());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_json_can_say_and_few_can_hold_comes_back_byte_for_byte() {
    let server = given_server(PROGRAM).start().await;
    let payloads = [
        r#"{"huge":1e999999,"long":123456789012345678901234567890.5}"#,
        r#""\u0000 \ud800 \udfff""#,
        r#"{"a":1,"a":2}"#,
        "null",
        "\"\u{10ffff}\"",
        &format!("{}{}", "[".repeat(64), "]".repeat(64)),
    ];
    for payload in payloads {
        let body = format!(r#"{{"kind":"echo","payload":{payload}}}"#);
        let request = post_as("/v1/jobs", "Content-Type: application/json\r\nPrefer: wait=10\r\n", body);
        let answer = answer_to(&server, &request).await;
        let text = String::from_utf8(answer.body).expect("UTF-8");
        assert_eq!(answer.status, 200, "{text}");
        assert!(text.contains(&format!(r#""payload":{payload},"#)), "{text}");
        assert!(text.contains(&format!(r#""result":{payload},"#)), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_not_http_get_a_bare_answer_and_a_close() {
    let server = given_server(PROGRAM).start().await;
    let long = format!("GET /{} HTTP/1.1\r\nHost: test\r\n\r\n", "x".repeat(100_000));
    let heavy = format!("GET / HTTP/1.1\r\nHost: test\r\nX: {}\r\n\r\n", "x".repeat(100_000));
    let many = format!("GET / HTTP/1.1\r\nHost: test\r\n{}\r\n", "X: y\r\n".repeat(1_000));
    let requests: [(&[u8], &[u16]); 6] = [
        (b"not http at all\r\n\r\n", &[400]),
        (b"\0\0\0\0\0\0\0\0\r\n\r\n", &[400]),
        (b"GET / HTTP/1.1\r\nHo st: test\r\n\r\n", &[400]),
        (long.as_bytes(), &[414, 431]),
        (heavy.as_bytes(), &[431]),
        (many.as_bytes(), &[431]),
    ];
    for (request, allowed) in requests {
        let mut connection = RawConnection::open(server.address()).await.expect("a connection");
        connection.send(request).await.expect("the bytes are sent");
        let answer = connection.until_eof().await.expect("a close in order, no reset");
        let text = String::from_utf8_lossy(&answer).into_owned();
        let status = text.get(9..12).and_then(|status| status.parse().ok());
        assert!(status.is_some_and(|status| allowed.contains(&status)), "{text:?}");
    }
    assert_none_the_worse(server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_kubernetes_injects_changes_nothing() {
    let server = given_server(PROGRAM)
        .env("STEADFAST_PORT", "tcp://10.0.171.239:8080")
        .env("STEADFAST_PORT_8080_TCP", "tcp://10.0.171.239:8080")
        .env("STEADFAST_PORT_8080_TCP_ADDR", "10.0.171.239")
        .env("STEADFAST_PORT_8080_TCP_PORT", "8080")
        .env("STEADFAST_PORT_8080_TCP_PROTO", "tcp")
        .env("STEADFAST_SERVICE_HOST", "10.0.171.239")
        .env("STEADFAST_SERVICE_PORT", "8080")
        .env("STEADFAST_SERVICE_PORT_HTTP", "8080")
        .start()
        .await;
    assert_none_the_worse(server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_setting_is_named_with_its_value_before_a_port_is_bound() {
    let dir = tempfile::tempdir().expect("a directory");
    let flag = given_server(PROGRAM).flag("--concurrency", "none");
    let environment = given_server(PROGRAM).env("STEADFAST_LEASE", "soon");
    let file = given_server(PROGRAM).settings("[shutdown]\ngraceful_timeout = \"forever\"\n");
    let unknown = given_server(PROGRAM).settings("capcity = 5\n");
    let cases = [
        (flag, ["--concurrency", "none"]),
        (environment, ["STEADFAST_LEASE", "soon"]),
        (file, ["graceful_timeout", "forever"]),
        (unknown, ["capcity", "steadfast.toml"]),
    ];
    for (given, words) in cases {
        let mut process = given.launch(dir.path());
        let exit = process.exit_within(steadfast_testkit::PATIENCE).await.expect("it ends").expect_code(2);
        let error = exit.stderr.text();
        assert!(words.iter().all(|word| error.contains(word)), "{words:?}: {error}");
        assert!(exit.stderr.events("listening").is_empty(), "{error}");
    }
}
