use serde_json::{Value, json};
use steadfast_domain::JobId;
use steadfast_lifecycle::Phase;
use steadfast_testkit::raw::RawAnswer;

use crate::faulty_store::Fault;
use crate::harness::{Outside, PULL, given_outside, id_of, problem};

const VERBS: [(&str, &str); 4] = [
    ("heartbeat", "{}"),
    ("complete", "{}"),
    ("fail", r#"{"code":"boom","message":"no"}"#),
    ("release", "{}"),
];

/// Submits a job of this kind to the pull queue.
async fn pulled(outside: &Outside, kind: &str) -> JobId {
    let body = json!({ "kind": kind, "queue": PULL, "retry": { "backoff": "none", "max_attempts": 2 } });
    let answer = outside.post("/v1/jobs", &body.to_string()).await;
    assert_eq!(answer.status, 202, "{:?}", answer.json());
    id_of(&answer)
}

/// What a worker is given for this wish.
async fn asked(outside: &Outside, wish: Value) -> Value {
    let mut body = json!({ "worker": "w" });
    body.as_object_mut().unwrap().extend(wish.as_object().unwrap().clone());
    let answer = outside.post("/v1/leases", &body.to_string()).await;
    assert_eq!(answer.status, 200, "{:?}", answer.json());
    answer.json()
}

/// The lease of the next job, which there is.
async fn leased(outside: &Outside) -> String {
    let answer = asked(outside, json!({})).await;
    answer["leases"][0]["lease"].as_str().unwrap().to_owned()
}

async fn said(outside: &Outside, lease: &str, verb: &str, body: &str) -> RawAnswer {
    outside.post(&format!("/v1/leases/{lease}/{verb}"), body).await
}

async fn job(outside: &Outside, id: JobId) -> Value {
    outside.get(&format!("/v1/jobs/{id}")).await.json()
}

#[tokio::test]
async fn a_worker_takes_a_job_keeps_it_and_completes_it() {
    let outside = given_outside().start().await;
    let id = pulled(&outside, "any").await;
    let answer = asked(&outside, json!({ "worker": "host:1", "lease_ms": 60_000 })).await;
    assert_eq!((&answer["directive"], answer.get("retry_after_ms")), (&json!("run"), None));
    let lease = &answer["leases"][0];
    assert_eq!((&lease["job"]["id"], &lease["job"]["attempt"]), (&json!(id), &json!(1)));
    assert_eq!((&lease["job"]["state"], &lease["job"]["payload"]), (&json!("processing"), &json!({})));
    assert_eq!(lease["timeout_ms"], 60_000);
    assert_eq!(job(&outside, id).await["owner"], "worker:host:1");

    let word = lease["lease"].as_str().unwrap();
    let kept = said(&outside, word, "heartbeat", r#"{"progress":{"done":1},"checkpoint":[7]}"#).await;
    assert_eq!((kept.status, &kept.json()["cancel_requested"]), (200, &json!(false)));
    assert_eq!(kept.json()["directive"], "run");
    assert!(kept.json()["expires_at"].as_str() >= lease["expires_at"].as_str());
    let running = job(&outside, id).await;
    assert_eq!((&running["progress"], &running["checkpoint"]), (&json!({ "done": 1 }), &json!([7])));

    let done = said(&outside, word, "complete", r#"{"result":{"n":1}}"#).await;
    assert_eq!((done.status, &done.json()["state"]), (200, &json!("completed")));
    let ended = job(&outside, id).await;
    assert_eq!((&ended["state"], &ended["result"]), (&json!("completed"), &json!({ "n": 1 })));
    assert_eq!(ended["version"], done.json()["version"]);
}

#[tokio::test]
async fn only_what_is_asked_for_is_given() {
    let outside = given_outside().start().await;
    outside.submitted().await;
    let (a, b) = (pulled(&outside, "a").await, pulled(&outside, "b").await);
    assert_eq!(asked(&outside, json!({ "kinds": ["c"] })).await["leases"], json!([]));
    let found = asked(&outside, json!({ "kinds": ["b", "c"], "queues": [PULL], "limit": 10 })).await;
    assert_eq!((found["leases"].as_array().unwrap().len(), &found["leases"][0]["job"]["id"]), (1, &json!(b)));
    let rest = asked(&outside, json!({ "limit": 1_000 })).await;
    assert_eq!((rest["leases"].as_array().unwrap().len(), &rest["leases"][0]["job"]["id"]), (1, &json!(a)));
}

#[tokio::test]
async fn a_queue_without_leases_is_named() {
    let outside = given_outside().start().await;
    let push = outside.post("/v1/leases", r#"{"worker":"w","queues":["pull","default"]}"#).await;
    assert_eq!(problem(&push, "invalid_job")["errors"][0]["pointer"], "#/queues/1");
    let unknown = outside.post("/v1/leases", r#"{"worker":"w","queues":["none"]}"#).await;
    assert_eq!(problem(&unknown, "queue_not_found")["queue"], "none");
    let nobody = outside.post("/v1/leases", r#"{"workers":"w"}"#).await;
    assert_eq!(problem(&nobody, "invalid_job")["errors"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_failed_attempt_is_tried_again_as_the_job_says_and_repeats_of_it_are_answered_alike() {
    let outside = given_outside().start().await;
    let id = pulled(&outside, "any").await;
    let first = leased(&outside).await;
    let failed = said(&outside, &first, "fail", r#"{"code":"boom","message":"no"}"#).await;
    assert_eq!((failed.status, &failed.json()["state"]), (200, &json!("retryable")));
    // The job is in its last attempt: the same failure would be the end of it now.
    let second = leased(&outside).await;
    let again = said(&outside, &first, "fail", r#"{"code":"boom","message":"no"}"#).await;
    assert_eq!((again.status, again.json()), (200, failed.json()));

    let dead = said(&outside, &second, "fail", r#"{"code":"boom","message":"no more"}"#).await;
    assert_eq!((dead.status, &dead.json()["state"]), (200, &json!("dead")));
    let errors = job(&outside, id).await["errors"].clone();
    assert_eq!((&errors[0]["attempt"], &errors[1]["attempt"]), (&json!(1), &json!(2)));
    assert_eq!(errors[1]["message"], "no more");

    // Opened again it has attempts left: the same failure would not be the end of it now.
    outside.post(&format!("/v1/jobs/{id}/retry"), "").await;
    let third = leased(&outside).await;
    let again = said(&outside, &second, "fail", r#"{"code":"boom","message":"no more"}"#).await;
    assert_eq!((again.status, again.json()), (200, dead.json()));
    let for_good = r#"{"code":"boom","message":"never","retryable":false}"#;
    assert_eq!(said(&outside, &third, "fail", for_good).await.json()["state"], "dead");
}

#[tokio::test]
async fn a_job_given_back_is_taken_again_at_once_and_no_attempt_is_counted() {
    let outside = given_outside().start().await;
    let id = pulled(&outside, "any").await;
    let first = leased(&outside).await;
    let back = said(&outside, &first, "release", r#"{"checkpoint":{"page":7}}"#).await;
    assert_eq!((back.status, &back.json()["state"]), (200, &json!("queued")));
    let second = asked(&outside, json!({})).await["leases"][0].clone();
    assert_eq!((&second["job"]["id"], &second["job"]["attempt"]), (&json!(id), &json!(1)));
    assert_eq!(second["job"]["checkpoint"], json!({ "page": 7 }));
    assert_eq!(job(&outside, id).await["interruptions"], 0);
}

#[tokio::test]
async fn a_settlement_may_be_repeated_and_another_one_is_refused() {
    let outside = given_outside().start().await;
    pulled(&outside, "any").await;
    let lease = leased(&outside).await;
    let first = said(&outside, &lease, "complete", r#"{"result":1}"#).await;
    for _ in 0..2 {
        let again = said(&outside, &lease, "complete", r#"{"result":1}"#).await;
        assert_eq!((again.status, again.json()), (200, first.json()));
    }
    for verb in ["heartbeat", "fail", "release"] {
        let body = VERBS.iter().find(|(name, _)| *name == verb).unwrap().1;
        assert_eq!(problem(&said(&outside, &lease, verb, body).await, "lease_lost")["retryable"], false);
    }
}

#[tokio::test]
async fn a_lease_that_lapsed_is_lost_to_every_verb() {
    let outside = given_outside().start().await;
    let id = pulled(&outside, "any").await;
    let stale = leased(&outside).await;
    // Superseded: another has the job.
    assert_eq!(said(&outside, &stale, "release", "{}").await.status, 200);
    let current = leased(&outside).await;
    for (verb, body) in VERBS.iter().filter(|(verb, _)| *verb != "release") {
        problem(&said(&outside, &stale, verb, body).await, "lease_lost");
    }
    let unknown = current.replacen(&id.to_string(), "00000000-0000-7000-8000-000000000000", 1);
    for (verb, body) in VERBS {
        problem(&said(&outside, &unknown, verb, body).await, "lease_lost");
        let malformed = problem(&said(&outside, "7", verb, body).await, "invalid_parameter");
        assert_eq!((&malformed["parameter"], &malformed["value"]), (&json!("lease"), &json!("7")));
    }
    assert_eq!(said(&outside, &current, "complete", "{}").await.status, 200);
}

#[tokio::test]
async fn a_job_asked_to_stop_ends_as_cancelled_unless_it_was_done() {
    let outside = given_outside().start().await;
    for (verb, body, state) in [("fail", VERBS[2].1, "cancelled"), ("complete", "{}", "completed")] {
        let id = pulled(&outside, "any").await;
        let lease = leased(&outside).await;
        assert_eq!(outside.post(&format!("/v1/jobs/{id}/cancel"), "").await.status, 202);
        assert_eq!(said(&outside, &lease, "heartbeat", "{}").await.json()["cancel_requested"], true);
        assert_eq!(said(&outside, &lease, verb, body).await.json()["state"], state);
        assert_eq!(job(&outside, id).await["state"], state);
    }
}

#[tokio::test]
async fn many_leases_are_kept_and_settled_in_one_request_each_for_itself() {
    let outside = given_outside().start().await;
    for _ in 0..3 {
        pulled(&outside, "any").await;
    }
    let leases = asked(&outside, json!({ "limit": 3 })).await["leases"].clone();
    let leases: Vec<&str> =
        leases.as_array().unwrap().iter().map(|lease| lease["lease"].as_str().unwrap()).collect();
    assert_eq!(said(&outside, leases[2], "complete", "{}").await.status, 200);

    let beats: Vec<Value> = leases.iter().map(|lease| json!({ "lease": lease, "progress": 7 })).collect();
    let answer = outside.post("/v1/leases/heartbeat", &json!({ "heartbeats": beats }).to_string()).await;
    let kept = answer.json()["heartbeats"].clone();
    assert!((0..2).all(|n| kept[n]["renewed"]["cancel_requested"] == false), "{kept}");
    assert_eq!((&kept[2]["code"], kept[2].get("renewed")), (&json!("lease_lost"), None));

    let ends = json!({ "settlements": [
        { "lease": leases[0], "complete": { "result": 1 } },
        { "lease": leases[1], "fail": { "code": "boom", "message": "no", "retryable": false } },
        { "lease": leases[2], "release": {} },
    ] });
    let first = outside.post("/v1/leases/settle", &ends.to_string()).await;
    let ended = first.json()["settlements"].clone();
    let state = |n: usize| ended[n]["settled"]["state"].as_str();
    assert_eq!(
        (state(0), state(1), &ended[2]["code"]),
        (Some("completed"), Some("dead"), &json!("lease_lost"))
    );
    assert_eq!(outside.post("/v1/leases/settle", &ends.to_string()).await.json(), first.json());
}

#[tokio::test]
async fn settlements_say_what_a_failing_store_leaves_open_and_can_be_repeated() {
    let outside = given_outside().start().await;
    pulled(&outside, "any").await;
    let lease = leased(&outside).await;
    for (fault, code, outcome) in
        [(Fault::Unavailable, "store_unavailable", "none"), (Fault::Unknown, "store_unavailable", "unknown")]
    {
        outside.store.set(fault);
        for (verb, body) in VERBS {
            let refused = problem(&said(&outside, &lease, verb, body).await, code);
            // A settlement reads first.
            let expected =
                if verb == "heartbeat" || fault == Fault::Unavailable { outcome } else { "unknown" };
            assert_eq!(
                (&refused["outcome"], &refused["retryable"]),
                (&json!(expected), &json!(true)),
                "{verb}"
            );
        }
        problem(&outside.post("/v1/leases", r#"{"worker":"w"}"#).await, code);
    }
    outside.store.set(Fault::None);
    assert_eq!(said(&outside, &lease, "complete", "{}").await.status, 200);
}

#[tokio::test]
async fn in_a_drain_nothing_is_given_and_what_is_held_goes_on() {
    let outside = given_outside().start().await;
    for _ in 0..4 {
        pulled(&outside, "any").await;
    }
    let leases = asked(&outside, json!({ "limit": 3 })).await["leases"].clone();
    for (n, phase) in [Phase::LameDuck, Phase::Draining, Phase::Handback].into_iter().enumerate() {
        outside.phase.advance(phase);
        let quiet = asked(&outside, json!({ "wait_ms": 30_000 })).await;
        assert_eq!((&quiet["leases"], &quiet["directive"]), (&json!([]), &json!("quiet")));
        assert!((50..=60_000).contains(&quiet["retry_after_ms"].as_u64().unwrap()), "{quiet}");
        let lease = leases[n]["lease"].as_str().unwrap();
        let kept = said(&outside, lease, "heartbeat", "{}").await.json();
        assert_eq!((&kept["directive"], &kept["cancel_requested"]), (&json!("quiet"), &json!(false)));
        assert_eq!(said(&outside, lease, "complete", "{}").await.status, 200);
    }
}

#[tokio::test]
async fn leases_wait_for_the_store_to_open() {
    let outside = given_outside().start_unattached().await;
    problem(&outside.post("/v1/leases", r#"{"worker":"w"}"#).await, "starting");
    let lease = "00000000-0000-7000-8000-000000000000.7.30000";
    for (verb, body) in VERBS {
        problem(&said(&outside, lease, verb, body).await, "starting");
    }
}
