//! How the server reads what workers write: every fault at once, JSON `null` for a default.

use std::time::Duration;

use serde_json::value::RawValue;
use steadfast_domain::{KindName, QueueName, WorkerName, limits};

use super::{
    CompleteRequest, FailRequest, HeartbeatRequest, LEASE_MS_DEFAULT, LEASE_MS_MAX, LEASE_MS_MIN,
    LeaseHeartbeat, LeaseId, LeaseSettlement, NAMES_MAX, ReleaseRequest, Settle, WAIT_MS_MAX,
};
use crate::members::{Faults, Members, Misread, elements, text_of};

const LEASE_MEMBERS: [&str; 6] = ["queues", "kinds", "worker", "limit", "wait_ms", "lease_ms"];
const HEARTBEAT_MEMBERS: [&str; 2] = ["progress", "checkpoint"];
const COMPLETE_MEMBERS: [&str; 1] = ["result"];
const FAIL_MEMBERS: [&str; 3] = ["code", "message", "retryable"];
const RELEASE_MEMBERS: [&str; 1] = ["checkpoint"];
const ONE_HEARTBEAT_MEMBERS: [&str; 3] = ["lease", "progress", "checkpoint"];
const ONE_SETTLEMENT_MEMBERS: [&str; 4] = ["lease", "complete", "fail", "release"];

/// What a worker asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseOrder {
    /// From which queues; from all pull queues when empty.
    pub queues: Vec<QueueName>,
    /// Which kinds; any when empty.
    pub kinds: Vec<KindName>,
    /// Who asks.
    pub worker: WorkerName,
    /// Leases at most: 1 to [`limits::LEASES_MAX`].
    pub limit: usize,
    /// For how long to wait for the first: at most [`limits::WAIT_MAX`].
    pub wait: Duration,
    /// How long each lease holds.
    pub lease: Duration,
}

/// Reads the body of `POST /v1/leases`.
pub fn read_lease_request(body: &str) -> Result<LeaseOrder, Misread> {
    read(body, &LEASE_MEMBERS, |members, faults| {
        members.required("worker", faults);
        let worker = members.checked("worker", faults, WorkerName::new);
        let queues = names_of(members, "queues", faults, QueueName::new);
        let kinds = names_of(members, "kinds", faults, KindName::new);
        let limit = members.whole("limit", "leases", 1..=limits::LEASES_MAX as u64, faults).unwrap_or(1);
        let wait_ms = members.whole("wait_ms", "milliseconds", 0..=WAIT_MS_MAX, faults).unwrap_or(0);
        let allowed = LEASE_MS_MIN..=LEASE_MS_MAX;
        let lease_ms = members.whole("lease_ms", "milliseconds", allowed, faults).unwrap_or(LEASE_MS_DEFAULT);
        Some(LeaseOrder {
            queues,
            kinds,
            worker: worker?,
            limit: limit as usize,
            wait: Duration::from_millis(wait_ms),
            lease: Duration::from_millis(lease_ms),
        })
    })
}

/// Reads the body of a heartbeat.
pub fn read_heartbeat(body: &str) -> Result<HeartbeatRequest, Misread> {
    read(body, &HEARTBEAT_MEMBERS, |members, faults| Some(heartbeat_of(members, faults)))
}

/// Reads the body of `/complete`.
pub fn read_complete(body: &str) -> Result<CompleteRequest, Misread> {
    read(body, &COMPLETE_MEMBERS, |members, faults| Some(complete_of(members, faults)))
}

/// Reads the body of `/fail`.
pub fn read_fail(body: &str) -> Result<FailRequest, Misread> {
    read(body, &FAIL_MEMBERS, fail_of)
}

/// Reads the body of `/release`.
pub fn read_release(body: &str) -> Result<ReleaseRequest, Misread> {
    read(body, &RELEASE_MEMBERS, |members, faults| Some(release_of(members, faults)))
}

/// Reads the body of `POST /v1/leases/heartbeat`; pointers begin with `#/heartbeats/{index}`.
pub fn read_heartbeats(body: &str) -> Result<Vec<LeaseHeartbeat>, Misread> {
    read_each(body, &["heartbeats"], |value, at, faults| {
        let members = Members::of_value(value, at, &ONE_HEARTBEAT_MEMBERS, faults)?;
        let HeartbeatRequest { progress, checkpoint } = heartbeat_of(&members, faults);
        Some(LeaseHeartbeat { lease: lease_of(&members, faults)?, progress, checkpoint })
    })
}

/// Reads the body of `POST /v1/leases/settle`; pointers begin with `#/settlements/{index}`.
pub fn read_settlements(body: &str) -> Result<Vec<LeaseSettlement>, Misread> {
    read_each(body, &["settlements"], |value, at, faults| {
        let members = Members::of_value(value, at, &ONE_SETTLEMENT_MEMBERS, faults)?;
        let lease = lease_of(&members, faults);
        let settle = settle_of(&members, at, faults);
        Some(LeaseSettlement { lease: lease?, settle: settle? })
    })
}

fn read<T, const N: usize>(
    body: &str,
    names: &'static [&'static str; N],
    read: impl FnOnce(&Members<'_, N>, &mut Faults) -> Option<T>,
) -> Result<T, Misread> {
    let mut faults = Faults::default();
    let members = Members::of_body(body, names, &mut faults)?;
    let value = members.and_then(|members| read(&members, &mut faults));
    faults.or(value)
}

/// The elements of a body whose only member is a list of 1 to [`limits::LEASES_MAX`].
fn read_each<T>(
    body: &str,
    names: &'static [&'static str; 1],
    one: impl Fn(&RawValue, &str, &mut Faults) -> Option<T>,
) -> Result<Vec<T>, Misread> {
    let [name] = names;
    read(body, names, |members, faults| {
        members.required(name, faults);
        let at = format!("#/{name}");
        let elements = elements(members.value(name)?, &at, limits::LEASES_MAX, faults)?;
        if elements.is_empty() {
            faults.add_here(&at, "is empty: at least one is needed");
        }
        let elements = elements.into_iter().enumerate();
        Some(elements.filter_map(|(index, value)| one(value, &format!("{at}/{index}"), faults)).collect())
    })
}

fn lease_of<const N: usize>(members: &Members<'_, N>, faults: &mut Faults) -> Option<LeaseId> {
    members.required("lease", faults);
    members.checked("lease", faults, str::parse)
}

fn heartbeat_of<const N: usize>(members: &Members<'_, N>, faults: &mut Faults) -> HeartbeatRequest {
    HeartbeatRequest {
        progress: members.json("progress", limits::PROGRESS_BYTES_MAX, faults),
        checkpoint: members.json("checkpoint", limits::CHECKPOINT_BYTES_MAX, faults),
    }
}

fn settle_of(members: &Members<'_, 4>, at: &str, faults: &mut Faults) -> Option<Settle> {
    let given = ["complete", "fail", "release"].map(|verb| members.value(verb).map(|value| (verb, value)));
    let mut given = given.into_iter().flatten();
    let (Some((verb, value)), None) = (given.next(), given.next()) else {
        faults.add_here(at, "must have exactly one of complete, fail and release");
        return None;
    };
    let at = format!("{at}/{verb}");
    Some(match verb {
        "complete" => {
            let members = Members::of_value(value, &at, &COMPLETE_MEMBERS, faults)?;
            Settle::Complete(complete_of(&members, faults))
        }
        "fail" => Settle::Fail(fail_of(&Members::of_value(value, &at, &FAIL_MEMBERS, faults)?, faults)?),
        _ => Settle::Release(release_of(&Members::of_value(value, &at, &RELEASE_MEMBERS, faults)?, faults)),
    })
}

fn complete_of(members: &Members<'_, 1>, faults: &mut Faults) -> CompleteRequest {
    CompleteRequest { result: members.json("result", limits::RESULT_BYTES_MAX, faults) }
}

fn fail_of(members: &Members<'_, 3>, faults: &mut Faults) -> Option<FailRequest> {
    for name in ["code", "message"] {
        members.required(name, faults);
    }
    let (code, message) = (members.text("code", faults), members.text("message", faults));
    let retryable = members.boolean("retryable", faults).unwrap_or(true);
    Some(FailRequest { code: code?, message: message?, retryable })
}

fn release_of(members: &Members<'_, 1>, faults: &mut Faults) -> ReleaseRequest {
    ReleaseRequest { checkpoint: members.json("checkpoint", limits::CHECKPOINT_BYTES_MAX, faults) }
}

/// A list of names; none when it is left out. A name that is given twice counts once.
fn names_of<T: PartialEq>(
    members: &Members<'_, 6>,
    name: &str,
    faults: &mut Faults,
    check: fn(&str) -> Result<T, steadfast_domain::Invalid>,
) -> Vec<T> {
    let at = format!("#/{name}");
    let values = members.value(name).and_then(|value| elements(value, &at, NAMES_MAX, faults));
    let mut names = Vec::new();
    for (index, value) in values.unwrap_or_default().into_iter().enumerate() {
        match text_of(value).and_then(|text| check(&text)) {
            Ok(name) if names.contains(&name) => {}
            Ok(name) => names.push(name),
            Err(fault) => faults.add(&at, &index.to_string(), fault),
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::{HeartbeatsRequest, LeaseRequest, SettlementsRequest};
    use steadfast_domain::{Fence, JobId, RawJson};

    fn pointers<T: std::fmt::Debug>(read: Result<T, Misread>) -> Vec<String> {
        match read {
            Err(Misread::Invalid(faults)) => faults.into_iter().map(|fault| fault.pointer).collect(),
            other => panic!("{other:?}"),
        }
    }

    fn lease(fence: u64) -> LeaseId {
        LeaseId { job: JobId::from_u128(7), fence: Fence(fence), lease_ms: 1_000 }
    }

    fn json(text: &str) -> Option<RawJson> {
        Some(RawJson::parse(text).unwrap())
    }

    #[test]
    fn what_a_worker_asks_for_is_what_the_server_reads() {
        let request = LeaseRequest {
            queues: vec!["a".into(), "b".into(), "a".into()],
            kinds: vec!["k".into()],
            worker: "host-1:4711".into(),
            limit: Some(10),
            wait_ms: Some(20_000),
            lease_ms: Some(1_000),
        };
        let order = read_lease_request(&serde_json::to_string(&request).unwrap()).unwrap();
        let queues: Vec<&str> = order.queues.iter().map(QueueName::as_str).collect();
        assert_eq!((queues, order.kinds.len(), order.worker.as_str()), (vec!["a", "b"], 1, "host-1:4711"));
        assert_eq!((order.limit, order.wait.as_secs(), order.lease.as_secs()), (10, 20, 1));

        let plain = read_lease_request(r#"{"worker":"w","queues":[],"kinds":null}"#).unwrap();
        assert_eq!(
            plain,
            read_lease_request(&serde_json::to_string(&LeaseRequest::new("w")).unwrap()).unwrap()
        );
        assert_eq!((plain.limit, plain.wait, plain.lease.as_secs()), (1, Duration::ZERO, 30));
        assert!(plain.queues.is_empty() && plain.kinds.is_empty());
    }

    #[test]
    fn every_fault_of_a_lease_request_is_found_with_its_place() {
        let body = r#"{"queues":["a","B",7],"kinds":{},"worker":"","limit":1001,"wait_ms":30001,"lease_ms":999,
            "name":"w"}"#;
        let mut found = pointers(read_lease_request(body));
        found.sort();
        let expected = [
            "#/kinds",
            "#/lease_ms",
            "#/limit",
            "#/name",
            "#/queues/1",
            "#/queues/2",
            "#/wait_ms",
            "#/worker",
        ];
        assert_eq!(found, expected);
        assert_eq!(pointers(read_lease_request("{}")), ["#/worker"]);
    }

    #[test]
    fn ends_of_attempts_are_read_as_they_are_written() {
        let settlements = vec![
            LeaseSettlement {
                lease: lease(1),
                settle: Settle::Complete(CompleteRequest { result: json("[1]") }),
            },
            LeaseSettlement {
                lease: lease(2),
                settle: Settle::Fail(FailRequest {
                    code: "boom".into(),
                    message: "é".into(),
                    retryable: false,
                }),
            },
            LeaseSettlement {
                lease: lease(3),
                settle: Settle::Release(ReleaseRequest { checkpoint: json("7") }),
            },
        ];
        let body = serde_json::to_string(&SettlementsRequest { settlements: settlements.clone() }).unwrap();
        assert_eq!(read_settlements(&body).unwrap(), settlements);
        assert_eq!(read_complete("{}").unwrap().result, None);
        assert!(read_fail(r#"{"code":"c","message":"m"}"#).unwrap().retryable);
        assert_eq!(read_release(r#"{"checkpoint":{}}"#).unwrap().checkpoint, json("{}"));
    }

    #[test]
    fn heartbeats_are_read_as_they_are_written() {
        let heartbeats = vec![LeaseHeartbeat { lease: lease(1), progress: json("1"), checkpoint: json("2") }];
        let body = serde_json::to_string(&HeartbeatsRequest { heartbeats: heartbeats.clone() }).unwrap();
        assert_eq!(read_heartbeats(&body).unwrap(), heartbeats);
        assert_eq!(read_heartbeat("{}").unwrap(), HeartbeatRequest::default());
    }

    #[test]
    fn faults_of_a_settlement_say_where_they_are() {
        let long = format!("\"{}\"", "x".repeat(limits::RESULT_BYTES_MAX));
        assert_eq!(pointers(read_complete(&format!("{{\"result\":{long}}}"))), ["#/result"]);
        assert_eq!(pointers(read_release(&format!("{{\"checkpoint\":{long}}}"))), ["#/checkpoint"]);
        assert_eq!(pointers(read_heartbeat(&format!("{{\"progress\":{long}}}"))), ["#/progress"]);
        assert_eq!(
            pointers(read_fail(r#"{"code":7,"retryable":"yes"}"#)),
            ["#/message", "#/code", "#/retryable"]
        );
        let lease = lease(1);
        let body = format!(
            r#"{{"settlements":[{{"lease":"{lease}"}},{{"lease":"x","complete":{{}},"fail":{{}}}},7,
            {{"lease":"{lease}","complete":{{"results":1}}}}]}}"#
        );
        let expected = [
            "#/settlements/0",
            "#/settlements/1/lease",
            "#/settlements/1",
            "#/settlements/2",
            "#/settlements/3/complete/results",
        ];
        assert_eq!(pointers(read_settlements(&body)), expected);
        assert_eq!(pointers(read_settlements(r#"{"settlements":[]}"#)), ["#/settlements"]);
        assert_eq!(pointers(read_heartbeats("{}")), ["#/heartbeats"]);
    }
}
