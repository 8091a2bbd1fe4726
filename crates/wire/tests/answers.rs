//! What is written is what the schemas of answers say, every member of it.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeSet;
use std::time::Duration;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Serialize;
use serde_json::Value;
use steadfast_domain::{
    Change, Fence, IdempotencyToken, InvalidField, Job, JobError, JobId, JobState, KindName, NewJob,
    Priority, RawJson, Tags, Timestamp, TraceParent, UniqueKey, Version,
};
use steadfast_wire::lease::{
    Directive, HeartbeatAnswer, HeartbeatsAnswer, LeaseAnswer, LeaseDocument, LeaseId, LeaseRenewed,
    LeaseSettled, RenewedDocument, SettledDocument, SettlementsAnswer,
};
use steadfast_wire::{
    BatchAnswer, Checks, Drain, Durability, ErrorCode, Health, JobDocument, JobPage, Outcome, Problem,
    ProcessingEvent, ProgressEvent, QueueDepth, QueueDocument, QueueList, QueueMode, QueueRates, Ready,
    ShutdownEvent, StateEvent,
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// Checks that these documents are as their schema says, that the schema has every member they have, and that
/// among them they have every member it has.
#[track_caller]
fn hold<T: JsonSchema + Serialize>(documents: &[T]) {
    let generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let mut schema = Value::from(generator.into_root_schema_for::<T>());
    let described: BTreeSet<String> = schema["properties"].as_object().unwrap().keys().cloned().collect();
    if let Some(nested) = schema.get_mut("$defs") {
        let nested = nested.as_object_mut().unwrap().values_mut();
        nested.filter(|nested| nested.get("properties").is_some()).for_each(close);
    }
    close(&mut schema);

    let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
    let mut written = BTreeSet::new();
    for document in documents {
        let document = serde_json::to_value(document).unwrap();
        let faults: Vec<String> = validator
            .iter_errors(&document)
            .map(|fault| format!("{}: {fault}", fault.instance_path()))
            .collect();
        assert!(faults.is_empty(), "{faults:#?}\n{document:#}");
        written.extend(document.as_object().unwrap().keys().cloned());
    }
    assert_eq!(written, described);
}

/// Clients are told to expect new members; here, one that is not described is a fault.
fn close(schema: &mut Value) {
    schema["additionalProperties"] = false.into();
}

fn json(text: &str) -> RawJson {
    RawJson::parse(text).unwrap()
}

fn now() -> Timestamp {
    Timestamp::from_unix_ms(1_795_219_200_123)
}

fn plain() -> Job {
    let new = NewJob::new(KindName::new("echo").unwrap(), json("{}"));
    Job::accept(new, JobId::from_u128(7), now(), None)
}

fn full() -> Job {
    Job {
        state: JobState::Dead,
        priority: Priority::Critical,
        attempt: 3,
        interruptions: 2,
        started_at: Some(now()),
        finished_at: Some(now()),
        deadline: Some(now()),
        progress: Some(json("[1]")),
        result: Some(json("7")),
        errors: vec![JobError::new(1, now(), "boom", "it broke")],
        checkpoint: Some(json("\"c\"")),
        cancel_requested: true,
        idempotency_key: Some(IdempotencyToken::new("k").unwrap()),
        unique_key: Some(UniqueKey::new("order 7").unwrap()),
        tags: Tags::new([("a".into(), "b".into())].into()).unwrap(),
        owner: Some("a server".into()),
        trace: Some(TraceParent::new(&format!("00-{TRACE}-b7ad6b7169203331-01")).unwrap()),
        ..plain()
    }
}

#[test]
fn jobs() {
    let submitted = |durability| JobDocument {
        durability: Some(durability),
        deduplicated: true,
        ..JobDocument::full(full())
    };
    let [fsync, commit, memory] = [Durability::Fsync, Durability::Commit, Durability::Memory].map(submitted);
    let listed = JobDocument::listed(full());
    hold(&[JobDocument::full(plain()), listed.clone(), fsync, commit, memory]);
    let page = |next_cursor: Option<&str>| JobPage {
        jobs: vec![listed.clone()],
        next_cursor: next_cursor.map(str::to_owned),
    };
    hold(&[page(None), page(Some("00000000-0000-0000-0000-000000000007"))]);
    hold(&[BatchAnswer { jobs: vec![JobDocument::full(plain())], durability: Durability::Fsync }]);
}

#[test]
fn events() {
    let change =
        Change { id: JobId::from_u128(7), version: Version(2), state: JobState::Completed, at: now() };
    hold(&[StateEvent::from(change)]);
    hold(&[ProcessingEvent::new(change.id, 1)]);
    hold(&[ProgressEvent { id: change.id, progress: json("{\"done\":1}") }]);
    hold(&[ShutdownEvent { reconnect_after_ms: 1_500, phase: "draining".into() }]);
}

#[test]
fn queues() {
    let queue = |mode, rates, oldest_ready_age_ms| QueueDocument {
        name: "default".into(),
        mode,
        paused: false,
        depth: QueueDepth::from_counts([1; 8]),
        jobs: 4,
        capacity: 10,
        bytes: 8,
        capacity_bytes: 100,
        oldest_ready_age_ms,
        rates,
    };
    let queues = [
        queue(Some(QueueMode::Push), Some(QueueRates::default()), Some(3)),
        queue(Some(QueueMode::Pull), None, None),
        queue(None, None, None),
    ];
    hold(&queues);
    hold(&[QueueList { queues: queues.to_vec() }]);
}

#[test]
fn leases() {
    let lease = LeaseId { job: JobId::from_u128(7), fence: Fence(7), lease_ms: 30_000 };
    let change =
        Change { id: JobId::from_u128(7), version: Version(2), state: JobState::Completed, at: now() };
    let settled = SettledDocument::from(change);
    let renewed = RenewedDocument { expires_at: now(), cancel_requested: true };
    let given = LeaseDocument {
        lease,
        expires_at: now(),
        timeout_ms: 60_000,
        traceparent: Some(format!("00-{TRACE}-b7ad6b7169203331-01")),
        job: JobDocument::full(plain()),
    };
    let lost = || Some(ErrorCode::LeaseLost.as_str().into());
    let beats = [
        LeaseRenewed { lease, renewed: Some(renewed), code: None },
        LeaseRenewed { lease, renewed: None, code: lost() },
    ];
    let ends = [
        LeaseSettled { lease, settled: Some(settled), code: None },
        LeaseSettled { lease, settled: None, code: lost() },
    ];
    let directives = [(Directive::Run, None), (Directive::Quiet, Some(1_000))];
    hold(&directives.map(|(directive, retry_after_ms)| LeaseAnswer {
        leases: vec![given.clone()],
        directive,
        retry_after_ms,
    }));
    hold(&directives.map(|(directive, retry_after_ms)| HeartbeatAnswer {
        expires_at: now(),
        cancel_requested: false,
        directive,
        retry_after_ms,
    }));
    hold(&directives.map(|(directive, retry_after_ms)| HeartbeatsAnswer {
        heartbeats: beats.to_vec(),
        directive,
        retry_after_ms,
    }));
    hold(&[given]);
    hold(&beats);
    hold(&ends);
    hold(&[renewed]);
    hold(&[settled]);
    hold(&[SettlementsAnswer { settlements: ends.to_vec() }]);
}

#[test]
fn the_servers_own_life() {
    hold(&[Health { status: "alive".into(), phase: "lame_duck".into() }]);
    hold(&[Ready { status: "ready".into() }]);
    hold(&[Drain { status: "draining".into(), phase: "ready".into() }]);
}

#[test]
fn problems() {
    let mut problems: Vec<Problem> =
        ErrorCode::ALL.into_iter().map(|code| Problem::new(code, "what happened", TRACE)).collect();
    let mut whole = Problem {
        outcome: Some(Outcome::None),
        queue: Some("default".into()),
        depth: Some(1),
        capacity: Some(1),
        state: Some("dead".into()),
        phase: Some("draining".into()),
        checks: Some(Checks { phase: "starting".into(), store: "opening".into() }),
        parameter: Some("limit".into()),
        value: Some("0".into()),
        allowed: Some("a whole number from 1 to 1000".into()),
        ..Problem::new(ErrorCode::InvalidJob, "everything at once", TRACE)
    };
    whole.retry_after(Duration::ZERO);
    whole.faults(vec![InvalidField::new("#/kind", "is required")]);
    problems.push(Problem { outcome: Some(Outcome::Unknown), ..whole.clone() });
    problems.push(whole);
    hold(&problems);
}
