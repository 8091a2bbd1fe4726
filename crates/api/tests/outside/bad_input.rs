use crate::harness::{Outside, given_outside, problem, request};

const JSON: (&str, &str) = ("Content-Type", "application/json");

/// Checks that a submit of `body` is refused with this code, as something that left nothing behind, and
/// returns the pointers of its faults.
async fn refused(outside: &Outside, body: &[u8], code: &str) -> Vec<String> {
    let answer = outside.send(&request("POST", "/v1/jobs", &[JSON], body)).await;
    let problem = problem(&answer, code);
    assert_eq!((&problem["outcome"], &problem["retryable"]), (&"none".into(), &false.into()));
    let detail = problem["detail"].as_str().unwrap();
    for inner in ["serde", "expected", "EOF while", "invalid type", "RawValue", "panicked"] {
        assert!(!detail.contains(inner), "{detail}");
    }
    let faults = problem["errors"].as_array().cloned().unwrap_or_default();
    faults.iter().map(|fault| fault["pointer"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn bodies_that_are_no_jobs_are_refused_and_leave_nothing() {
    let outside = given_outside().start().await;
    let none: [&str; 0] = [];
    for broken in ["", "{", r#"{"kind":"plain""#, r#"{"kind":"plain"}}"#, "not json", "{\"kind\":\"\0\"}"] {
        assert_eq!(refused(&outside, broken.as_bytes(), "malformed_json").await, none, "{broken}");
    }
    assert_eq!(refused(&outside, b"{\"kind\":\"\xff\"}", "malformed_json").await, none);
    for (body, pointer) in [
        (r#"[]"#, "#"),
        (r#"{}"#, "#/kind"),
        (r#"{"kind":7}"#, "#/kind"),
        (r#"{"kind":"a\u0000b"}"#, "#/kind"),
        (r#"{"kind":"plain","color":"red"}"#, "#/color"),
        (r#"{"kind":"plain","delay_ms":"1"}"#, "#/delay_ms"),
        (r#"{"kind":"plain","delay_ms":1e999999}"#, "#/delay_ms"),
        (r#"{"kind":"plain","timeout_ms":99999999999999999999999}"#, "#/timeout_ms"),
        (r#"{"kind":"plain","retry":{"max_attempts":-1}}"#, "#/retry/max_attempts"),
        (r#"{"kind":"plain","tags":{"a":"\u0000"}}"#, "#/tags"),
        (r#"{"kind":"plain","payload":{"bad":1}}"#, "#/payload/bad"),
        (r#"{"kind":"plain","run_at":"2999-01-01T00:00:00Z"}"#, "#/run_at"),
    ] {
        assert_eq!(refused(&outside, body.as_bytes(), "invalid_job").await, [pointer], "{body}");
    }
    for depth in [65, 10_000] {
        let deep = format!(r#"{{"kind":"plain","payload":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
        assert_eq!(refused(&outside, deep.as_bytes(), "invalid_job").await, ["#/payload"]);
    }
    assert_eq!(refused(&outside, br#"{"kind":"other"}"#, "unknown_kind").await, ["#/kind"]);

    let jobs = outside.get("/v1/jobs").await.json();
    assert_eq!(jobs["jobs"].as_array().map(Vec::len), Some(0));
    outside.submitted().await;
}

#[tokio::test]
async fn what_a_payload_may_hold_comes_back_byte_for_byte() {
    let outside = given_outside().start().await;
    let payload = r#"{"n":1e999999,"s":"\u0000\ud800","big":123456789012345678901234567890}"#;
    let answer = outside.post("/jobs", &format!(r#"{{"kind":"plain","payload":{payload}}}"#)).await;
    let text = String::from_utf8(answer.body).unwrap();
    assert!(text.contains(&format!(r#""payload":{payload},"payload_bytes":{}"#, payload.len())), "{text}");
}

#[tokio::test]
async fn one_byte_more_than_a_limit_is_too_large() {
    let outside = given_outside().config(|config| config.payload_bytes_max = 1_000).start().await;
    let body = |bytes: usize| format!(r#"{{"kind":"plain","payload":"{}"}}"#, "x".repeat(bytes - 2));
    assert_eq!(outside.post("/v1/jobs", &body(1_000)).await.status, 202);
    let answer = outside.post("/v1/jobs", &body(1_001)).await;
    assert_eq!(problem(&answer, "payload_too_large")["outcome"], "none");
    // Longer than any body may be, with and without an announced length.
    let long = body(1_000 + steadfast_api::ENVELOPE_BYTES_MAX + 1);
    problem(&outside.post("/v1/jobs", &long).await, "payload_too_large");
    let mut chunked = b"POST /v1/jobs HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n\
        Transfer-Encoding: chunked\r\n\r\n"
        .to_vec();
    chunked.extend_from_slice(format!("{:x}\r\n{long}\r\n0\r\n\r\n", long.len()).as_bytes());
    problem(&outside.send(&chunked).await, "payload_too_large");
}

#[tokio::test]
async fn a_batch_is_refused_whole_with_pointers_into_it() {
    let outside = given_outside().start().await;
    let answer =
        outside.post("/v1/jobs/batch", r#"{"jobs":[{"kind":"plain"},{"kind":"plain","payload":{"bad":1}}]}"#);
    let problem_of_check = problem(&answer.await, "invalid_job");
    assert_eq!(problem_of_check["errors"][0]["pointer"], "#/jobs/1/payload/bad");
    let answer = outside.post("/v1/jobs/batch", r#"{"jobs":[{"kind":"plain"},{"kind":"other"}]}"#).await;
    assert_eq!(problem(&answer, "unknown_kind")["errors"][0]["pointer"], "#/jobs/1/kind");
    let answer = outside.post("/v1/jobs/batch", r#"{"jobs":[]}"#).await;
    assert_eq!(problem(&answer, "invalid_job")["errors"][0]["pointer"], "#/jobs");
    assert_eq!(outside.get("/v1/jobs").await.json()["jobs"].as_array().map(Vec::len), Some(0));
}

#[tokio::test]
async fn content_types_other_than_json_are_refused() {
    let outside = given_outside().start().await;
    let body = r#"{"kind":"plain"}"#;
    let plain = ("Content-Type", "text/plain");
    let gzip = ("Content-Encoding", "gzip");
    for headers in [&[][..], &[plain], &[JSON, gzip]] {
        let answer = outside.request("POST", "/v1/jobs", headers, body).await;
        assert_eq!(problem(&answer, "unsupported_media_type")["outcome"], "none");
    }
    let charset = ("Content-Type", "Application/JSON; charset=utf-8");
    assert_eq!(outside.request("POST", "/v1/jobs", &[charset], body).await.status, 202);
}

#[tokio::test]
async fn routes_methods_and_parameters_that_are_not_there_are_named() {
    let outside = given_outside().start().await;
    for path in ["/v2/jobs", "/v1/jobs/a/b/c", "/favicon.ico", "/problems/unheard_of"] {
        let answer = outside.get(path).await;
        assert!(problem(&answer, "not_found")["outcome"].is_null());
    }
    let answer = outside.request("DELETE", "/v1/jobs", &[], "").await;
    problem(&answer, "method_not_allowed");
    assert_eq!(answer.header("allow"), Some("POST,GET,HEAD"));
    problem(&outside.get("/v1/drain").await, "method_not_allowed");

    let id = outside.submitted().await;
    for (path, parameter) in [
        ("/v1/jobs/not-an-id".to_owned(), "id"),
        ("/v1/jobs/%ff".to_owned(), "id"),
        (format!("/v1/jobs/{id}?wait_ms=30001"), "wait_ms"),
        (format!("/v1/jobs/{id}?wait_ms=-1"), "wait_ms"),
        (format!("/v1/jobs/{id}?wait_ms=%2B1"), "wait_ms"),
        (format!("/v1/jobs/{id}?wait=1"), "wait"),
        ("/v1/jobs?limit=0".to_owned(), "limit"),
        ("/v1/jobs?limit=1001".to_owned(), "limit"),
        ("/v1/jobs?state=running".to_owned(), "state"),
        ("/v1/jobs?state=dead&state=dead".to_owned(), "state"),
        ("/v1/jobs?queue=A".to_owned(), "queue"),
        ("/v1/jobs?tag=x".to_owned(), "tag"),
        ("/v1/jobs?tag=a:%00".to_owned(), "tag"),
        ("/v1/jobs?cursor=x".to_owned(), "cursor"),
    ] {
        let answer = outside.get(&path).await;
        let problem = problem(&answer, "invalid_parameter");
        assert_eq!(problem["parameter"], parameter, "{path}");
        assert!(problem["value"].is_string() && problem["allowed"].is_string(), "{problem}");
    }
    let key = ("Idempotency-Key", "two words");
    let answer = outside.request("POST", "/v1/jobs", &[JSON, key], r#"{"kind":"plain"}"#).await;
    assert_eq!(problem(&answer, "invalid_parameter")["parameter"], "Idempotency-Key");
    for bad in ["yesterday", "+1", "-1", "53648251948280370470", "00000000000000000001"] {
        let answer =
            outside.request("GET", &format!("/v1/jobs/{id}/events"), &[("Last-Event-ID", bad)], "").await;
        assert_eq!(problem(&answer, "invalid_parameter")["parameter"], "Last-Event-ID", "{bad}");
    }
}

#[tokio::test]
async fn foreign_pages_change_nothing() {
    let outside = given_outside().start().await;
    let (cross, origin) = (("Sec-Fetch-Site", "cross-site"), ("Origin", "http://evil.example"));
    for foreign in [cross, origin] {
        let answer = outside.request("POST", "/v1/jobs", &[JSON, foreign], r#"{"kind":"plain"}"#).await;
        assert_eq!(problem(&answer, "forbidden")["outcome"], "none");
        assert_eq!(outside.request("GET", "/v1/jobs", &[foreign], "").await.status, 200);
    }
    let own = ("Origin", "http://test");
    let answer = outside.request("POST", "/v1/jobs", &[JSON, own], r#"{"kind":"plain"}"#).await;
    assert_eq!(answer.status, 202);
}
