//! Handlers whose payload, result, checkpoint and errors are types.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use steadfast_domain::{InvalidField, JobState, NewJob, RawJson, RetryPolicy, limits};
use steadfast_lifecycle::Phase;
use steadfast_queue::admission::Why;
use steadfast_queue::{Failure, JobContext, JobStore, Typed, TypedHandler, Unfinished};

use crate::given::{given, json, work};

/// Counts from its checkpoint up to `to`, once a second.
struct Count;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Range {
    to: u32,
    #[serde(default)]
    fails: Option<Fails>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum Fails {
    OnItsOwn,
    WithALongResult,
    WithALongCheckpoint,
}

#[derive(Serialize)]
struct Counted {
    from: u32,
    to: u32,
    note: String,
}

struct Tired;

impl From<Tired> for Failure {
    fn from(Tired: Tired) -> Self {
        Failure::permanent("tired", "counted too far")
    }
}

impl TypedHandler for Count {
    const KIND: &'static str = "count";
    type Payload = Range;
    type Output = Counted;

    fn check(&self, range: &Range) -> Result<(), Vec<InvalidField>> {
        if range.to == 0 { Err(vec![InvalidField::new("#/payload/to", "must be 1 or more")]) } else { Ok(()) }
    }

    async fn run(&self, range: Range, context: JobContext) -> Result<Counted, Unfinished> {
        let from: u32 = context.last_checkpoint()?.unwrap_or(0);
        for n in from..range.to {
            context.progress(&n)?;
            context.yield_if_stopped(&n)?;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        match range.fails {
            Some(Fails::OnItsOwn) => Err(Tired)?,
            Some(Fails::WithALongCheckpoint) => {
                context.checkpoint(&"x".repeat(limits::CHECKPOINT_BYTES_MAX)).await?;
            }
            _ => {}
        }
        let long = matches!(range.fails, Some(Fails::WithALongResult));
        let note = "x".repeat(if long { limits::RESULT_BYTES_MAX } else { 0 });
        Ok(Counted { from, to: range.to, note })
    }
}

fn counting(payload: &str) -> NewJob {
    NewJob { payload: json(payload), ..work() }
}

#[tokio::test(start_paused = true)]
async fn a_payload_that_does_not_fit_is_refused_with_its_place() {
    let inside = given(Typed(Count)).without_pool().await;
    let admission = inside.admission();
    for (payload, pointer) in
        [("{}", "#/payload/to"), (r#"{"to":1,"from":2}"#, "#/payload/from"), (r#"{"to":0}"#, "#/payload/to")]
    {
        let why = admission.submit(vec![counting(payload)], None, ()).await.expect_err("refused").why;
        assert!(matches!(&why, Why::InvalidJob(faults, 0) if faults[0].pointer == pointer), "{why:?}");
    }
    assert_eq!(inside.store.queues().await.unwrap()[0].live(), 0);
    admission.submit(vec![counting(r#"{"to":1}"#)], None, ()).await.expect("accepted");
}

#[tokio::test(start_paused = true)]
async fn it_goes_on_from_the_checkpoint_it_yielded_and_its_result_has_its_type() {
    let server = given(Typed(Count)).start().await;
    let id = server.submit(counting(r#"{"to":4}"#)).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    server.sender.advance(Phase::Cancelling);
    server.pool.idle().await;
    let left = server.store.job(id).await;
    assert_eq!((left.state, left.attempt, left.checkpoint), (JobState::Queued, 0, Some(json("2"))));

    let (sender, phases) = steadfast_lifecycle::phases();
    sender.advance(Phase::Ready);
    let _pool = server.pool_in(2, phases);
    let job = server.ended(id).await;
    assert_eq!((job.state, job.attempt), (JobState::Completed, 1));
    assert_eq!(job.result, Some(json(r#"{"from":2,"to":4,"note":""}"#)));
}

#[tokio::test(start_paused = true)]
async fn each_way_to_fail_has_its_code() {
    let server = given(Typed(Count)).start().await;
    for (payload, code, attempts) in [
        (r#"{"to":1,"fails":"on_its_own"}"#, "tired", 1),
        (r#"{"to":1,"fails":"with_a_long_result"}"#, "result_too_large", 1),
        (r#"{"to":1,"fails":"with_a_long_checkpoint"}"#, "invalid_value", 1),
        // Only another version of the program can have accepted it.
        (r#"{"to":-1}"#, "invalid_payload", 2),
    ] {
        let retry = RetryPolicy::DEFAULT.with_max_attempts(2).unwrap();
        let id = server.submit(NewJob { retry, ..counting(payload) }).await;
        let job = server.ended(id).await;
        let last = job.errors.last().unwrap();
        assert_eq!(
            (job.state, last.code.as_str(), job.attempt),
            (JobState::Dead, code, attempts),
            "{last:?}"
        );
    }
}

/// Has nothing to say.
struct Silent;

impl TypedHandler for Silent {
    const KIND: &'static str = "silent";
    type Payload = RawJson;
    type Output = ();

    async fn run(&self, _: RawJson, _: JobContext) -> Result<(), Unfinished> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn no_result_is_none() {
    let server = given(Typed(Silent)).start().await;
    let id = server.submit(counting("[1]")).await;
    let job = server.ended(id).await;
    assert_eq!((job.state, job.result), (JobState::Completed, None));
}
