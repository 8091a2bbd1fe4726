use std::collections::BTreeSet;
use std::time::Duration;

use steadfast_api::{Access, Tokens};
use steadfast_domain::JobId;
use steadfast_lifecycle::Phase;
use steadfast_testkit::raw::RawAnswer;
use steadfast_wire::ErrorCode;

use crate::faulty_store::Fault;
use crate::harness::{Outside, given_outside, problem};

const JOB: &str = r#"{"kind":"plain"}"#;

/// Collects the codes met, each in a whole problem document.
#[derive(Default)]
struct Met(BTreeSet<&'static str>);

impl Met {
    #[track_caller]
    fn check(&mut self, answer: &RawAnswer, code: ErrorCode) {
        problem(answer, code.as_str());
        self.0.insert(code.as_str());
    }
}

async fn keyed(outside: &Outside, body: &str) -> RawAnswer {
    let headers = [("Content-Type", "application/json"), ("Idempotency-Key", "k")];
    outside.request("POST", "/v1/jobs", &headers, body).await
}

async fn meet_those_of_a_ready_server(met: &mut Met) {
    let outside = given_outside().start().await;
    let json = [("Content-Type", "application/json")];
    met.check(&outside.post("/v1/jobs", "{").await, ErrorCode::MalformedJson);
    met.check(&outside.post("/v1/jobs", "{}").await, ErrorCode::InvalidJob);
    met.check(&outside.post("/v1/jobs", r#"{"kind":"x"}"#).await, ErrorCode::UnknownKind);
    met.check(&outside.request("POST", "/v1/jobs", &[], JOB).await, ErrorCode::UnsupportedMediaType);
    met.check(&outside.get("/v1/jobs?limit=x").await, ErrorCode::InvalidParameter);
    met.check(&outside.get("/nowhere").await, ErrorCode::NotFound);
    met.check(&outside.get("/v1/queues/none").await, ErrorCode::QueueNotFound);
    met.check(&outside.request("PUT", "/", &[], "").await, ErrorCode::MethodNotAllowed);
    let cross = [json[0], ("Sec-Fetch-Site", "cross-site")];
    met.check(&outside.request("POST", "/v1/jobs", &cross, JOB).await, ErrorCode::Forbidden);
    let unknown = JobId::from_u128(7);
    met.check(&outside.get(&format!("/v1/jobs/{unknown}")).await, ErrorCode::JobNotFound);
    let large = format!(r#"{{"kind":"plain","payload":"{}"}}"#, "x".repeat(256 * 1024));
    met.check(&outside.post("/v1/jobs", &large).await, ErrorCode::PayloadTooLarge);

    let first = keyed(&outside, JOB).await;
    assert_eq!(first.status, 202);
    met.check(&keyed(&outside, r#"{"kind":"plain","payload":1}"#).await, ErrorCode::IdempotencyMismatch);
    let id = crate::harness::id_of(&first);
    let conflict = outside.post(&format!("/v1/jobs/{id}/retry"), "").await;
    met.check(&conflict, ErrorCode::StateConflict);
    assert_eq!(conflict.json()["state"], "queued");
    let lost = outside.post(&format!("/v1/leases/{unknown}.7.30000/complete"), "{}").await;
    met.check(&lost, ErrorCode::LeaseLost);
}

async fn meet_those_of_a_failing_store(met: &mut Met) {
    let outside = given_outside().start().await;
    for (fault, code, outcome) in [
        (Fault::Unavailable, ErrorCode::StoreUnavailable, "none"),
        (Fault::Full, ErrorCode::StoreFull, "none"),
        (Fault::TimedOut, ErrorCode::TimedOut, "none"),
        (Fault::Unknown, ErrorCode::StoreUnavailable, "unknown"),
        (Fault::KeyInFlight, ErrorCode::IdempotencyInFlight, "unknown"),
        (Fault::Panics, ErrorCode::Internal, "unknown"),
    ] {
        outside.store.set(fault);
        let answer = outside.post("/v1/jobs", JOB).await;
        met.check(&answer, code);
        assert_eq!(answer.json()["outcome"], outcome, "{fault:?}");
        assert!(!String::from_utf8_lossy(&answer.body).contains("cellar"));
        // What may have been done is worth repeating only where a key makes that safe.
        let retryable = answer.json()["retryable"].as_bool().unwrap();
        assert_eq!(retryable, code.retryable() && outcome == "none", "{fault:?}");
        assert_eq!(keyed(&outside, JOB).await.json()["retryable"], code.retryable(), "{fault:?}");
    }
    // A panic in a handler itself, not in the task of a change.
    met.check(&outside.get("/v1/queues").await, ErrorCode::Internal);
    outside.store.set(Fault::None);
    outside.submitted().await;
}

async fn meet_those_of_limits_and_phases(met: &mut Met) {
    let full = given_outside().capacity(1, 100).start().await;
    full.submitted().await;
    let answer = full.post("/v1/jobs", JOB).await;
    met.check(&answer, ErrorCode::QueueFull);
    let problem = answer.json();
    assert_eq!(
        (&problem["queue"], &problem["depth"], &problem["capacity"]),
        (&"default".into(), &1.into(), &1.into())
    );

    let bytes = given_outside().capacity(100, 3).start().await;
    bytes.submitted().await;
    met.check(&bytes.post("/v1/jobs", JOB).await, ErrorCode::QueueBytesFull);
    let larger = bytes.post("/v1/jobs", r#"{"kind":"plain","payload":12345}"#).await;
    met.check(&larger, ErrorCode::PayloadTooLarge);
    assert_eq!(larger.json()["retryable"], false);

    let busy = given_outside().config(|config| config.requests_max = 0).start().await;
    met.check(&busy.post("/v1/jobs", JOB).await, ErrorCode::Overloaded);

    // On a server of its own: a whole body may take as long.
    let hurried =
        given_outside().config(|config| config.body_timeout = Duration::from_millis(50)).start().await;
    let stalled =
        b"POST /v1/jobs HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{";
    met.check(&hurried.send(stalled).await, ErrorCode::RequestTimeout);

    let guarded = given_outside().access(&Access::by(Tokens::default())).start().await;
    met.check(&guarded.post("/v1/jobs", JOB).await, ErrorCode::Unauthenticated);

    let mut starting = given_outside().start_unattached().await;
    met.check(&starting.post("/v1/jobs", JOB).await, ErrorCode::Starting);
    met.check(&starting.get("/readyz").await, ErrorCode::NotReady);
    starting.attach();
    starting.phase.advance(Phase::Draining);
    let answer = starting.post("/v1/jobs", JOB).await;
    met.check(&answer, ErrorCode::ShuttingDown);
    assert_eq!(answer.json()["phase"], "draining");
}

#[tokio::test]
async fn every_code_comes_in_a_whole_problem_document() {
    let mut met = Met::default();
    meet_those_of_a_ready_server(&mut met).await;
    meet_those_of_a_failing_store(&mut met).await;
    meet_those_of_limits_and_phases(&mut met).await;
    let all: BTreeSet<&str> = ErrorCode::ALL.into_iter().map(ErrorCode::as_str).collect();
    assert_eq!(met.0, all);
}

#[tokio::test]
async fn a_change_that_was_done_is_never_said_not_to_be() {
    let outside = given_outside().start().await;
    let id = outside.submitted().await;
    outside.store.set(Fault::Blind);
    for (path, retryable) in [
        (format!("/v1/jobs/{id}/cancel"), true),
        (format!("/v1/jobs/{id}/retry"), false),
        ("/v1/queues/default/pause".to_owned(), true),
    ] {
        let answer = outside.post(&path, "").await;
        let problem = problem(&answer, "store_unavailable");
        assert_eq!(
            (&problem["outcome"], &problem["retryable"]),
            (&"unknown".into(), &retryable.into()),
            "{path}"
        );
    }
}

#[tokio::test]
async fn every_code_has_its_page_and_the_home_page_links_it() {
    let outside = given_outside().start().await;
    let home = String::from_utf8(outside.get("/").await.body).unwrap();
    assert!(home.contains(env!("CARGO_PKG_VERSION")) && home.contains("ready"));
    for code in ErrorCode::ALL {
        let path = format!("/problems/{}", code.as_str());
        assert!(home.contains(&path), "{path}");
        let page = outside.get(&path).await;
        assert_eq!(page.status, 200);
        assert!(String::from_utf8(page.body).unwrap().contains(code.title()));
    }
}

#[tokio::test]
async fn a_given_trace_names_the_problem_and_the_job() {
    let outside = given_outside().start().await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{trace}-00f067aa0ba902b7-01");
    let headers = [("Content-Type", "application/json"), ("traceparent", parent.as_str())];
    assert_eq!(outside.request("POST", "/v1/jobs", &headers, JOB).await.json()["trace_id"], trace);
    assert_eq!(outside.request("POST", "/v1/jobs", &headers, "{").await.json()["trace_id"], trace);
}
