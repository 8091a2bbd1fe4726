use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use steadfast_domain::{InvalidField, RawJson, limits};
use steadfast_queue::{Failure, Finish, JobContext, JobHandler, StopReason};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};

use crate::payload::Fields;

/// How often a sleep reports its progress.
const REPORT_EVERY: Duration = Duration::from_millis(500);

/// Waits `{"ms": n}` milliseconds, 0 to the longest attempt (7 days), and completes without a result.
///
/// Reports `{"done": ms, "total": ms, "unit": "ms"}` twice a second. Told to stop, it yields at once with
/// the rest as its checkpoint, and the next attempt sleeps only that.
pub(crate) struct Sleep;

/// What an attempt that was stopped leaves for the next.
#[derive(Serialize, Deserialize)]
struct Checkpoint {
    remaining_ms: u64,
}

#[derive(Serialize)]
struct Progress {
    done: u64,
    total: u64,
    unit: &'static str,
}

#[async_trait]
impl JobHandler for Sleep {
    fn check(&self, payload: &RawJson) -> Result<(), Vec<InvalidField>> {
        total(payload).map(|_| ())
    }

    async fn run(&self, context: JobContext) -> Result<Finish, Failure> {
        let total = total(context.payload()).map_err(|_| {
            Failure::permanent("invalid_payload", "the payload is not one of this kind: {\"ms\": n}")
        })?;
        let rest = rest(total, context.job().checkpoint.as_ref());
        let report = |progress: RawJson| {
            // Three short fields are far below the limit.
            let _ = context.progress(progress);
        };
        sleep(total, rest, context.stopped(), report).await
    }
}

/// The whole time asked for.
fn total(payload: &RawJson) -> Result<Duration, Vec<InvalidField>> {
    let mut fields = Fields::of(payload)?;
    let most = limits::ATTEMPT_TIMEOUT_MAX.as_millis() as u64;
    let expected = format!("a whole number of milliseconds, 0 to {most}");
    let ms: Option<u64> = fields.require("ms", &expected);
    if ms.is_some_and(|ms| ms > most) {
        fields.fault("ms", format_args!("must be {expected}"));
    }
    fields.finish(ms.map(Duration::from_millis))
}

/// What of it is left: all, unless an earlier attempt left a checkpoint.
fn rest(total: Duration, checkpoint: Option<&RawJson>) -> Duration {
    let checkpoint = checkpoint.and_then(|json| json.decode::<Checkpoint>().ok());
    checkpoint.map_or(total, |left| Duration::from_millis(left.remaining_ms).min(total))
}

async fn sleep(
    total: Duration,
    rest: Duration,
    stopped: impl Future<Output = StopReason>,
    report: impl Fn(RawJson),
) -> Result<Finish, Failure> {
    let begun = Instant::now();
    let end = begun + rest;
    let mut reports = interval_at(begun + REPORT_EVERY, REPORT_EVERY);
    reports.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tokio::pin!(stopped);
    loop {
        tokio::select! {
            biased;
            () = sleep_until(end) => return Ok(Finish::Completed(None)),
            _ = &mut stopped => return Ok(Finish::Yield { checkpoint: checkpoint(end) }),
            now = reports.tick() => {
                let done = total.saturating_sub(end.saturating_duration_since(now));
                let progress = Progress { done: whole_ms(done), total: whole_ms(total), unit: "ms" };
                RawJson::encode(&progress).into_iter().for_each(&report);
            }
        }
    }
}

/// The rest in whole milliseconds, rounded up: interrupted or not, a sleep is never shorter than asked.
fn checkpoint(end: Instant) -> Option<RawJson> {
    let rest = end.saturating_duration_since(Instant::now());
    let remaining_ms = whole_ms(rest + Duration::from_nanos(999_999));
    RawJson::encode(&Checkpoint { remaining_ms }).ok()
}

fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::future::{pending, ready};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn json(text: &str) -> RawJson {
        RawJson::parse(text).unwrap()
    }

    #[test]
    fn a_payload_is_whole_milliseconds_up_to_the_longest_attempt() {
        for good in [r#"{"ms":0}"#, r#"{"ms":604800000}"#] {
            assert_eq!(Sleep.check(&json(good)), Ok(()), "{good}");
        }
        for (bad, pointer) in [
            ("{}", "#/payload/ms"),
            ("7", "#/payload"),
            (r#"{"ms":604800001}"#, "#/payload/ms"),
            (r#"{"ms":-1}"#, "#/payload/ms"),
            (r#"{"ms":1.5}"#, "#/payload/ms"),
            (r#"{"ms":1e999999}"#, "#/payload/ms"),
            (r#"{"ms":"1"}"#, "#/payload/ms"),
            (r#"{"ms":1,"s":2}"#, "#/payload/s"),
        ] {
            let faults = Sleep.check(&json(bad)).unwrap_err();
            assert_eq!(faults.iter().map(|f| f.pointer.as_str()).collect::<Vec<_>>(), [pointer], "{bad}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_sleeps_the_time_asked_for_and_reports() {
        let (begun, reports) = (Instant::now(), RefCell::new(Vec::new()));
        let report = |progress: RawJson| reports.borrow_mut().push(progress);
        let finish = sleep(SECOND * 2, SECOND * 2, pending(), report).await;
        assert_eq!(finish, Ok(Finish::Completed(None)));
        assert_eq!(begun.elapsed(), SECOND * 2);
        let expected =
            [500, 1_000, 1_500].map(|ms| json(&format!(r#"{{"done":{ms},"total":2000,"unit":"ms"}}"#)));
        assert_eq!(*reports.borrow(), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn stopped_it_leaves_the_rest_and_goes_on_with_it() {
        let stopped = async {
            tokio::time::sleep(Duration::from_micros(700_500)).await;
            StopReason::Shutdown
        };
        let begun = Instant::now();
        let Ok(Finish::Yield { checkpoint: Some(left) }) = sleep(SECOND, SECOND, stopped, |_| ()).await
        else {
            panic!("it yields")
        };
        assert!(begun.elapsed() < SECOND);

        let left = rest(SECOND, Some(&left));
        assert!(left < SECOND - Duration::from_millis(699), "{left:?}");
        sleep(SECOND, left, pending(), |_| ()).await.unwrap();
        assert!(begun.elapsed() >= SECOND, "an interrupted sleep is not shorter");
        assert!(begun.elapsed() <= SECOND + Duration::from_millis(3));
    }

    #[tokio::test(start_paused = true)]
    async fn told_before_it_begins_it_leaves_everything() {
        let finish = sleep(SECOND, SECOND, ready(StopReason::Cancelled), |_| ()).await;
        assert_eq!(finish, Ok(Finish::Yield { checkpoint: Some(json(r#"{"remaining_ms":1000}"#)) }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_checkpoint_rounds_up() {
        let left = checkpoint(Instant::now() + Duration::from_micros(1_001));
        assert_eq!(left, Some(json(r#"{"remaining_ms":2}"#)));
    }

    #[test]
    fn a_checkpoint_never_lengthens_the_sleep() {
        assert_eq!(rest(SECOND, None), SECOND);
        assert_eq!(rest(SECOND, Some(&json(r#"{"remaining_ms":5000}"#))), SECOND);
        assert_eq!(rest(SECOND, Some(&json(r#"{"cursor":7}"#))), SECOND);
        assert_eq!(rest(SECOND, Some(&json(r#"{"remaining_ms":0}"#))), Duration::ZERO);
    }
}
