use steadfast_domain::JobId;
use steadfast_lifecycle::Phase;
use tower::ServiceExt;

use crate::harness::{Outside, given_outside, problem};

const JOB: &str = r#"{"kind":"plain"}"#;

/// Statuses of one endpoint each, in the order of DESIGN.md's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    submit: u16,
    batch: u16,
    retry: u16,
    cancel: u16,
    pause: u16,
    read: u16,
    list: u16,
    live: u16,
    health: u16,
    metrics: u16,
    home: u16,
    ready: u16,
}

async fn row(outside: &Outside, queued: JobId, cancelled: JobId) -> Row {
    Row {
        submit: outside.post("/v1/jobs", JOB).await.status,
        batch: outside.post("/v1/jobs/batch", &format!(r#"{{"jobs":[{JOB}]}}"#)).await.status,
        retry: outside.post(&format!("/v1/jobs/{cancelled}/retry"), "").await.status,
        cancel: outside.post(&format!("/v1/jobs/{cancelled}/cancel"), "").await.status,
        pause: outside.post("/v1/queues/default/pause", "").await.status,
        read: outside.get(&format!("/v1/jobs/{queued}")).await.status,
        list: outside.get("/v1/jobs").await.status,
        live: outside.get("/livez").await.status,
        health: outside.get("/healthz").await.status,
        metrics: outside.get("/metrics").await.status,
        home: outside.get("/").await.status,
        ready: outside.get("/readyz").await.status,
    }
}

#[tokio::test]
async fn every_endpoint_does_in_every_phase_what_the_table_says() {
    let mut outside = given_outside().start_unattached().await;
    let nobody = JobId::from_u128(7);
    let ready = Row {
        submit: 202,
        batch: 202,
        retry: 200,
        cancel: 200,
        pause: 200,
        read: 200,
        list: 200,
        live: 200,
        health: 200,
        metrics: 200,
        home: 200,
        ready: 200,
    };
    let starting = Row {
        submit: 503,
        batch: 503,
        retry: 503,
        cancel: 503,
        pause: 503,
        read: 503,
        list: 503,
        ready: 503,
        ..ready
    };
    assert_eq!(row(&outside, nobody, nobody).await, starting);
    problem(&outside.get("/v1/jobs").await, "starting");
    assert_eq!(problem(&outside.get("/readyz").await, "not_ready")["checks"]["store"], "opening");

    outside.attach();
    let (queued, cancelled) = (outside.submitted().await, outside.submitted().await);
    outside.post(&format!("/v1/jobs/{cancelled}/cancel"), "").await;
    assert_eq!(row(&outside, queued, cancelled).await, ready);

    outside.phase.advance(Phase::LameDuck);
    let lame = Row { ready: 503, ..ready };
    assert_eq!(row(&outside, queued, cancelled).await, lame);
    let checks = problem(&outside.get("/readyz").await, "not_ready")["checks"].clone();
    assert_eq!((&checks["phase"], &checks["store"]), (&"lame_duck".into(), &"ok".into()));

    let draining = Row { submit: 503, batch: 503, retry: 503, ..lame };
    for phase in [Phase::Draining, Phase::Cancelling, Phase::Handback] {
        outside.phase.advance(phase);
        assert_eq!(row(&outside, queued, cancelled).await, draining, "{phase:?}");
        let refused = problem(&outside.post("/v1/jobs", JOB).await, "shutting_down");
        assert_eq!((&refused["phase"], &refused["outcome"]), (&phase.as_str().into(), &"none".into()));
        assert_eq!(outside.get("/healthz").await.json()["phase"], phase.as_str());
    }
}

#[tokio::test]
async fn answers_close_their_connection_from_lame_duck_on() {
    let outside = given_outside().start().await;
    let mut kept = outside.connect().await;
    for _ in 0..3 {
        kept.get("/v1/jobs").await.unwrap();
        assert!(!kept.answer().await.unwrap().closes());
    }
    outside.phase.advance(Phase::LameDuck);
    kept.post("/v1/jobs", JOB).await.unwrap();
    let last = kept.answer().await.unwrap();
    assert!(last.status == 202 && last.closes());
    assert_eq!(kept.until_eof().await.unwrap(), b"");
    outside.phase.advance(Phase::Draining);
    for path in ["/healthz", "/nowhere", "/v1/jobs", "/metrics"] {
        assert!(outside.get(path).await.closes(), "{path}");
    }
}

#[tokio::test]
async fn a_drain_may_be_asked_for_from_this_machine() {
    let mut outside = given_outside().start().await;
    let answer = outside.post("/v1/drain", "").await;
    assert_eq!((answer.status, &answer.json()["status"]), (202, &"draining".into()));
    outside.drains.requested().await;
    // Asking is not draining: the phase is the owner's.
    assert_eq!(outside.get("/readyz").await.status, 200);
}

/// Behind a proxy on this machine everybody would be a peer on this machine.
#[tokio::test]
async fn a_drain_asked_for_through_a_proxy_is_forbidden() {
    let outside = given_outside().start().await;
    for header in ["Forwarded: for=192.0.2.1", "X-Forwarded-For: 192.0.2.1", "Via: 1.1 proxy"] {
        let mut proxy = outside.connect().await;
        let request = format!("POST /v1/drain HTTP/1.1\r\nHost: t\r\n{header}\r\nContent-Length: 0\r\n\r\n");
        proxy.send(request.as_bytes()).await.unwrap();
        problem(&proxy.answer().await.unwrap(), "forbidden");
    }
}

#[tokio::test]
async fn a_drain_asked_for_by_nobody_in_sight_is_forbidden() {
    let outside = given_outside().start().await;
    let request = http::Request::post("/v1/drain").body(axum::body::Body::empty()).unwrap();
    let response = steadfast_api::router(outside.app).oneshot(request).await.unwrap();
    assert_eq!(response.status(), 403);
}

#[tokio::test]
async fn a_body_still_coming_when_the_drain_begins_is_refused_then() {
    let outside = given_outside().start().await;
    let mut slow = outside.connect().await;
    let head =
        b"POST /v1/jobs HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n{";
    slow.send(head).await.unwrap();
    outside.in_flight(1).await;
    outside.phase.advance(Phase::Draining);
    problem(&slow.answer().await.unwrap(), "shutting_down");
    outside.app.requests().idle().await;
}
