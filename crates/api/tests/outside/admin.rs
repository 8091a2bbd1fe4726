//! The admin listener: what it serves, to whom, and what the other one leaves to it.

use std::net::SocketAddr;
use std::sync::Arc;

use steadfast_api::{Access, Connections, Listener};
use steadfast_testkit::raw::{RawAnswer, RawConnection};
use tokio::net::TcpListener;

use crate::harness::{Given, Outside, given_outside, problem, request};
use crate::tokens::tokens;

/// A server with an admin listener, which nobody reaches without a token but by that one.
struct Run {
    outside: Outside,
    admin: Connections,
}

async fn run(change: impl FnOnce(Given) -> Given) -> Run {
    let given =
        given_outside().config(|config| config.has_admin_listener = true).access(&Access::by(tokens()));
    let outside = change(given).start().await;
    let listener = Listener::Bound(TcpListener::bind("127.0.0.1:0").await.unwrap());
    let admin = Connections::serve_admin(listener, Arc::clone(&outside.app));
    Run { outside, admin }
}

async fn ask(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)]) -> RawAnswer {
    let mut connection = RawConnection::open(address).await.unwrap();
    connection.send(&request(method, path, headers, b"")).await.unwrap();
    connection.answer().await.unwrap()
}

/// The answer to a request without a body whose other header lines are these.
async fn ask_with_head(address: SocketAddr, asked: &str, head: &str) -> RawAnswer {
    let mut connection = RawConnection::open(address).await.unwrap();
    let request = format!("{asked} HTTP/1.1\r\n{head}\r\nContent-Length: 0\r\n\r\n");
    connection.send(request.as_bytes()).await.unwrap();
    connection.answer().await.unwrap()
}

#[tokio::test]
async fn whoever_reaches_it_may_look_and_steer_without_a_token_and_no_more() {
    let mut run = run(|given| given).await;
    let admin = run.admin.local_addr().unwrap();
    for (method, path, status) in [
        ("GET", "/livez", 200),
        ("GET", "/healthz", 200),
        ("GET", "/readyz", 200),
        ("GET", "/metrics", 200),
        ("GET", "/problems/forbidden", 200),
        ("POST", "/v1/queues/default/pause", 200),
        ("POST", "/v1/queues/default/resume", 200),
        ("POST", "/v1/drain", 202),
    ] {
        // A proxy before it changes nothing.
        let answer = ask(admin, method, path, &[("Via", "1.1 proxy")]).await;
        assert_eq!(answer.status, status, "{method} {path}");
    }
    run.outside.drains.requested().await;
    for path in ["/v1/jobs", "/v1/queues", "/v1/events", "/v1/leases", "/jobs"] {
        for method in ["GET", "POST"] {
            let all = [("Authorization", "Bearer all")];
            problem(&ask(admin, method, path, &all).await, "not_found");
        }
    }
}

#[tokio::test]
async fn the_other_listener_keeps_the_probes_and_leaves_it_the_metrics() {
    let Run { outside, .. } = run(|given| given).await;
    for path in ["/livez", "/readyz"] {
        assert_eq!(outside.get(path).await.status, 200);
    }
    let all = [("Authorization", "Bearer all")];
    problem(&outside.request("GET", "/metrics", &all, "").await, "not_found");
    assert!(!String::from_utf8(outside.get("/").await.body).unwrap().contains("/metrics"));
    problem(&outside.post("/v1/queues/default/pause", "").await, "unauthenticated");
    assert_eq!(outside.request("POST", "/v1/queues/default/pause", &all, "").await.status, 200);
}

#[tokio::test]
async fn a_drain_from_beyond_this_machine_needs_a_token_or_this_listener() {
    let mut run = run(|given| given).await;
    let proxied = ("Via", "1.1 proxy");
    problem(&run.outside.request("POST", "/v1/drain", &[proxied], "").await, "unauthenticated");
    let read = [proxied, ("Authorization", "Bearer read")];
    problem(&run.outside.request("POST", "/v1/drain", &read, "").await, "forbidden");
    let admin = [proxied, ("Authorization", "Bearer admin")];
    assert_eq!(run.outside.request("POST", "/v1/drain", &admin, "").await.status, 202);
    run.outside.drains.requested().await;
}

#[tokio::test]
async fn neither_a_job_nor_a_page_of_another_name_may_look_or_steer() {
    let run = run(|given| given).await;
    let admin = run.admin.local_addr().unwrap();
    let job = "Host: 127.0.0.1\r\nSteadfast-Job-Id: 019a0000-0000-7000-8000-000000000000";
    let page = "Host: evil.example\r\nOrigin: http://evil.example";
    for head in [job, page] {
        for asked in ["GET /metrics", "POST /v1/queues/default/pause", "POST /v1/drain"] {
            let answer = ask_with_head(admin, asked, head).await;
            problem(&answer, "forbidden");
        }
        assert_eq!(ask_with_head(admin, "GET /livez", head).await.status, 200, "that is for everybody");
        problem(&ask_with_head(run.outside.address, "POST /v1/drain", head).await, "unauthenticated");
    }
}

#[tokio::test]
async fn without_tokens_a_page_of_another_name_gets_nothing_and_a_job_no_drain() {
    let outside = given_outside().start().await;
    let page = "Host: evil.example:8080\r\nOrigin: http://evil.example:8080";
    for asked in ["GET /v1/jobs", "POST /v1/jobs", "GET /v1/events", "GET /metrics", "POST /v1/drain"] {
        let refused = problem(&ask_with_head(outside.address, asked, page).await, "forbidden");
        let detail = refused["detail"].as_str().unwrap();
        assert!(asked.ends_with("drain") || detail.contains("evil.example"), "{detail}");
    }
    let own = "Host: localhost:8080\r\nOrigin: http://localhost:8080";
    assert_eq!(ask_with_head(outside.address, "GET /v1/jobs", own).await.status, 200);
    let job = "Host: 127.0.0.1\r\nSteadfast-Job-Id: 019a0000-0000-7000-8000-000000000000";
    problem(&ask_with_head(outside.address, "POST /v1/drain", job).await, "forbidden");
}

#[tokio::test]
async fn connections_to_the_other_listener_take_no_place_from_it() {
    let run = run(|given| given.config(|config| config.connections_max = 1)).await;
    let mut held = Vec::new();
    for _ in 0..300 {
        held.push(RawConnection::open(run.outside.address).await.unwrap());
    }
    let answer = ask(run.admin.local_addr().unwrap(), "GET", "/readyz", &[]).await;
    assert_eq!((answer.status, answer.closes()), (200, false), "it is not one of the reserved ones");
}
