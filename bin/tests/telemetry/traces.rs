//! Traces and metrics on their way to a collector: whole, in time, and never in the way.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use steadfast_testkit::collector::{Collector, Manner, Span};
use steadfast_testkit::gate::Gate;
use steadfast_testkit::harness::{Given, Server, Signal, given_server};
use steadfast_testkit::history::until_all_ended;
use steadfast_testkit::raw::{RawAnswer, RawConnection};
use steadfast_testkit::{PATIENCE, eventually};
use tempfile::TempDir;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CLIENTS_SPAN: &str = "b7ad6b7169203331";
const AWAY: &str = "the collector takes no telemetry; it is tried again and again";
/// No span leaves before the drain: what is at the collector in the end went out at the end.
const NOT_BEFORE_THE_DRAIN: &str = "3600000";

fn given_exporting_server(collector: &Collector) -> Given {
    given_server(env!("CARGO_BIN_EXE_steadfast"))
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint())
        .env("OTEL_BSP_SCHEDULE_DELAY", NOT_BEFORE_THE_DRAIN)
}

/// Posts this, as a part of the client's trace, or of one that the client does not record.
async fn post(server: &Server, path: &str, body: &Value, is_recorded: bool) -> RawAnswer {
    let mut connection = RawConnection::open(server.address()).await.expect("the server accepts");
    let (body, flags) = (body.to_string(), if is_recorded { "01" } else { "00" });
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n\
         Traceparent: 00-{TRACE}-{CLIENTS_SPAN}-{flags}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    connection.send(request.as_bytes()).await.expect("the server reads");
    connection.answer().await.expect("the server answers")
}

/// Does what makes one span, and no job.
async fn make_a_span(server: &Server) {
    let refused = post(server, "/v1/jobs", &json!({ "kind": "nobody-runs-this" }), true).await;
    assert_eq!(refused.status, 422);
}

/// The only span of this name whose parent is this one's.
#[track_caller]
fn only<'a>(spans: &'a [Span], name: &str, parent: &str) -> &'a Span {
    let found: Vec<_> = spans.iter().filter(|span| span.name == name && span.parent == parent).collect();
    let [span] = found[..] else { panic!("one {name:?} inside of {parent:?}, of {spans:#?}") };
    assert_eq!(span.trace, TRACE);
    span
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_goes_from_the_client_through_a_retried_delivery_to_the_endpoint() {
    let (collector, gate) = (Collector::start().await, Gate::closed().await);
    gate.refuse(1);
    gate.open();
    let mut server = given_exporting_server(&collector).start().await;
    let job = json!({
        "kind": "http", "payload": gate.payload(), "retry": { "initial_ms": 1, "max_attempts": 2 },
    });
    let accepted = post(&server, "/v1/jobs", &job, true).await;
    assert_eq!((accepted.status, &accepted.json()["trace_id"]), (202, &TRACE.into()));
    until_all_ended(&server.client()).await;
    assert_eq!(collector.spans(), [], "nothing but the drain brings them");
    server.stop().await.expect_code(0);

    let spans = collector.spans();
    let submit = only(&spans, "POST /v1/jobs", CLIENTS_SPAN);
    assert_eq!(submit.attributes["http.response.status_code"], "202");
    assert_eq!(submit.attributes["url.path"], "/v1/jobs");
    let mut attempts: Vec<_> = spans.iter().filter(|span| span.name == "process default").collect();
    attempts.sort_by_key(|span| &span.attributes["steadfast.job.attempt"]);
    let deliveries = gate.deliveries();
    let [first, second] = attempts[..] else { panic!("two attempts, of {spans:#?}") };
    for (attempt, outcome) in [(first, "failed"), (second, "completed")] {
        assert_eq!((&attempt.trace[..], &attempt.parent), (TRACE, &submit.id));
        assert_eq!(attempt.attributes["messaging.message.id"], accepted.json()["id"]);
        assert_eq!(attempt.attributes["steadfast.attempt.outcome"], outcome);
    }
    assert_eq!((first.is_error, second.is_error), (true, false));
    for (attempt, (delivery, status)) in attempts.iter().zip(deliveries.iter().zip(["503", "200"])) {
        let sent = only(&spans, "POST", &attempt.id);
        assert_eq!(sent.attributes["http.response.status_code"], status);
        assert_eq!(delivery.trace.as_deref(), Some(&*format!("00-{TRACE}-{}-01", sent.id)));
    }
    assert_eq!(collector.resource()["service.name"], "steadfast");
    let completed = [("queue", "default"), ("kind", "http"), ("state", "completed")];
    assert_eq!(collector.figure("steadfast_jobs_finished_total", &completed), Some(1.0));
    assert_eq!(collector.figure("steadfast_draining", &[]), Some(1.0));
    assert!(collector.figure("steadfast_shutdown_step_seconds", &[("step", "stopped")]).is_some());
}

/// Whoever reaches the port could else fill the queue of spans.
#[tokio::test(flavor = "multi_thread")]
async fn strangers_leave_no_spans() {
    let (collector, dir) = (Collector::start().await, TempDir::new().expect("a directory"));
    let tokens = dir.path().join("tokens.toml");
    let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let entry = format!("[[token]]\nname = \"abc\"\nscopes = [\"read\"]\nsha256 = \"{hash}\"\n");
    fs::write(&tokens, entry).expect("a file can be written");
    let given = given_exporting_server(&collector).flag("--token-file", &tokens);
    let mut server = given.start().await;
    for (request, status) in [
        ("GET /v1/queues", 401),
        ("GET /v1/queues HTTP/1.1\r\nAuthorization: Bearer wrong", 401),
        ("GET /nowhere", 404),
        ("GET /problems/queue_full", 200),
        ("DELETE /v1/queues", 405),
        ("POST /v1/jobs HTTP/1.1\r\nOrigin: http://elsewhere", 403),
        ("GET /v1/jobs HTTP/1.1\r\nAuthorization: Bearer abc", 200),
        ("POST /v1/jobs HTTP/1.1\r\nAuthorization: Bearer abc", 403),
    ] {
        let head =
            if request.contains("HTTP/1.1") { request.to_owned() } else { format!("{request} HTTP/1.1") };
        let mut connection = RawConnection::open(server.address()).await.expect("the server accepts");
        let request = format!("{head}\r\nHost: test\r\nContent-Length: 0\r\n\r\n");
        connection.send(request.as_bytes()).await.expect("the server reads");
        assert_eq!(connection.answer().await.expect("the server answers").status, status, "{request}");
    }
    server.stop().await.expect_code(0);
    let mut names: Vec<String> = collector.spans().into_iter().map(|span| span.name).collect();
    names.sort();
    assert_eq!(names, ["GET /v1/jobs", "POST /v1/jobs"]);
}

/// A job of `queue` that a worker takes and fails, after it was cancelled if `is_cancelled`. Returns the `traceparent`
/// that the worker got.
async fn fail_under_a_lease(server: &Server, queue: &str, is_cancelled: bool) -> String {
    let job = post(server, "/v1/jobs", &json!({ "kind": "any", "queue": queue }), true).await.json();
    let leased = post(server, "/v1/leases", &json!({ "queues": [queue], "worker": "w" }), false).await.json();
    let leased = &leased["leases"][0];
    if is_cancelled {
        let id = job["id"].as_str().expect("an id").parse().expect("an id");
        server.client().cancel(id).await.expect("it can be cancelled");
    }
    let failure = json!({ "code": "no_paper", "message": "out of paper", "retryable": false });
    let lease = leased["lease"].as_str().expect("a lease");
    let failed = post(server, &format!("/v1/leases/{lease}/fail"), &failure, false).await;
    assert_eq!(failed.status, 200);
    leased["traceparent"].as_str().expect("the worker is told").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_and_a_remote_worker_are_parts_of_the_trace() {
    let collector = Collector::start().await;
    let settings = "[queues.far]\nmode = \"pull\"\n[queues.left]\nmode = \"pull\"\n\
                    [exec.says]\ncommand = \"/usr/bin/printenv\"\narguments = [\"TRACEPARENT\"]";
    let mut server = given_exporting_server(&collector).settings(settings).start().await;
    let program = json!({ "kind": "exec", "payload": { "program": "says" } });
    let program = post(&server, "/v1/jobs", &program, true).await.json()["id"].clone();
    let told = fail_under_a_lease(&server, "far", false).await;
    fail_under_a_lease(&server, "left", true).await;
    until_all_ended(&server.client()).await;
    let id = program.as_str().expect("an id").parse().expect("an id");
    let said = server.client().job(id).await.expect("the job is there").result.expect("a result");
    server.stop().await.expect_code(0);

    let spans = collector.spans();
    let attempt = |queue: &str| {
        let named = |span: &&Span| {
            span.attributes.get("messaging.destination.name").is_some_and(|name| name == queue)
        };
        spans.iter().find(named).expect("an attempt")
    };
    let said = said.decode::<Value>().expect("JSON")["output"].clone();
    assert_eq!(said, format!("00-{TRACE}-{}-01\n", attempt("default").id));
    let far = attempt("far");
    assert_eq!((far.trace.as_str(), far.attributes["error.type"].as_str()), (TRACE, "no_paper"));
    assert!(far.is_error && spans.iter().any(|span| span.id == far.parent && span.name == "POST /v1/jobs"));
    assert_eq!(told, format!("00-{TRACE}-{}-01", far.parent), "it may begin spans beside the attempt's");
    let left = attempt("left");
    assert_eq!(left.attributes["steadfast.attempt.outcome"], "cancelled");
    assert!(!left.is_error, "it was told to stop: {left:#?}");
    let others: Vec<_> = spans.iter().filter(|span| span.name.contains("/v1/leases")).collect();
    assert!(others.is_empty(), "their client does not record them: {others:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_waits_for_the_collector_and_not_for_long() {
    for answers in [true, false] {
        let collector = Collector::start().await;
        collector.behave(Manner::Hangs);
        let mut server = given_exporting_server(&collector).flag("--close-timeout", "5s").start().await;
        make_a_span(&server).await;
        server.signal(Signal::TERM);
        // The last of both signals.
        collector.until_asked(1).await;
        assert!(server.process().is_running(), "it waits");
        if answers {
            collector.behave(Manner::Takes);
        }
        let exit = server.exit().await.expect_code(0);
        assert_eq!(collector.figure("steadfast_draining", &[]), answers.then_some(1.0));
        let lost = exit.stderr.events("the collector did not take the last of the telemetry in time");
        let lost: Vec<_> = lost.iter().map(|event| event["spans"].clone()).collect();
        assert_eq!(lost, if answers { vec![] } else { vec![json!(1)] }, "{}", exit.output());
        // The flush's share is 2 s; a request's own time would be 10 s.
        assert!(exit.took < Duration::from_secs(8), "{:?}", exit.took);
    }
}

/// An export that is under way when the last one is asked for does not stand in for it.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_metrics_follow_an_export_that_the_end_finds_under_way() {
    let collector = Collector::start().await;
    collector.behave(Manner::Hangs);
    let mut server = given_exporting_server(&collector)
        .env("OTEL_TRACES_EXPORTER", "none")
        .env("OTEL_METRIC_EXPORT_INTERVAL", "1")
        .start()
        .await;
    collector.until_asked(1).await;
    server.signal(Signal::TERM);
    // What follows is to ask for the last export.
    server.until_logged("drain ledger").await;
    collector.behave(Manner::Takes);
    server.exit().await.expect_code(0);
    assert_eq!(collector.figure("steadfast_draining", &[]), Some(1.0));
    assert!(collector.figure("steadfast_shutdown_step_seconds", &[("step", "stopped")]).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_is_told_of_once_and_gets_everything_later() {
    let collector = Collector::start().await;
    collector.behave(Manner::Refuses);
    let mut server = given_exporting_server(&collector)
        .env("OTEL_BSP_SCHEDULE_DELAY", "1")
        .env("OTEL_METRIC_EXPORT_INTERVAL", "1")
        .start()
        .await;
    post(&server, "/v1/jobs", &json!({ "kind": "echo" }), true).await;
    eventually("both signals are refused", async || {
        let told = server.log().events(AWAY).into_iter().map(|event| event["signal"].to_string());
        (told.collect::<BTreeSet<_>>().len() == 2).then_some(())
    })
    .await;
    collector.until_asked(50).await;
    collector.behave(Manner::Takes);
    eventually("the spans of before", async || (!collector.spans().is_empty()).then_some(())).await;
    let exit = server.stop().await.expect_code(0);
    for signal in ["traces", "metrics"] {
        for message in [AWAY, "the collector takes telemetry again"] {
            let events = exit.stderr.events(message);
            let of_signal = events.iter().filter(|event| event["signal"] == signal).count();
            assert_eq!(of_signal, 1, "{signal}: {message}\n{}", exit.output());
        }
    }
    let names = |spans: Vec<Span>| spans.into_iter().map(|span| span.name).collect::<Vec<_>>();
    assert!(names(collector.spans()).contains(&"POST /v1/jobs".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_that_no_collector_takes_are_counted() {
    for (manner, reason) in [(Manner::Refuses, "not_exported"), (Manner::Rejects, "rejected")] {
        let collector = Collector::start().await;
        collector.behave(manner);
        let mut server = given_exporting_server(&collector)
            .env("OTEL_BSP_SCHEDULE_DELAY", "1")
            .env("OTEL_BSP_EXPORT_TIMEOUT", "1")
            .start()
            .await;
        make_a_span(&server).await;
        let dropped = format!("\nsteadfast_spans_dropped_total{{reason=\"{reason}\"}} 1\n");
        eventually("it is counted", async || {
            let mut connection = RawConnection::open(server.address()).await.expect("the server accepts");
            connection.get("/metrics").await.expect("the server reads");
            let metrics = connection.answer().await.expect("the server answers").body;
            String::from_utf8_lossy(&metrics).contains(&dropped).then_some(())
        })
        .await;
        server.stop().await.expect_code(0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_wait_for_others_also_after_a_batch_that_took_long() {
    let collector = Collector::start().await;
    let mut server = given_exporting_server(&collector)
        .env("OTEL_METRICS_EXPORTER", "none")
        .env("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2")
        .start()
        .await;
    collector.behave(Manner::Hangs);
    make_a_span(&server).await;
    make_a_span(&server).await;
    collector.until_asked(1).await;
    make_a_span(&server).await;
    collector.behave(Manner::Takes);
    eventually("the first batch", async || (!collector.batches().is_empty()).then_some(())).await;
    make_a_span(&server).await;
    server.stop().await.expect_code(0);
    assert_eq!(collector.batches(), [2, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_start_waits_for_no_collector() {
    let collector = Collector::start().await;
    collector.behave(Manner::Hangs);
    let dir = TempDir::new().expect("a directory");
    fs::write(dir.path().join("steadfast.db"), "not a database").expect("a file");
    let mut process = given_exporting_server(&collector).launch(dir.path());
    let exit = process.exit_within(PATIENCE).await.expect("an end").expect_code(1);
    assert!(!exit.stderr.text().contains("collector"), "{}", exit.output());
}
