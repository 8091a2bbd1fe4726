//! Who may do what, on every route.

use serde_json::Value;
use steadfast_api::{Access, Grant, Scope, Scopes, TokenHash, Tokens};
use steadfast_domain::{Tenant, TokenName};
use steadfast_testkit::raw::RawAnswer;

use crate::event_stream::EventStream;
use crate::harness::{Outside, given_outside, id_of, problem, request};
use crate::openapi::{document, filled, operations};

const JOB: &str = r#"{"kind":"plain","unique_key":"u"}"#;

/// A token for each scope, named as it is; `all` has every scope, and is of the tenant `acme`.
pub(crate) fn tokens() -> Tokens {
    let one = Scope::ALL.map(|scope| entry(scope.as_str(), "", &[scope]));
    one.into_iter().chain([entry("all", "acme", &Scope::ALL)]).collect()
}

fn entry(token: &str, tenant: &str, scopes: &[Scope]) -> (TokenHash, Grant) {
    let grant = Grant {
        name: TokenName::new(token).unwrap(),
        tenant: Tenant::new(tenant).unwrap(),
        scopes: scopes.iter().copied().collect::<Scopes>(),
    };
    (TokenHash::of(token.as_bytes()), grant)
}

async fn guarded() -> (Outside, Access) {
    let access = Access::by(tokens());
    (given_outside().access(&access).start().await, access)
}

impl Outside {
    async fn with(&self, token: &str, method: &str, path: &str, body: &str) -> RawAnswer {
        let bearer = format!("Bearer {token}");
        let headers = [("Content-Type", "application/json"), ("Authorization", bearer.as_str())];
        self.request(method, path, &headers, body).await
    }
}

/// The scope that an operation says it needs, and whether it does without on the server's machine.
fn needed(operation: &Value) -> Option<(Scope, bool)> {
    let alternatives = operation["security"].as_array().unwrap();
    let scope = alternatives.first()?["bearer"][0].as_str().unwrap();
    Some((Scope::parse(scope).unwrap(), alternatives.len() > 1))
}

#[test]
fn each_route_needs_the_scope_that_the_contract_has() {
    let document = document();
    for (method, path, operation) in operations(&document) {
        let expected = match (method.as_str(), path) {
            (_, "/" | "/livez" | "/healthz" | "/readyz" | "/openapi.json" | "/problems/{code}") => None,
            (_, "/v1/drain") => Some((Scope::Admin, true)),
            (_, path) if path.ends_with("/pause") || path.ends_with("/resume") => Some((Scope::Admin, false)),
            (_, path) if path.starts_with("/v1/leases") => Some((Scope::Work, false)),
            ("POST", _) => Some((Scope::Submit, false)),
            _ => Some((Scope::Read, false)),
        };
        assert_eq!(needed(operation), expected, "{method} {path}");
    }
}

#[tokio::test]
async fn without_a_token_it_is_401_and_without_the_scope_403_on_every_route_that_needs_one() {
    let (outside, _) = guarded().await;
    let document = document();
    for (method, path, operation) in operations(&document) {
        let Some((scope, is_local_enough)) = needed(operation) else {
            let answer = outside.request(&method, &filled(path), &[], "").await;
            assert!(answer.status < 400, "{method} {path}: {}", answer.status);
            continue;
        };
        if is_local_enough {
            assert_eq!(outside.request(&method, &filled(path), &[], "").await.status, 202, "{path}");
            continue;
        }
        let answer = outside.request(&method, &filled(path), &[], "").await;
        let refused = problem(&answer, "unauthenticated");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"), "{method} {path}");
        assert_eq!(refused["outcome"], if method == "POST" { "none".into() } else { Value::Null });
        for other in Scope::ALL.into_iter().filter(|other| *other != scope) {
            let answer = outside.with(other.as_str(), &method, &filled(path), "").await;
            let refused = problem(&answer, "forbidden");
            let challenge = format!("Bearer error=\"insufficient_scope\", scope=\"{}\"", scope.as_str());
            assert_eq!(answer.header("www-authenticate"), Some(challenge.as_str()));
            let detail = refused["detail"].as_str().unwrap();
            assert!(detail.contains(scope.as_str()) && !detail.contains(other.as_str()), "{detail}");
        }
        // A stream has no end: below, one is read.
        if path == "/v1/events" {
            continue;
        }
        // The right scope comes to the handler, whatever that says of a request without a body.
        for token in [scope.as_str(), "all"] {
            let answer = outside.with(token, &method, &filled(path), "").await;
            assert!(!matches!(answer.status, 401 | 403), "{method} {path}: {}", answer.status);
        }
    }
}

#[tokio::test]
async fn a_token_counts_only_in_one_whole_header_and_is_repeated_nowhere() {
    let (outside, _) = guarded().await;
    for headers in [
        &["Bearer wr0ng"][..],
        &["Bearer submit submit"],
        &["Bearer"],
        &["submit"],
        &["Basic c3VibWl0"],
        &["Bearer submit", "Bearer submit"],
        &["Bearer submit", "Bearer wr0ng"],
    ] {
        let mut sent = vec![("Content-Type", "application/json")];
        sent.extend(headers.iter().map(|value| ("Authorization", *value)));
        let answer = outside.request("POST", "/v1/jobs", &sent, JOB).await;
        problem(&answer, "unauthenticated");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer error=\"invalid_token\""), "{headers:?}");
        assert!(!String::from_utf8_lossy(&answer.body).contains("wr0ng"));
    }
    for path in ["/v1/jobs?access_token=read", "/v1/jobs?token=read", "/v1/jobs?authorization=Bearer%20read"]
    {
        problem(&outside.get(path).await, "unauthenticated");
    }
    let lower = [("Content-Type", "application/json"), ("authorization", "bearer submit")];
    assert_eq!(outside.request("POST", "/v1/jobs", &lower, JOB).await.status, 202);
}

#[tokio::test]
async fn keys_belong_to_the_tokens_tenant() {
    let (outside, _) = guarded().await;
    let keyed = async |token: &str, body: &str| {
        let bearer = format!("Bearer {token}");
        let headers = [
            ("Content-Type", "application/json"),
            ("Authorization", bearer.as_str()),
            ("Idempotency-Key", "k"),
        ];
        outside.request("POST", "/v1/jobs", &headers, body).await
    };
    let (ours, theirs) = (keyed("submit", JOB).await, keyed("all", JOB).await);
    assert_eq!((ours.status, theirs.status), (202, 202), "{}", theirs.json());
    assert_ne!(id_of(&ours), id_of(&theirs));
    assert_eq!(theirs.json()["deduplicated"], Value::Null, "nor do unique keys meet");
    for (token, first) in [("submit", ours), ("all", theirs)] {
        assert_eq!(id_of(&keyed(token, JOB).await), id_of(&first));
        let batch = format!(r#"{{"jobs":[{JOB}]}}"#);
        let batch = outside.with(token, "POST", "/v1/jobs/batch", &batch).await;
        assert_eq!(batch.json()["jobs"][0]["id"], first.json()["id"]);
    }
}

#[tokio::test]
async fn a_server_without_tokens_takes_no_notice_of_them() {
    let outside = given_outside().start().await;
    assert_eq!(outside.with("any", "POST", "/v1/jobs", JOB).await.status, 202);
}

#[tokio::test]
async fn a_refused_body_is_not_read_and_takes_nothing_from_others() {
    let access = Access::by(tokens());
    let outside = given_outside().config(|config| config.requests_max = 1).access(&access).start().await;
    let mut strangers = Vec::new();
    for _ in 0..20 {
        let mut stranger = outside.connect().await;
        let head = "POST /v1/jobs HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n";
        stranger.send(head.as_bytes()).await.unwrap();
        let answer = stranger.answer().await.unwrap();
        problem(&answer, "unauthenticated");
        assert!(answer.closes(), "its body is still to come");
        strangers.push(stranger);
    }
    assert_eq!(outside.with("submit", "POST", "/v1/jobs", JOB).await.status, 202);
    // Without a body nothing stands in the way of the next request.
    let mut stranger = outside.connect().await;
    for _ in 0..3 {
        stranger.send(&request("GET", "/v1/jobs", &[], b"")).await.unwrap();
        assert!(!stranger.answer().await.unwrap().closes());
    }
}

#[tokio::test]
async fn a_token_that_is_taken_back_ends_its_streams_and_no_others() {
    let (outside, access) = guarded().await;
    let open = async |token: &str| {
        let bearer = format!("Bearer {token}");
        let mut stream = EventStream::open_with(&outside, "/v1/events", &[("Authorization", &bearer)]).await;
        stream.next().await.unwrap();
        stream
    };
    let (mut taken_back, mut kept) = (open("read").await, open("all").await);
    access.replace(Tokens::from_iter([entry("all", "acme", &Scope::ALL), entry("new", "", &[Scope::Read])]));
    assert!(taken_back.next().await.is_none());
    problem(&outside.with("read", "GET", "/v1/jobs", "").await, "unauthenticated");
    assert_eq!(outside.with("new", "GET", "/v1/jobs", "").await.status, 200);

    let id = id_of(&outside.with("all", "POST", "/v1/jobs", JOB).await);
    let told = kept.next().await.unwrap();
    assert_eq!((told.name.as_str(), &told.data["id"]), ("state", &id.to_string().into()));
}

/// What a token opened does not go on for the sake of a request that it let in.
#[tokio::test]
async fn a_token_that_is_taken_back_ends_its_streams_while_a_request_of_it_is_held() {
    let (outside, access) = guarded().await;
    let bearer = ("Authorization", "Bearer all");
    let mut stream = EventStream::open_with(&outside, "/v1/events", &[bearer]).await;
    stream.next().await.unwrap();
    let mut held = outside.connect().await;
    let headers = [("Content-Type", "application/json"), ("Prefer", "wait=20"), bearer];
    held.send(&request("POST", "/v1/jobs", &headers, JOB.as_bytes())).await.unwrap();
    stream.next().await.unwrap();
    access.replace(Tokens::from_iter([entry("new", "", &[Scope::Read])]));
    assert!(stream.next().await.is_none());
    outside.complete_next().await;
    assert_eq!(held.answer().await.unwrap().json()["state"], "completed", "what was let in is answered");
}
