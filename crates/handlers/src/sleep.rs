use std::time::Duration;

use serde::{Deserialize, Serialize};
use steadfast_domain::{InvalidField, limits};
use steadfast_queue::{JobContext, StopReason, TypedHandler, Unfinished};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};

/// How often a sleep reports its progress.
const REPORT_EVERY: Duration = Duration::from_millis(500);

/// Waits `{"ms": n}` milliseconds, 0 to the longest attempt (7 days), and completes without a result.
///
/// Reports `{"done": ms, "total": ms, "unit": "ms"}` twice a second. Told to stop, it yields at once with
/// the rest as its checkpoint, and the next attempt sleeps only that.
pub(crate) struct Sleep;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Payload {
    ms: u64,
}

/// What an attempt that was stopped leaves for the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Checkpoint {
    remaining_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct Progress {
    done: u64,
    total: u64,
    unit: &'static str,
}

impl TypedHandler for Sleep {
    const KIND: &'static str = "sleep";
    type Payload = Payload;
    type Output = ();

    fn check(&self, payload: &Payload) -> Result<(), Vec<InvalidField>> {
        let most = whole_ms(limits::ATTEMPT_TIMEOUT_MAX);
        if payload.ms > most {
            let detail = format!("must be a whole number of milliseconds, 0 to {most}");
            return Err(vec![InvalidField::new("#/payload/ms", detail)]);
        }
        Ok(())
    }

    async fn run(&self, payload: Payload, context: JobContext) -> Result<(), Unfinished> {
        let total = Duration::from_millis(payload.ms);
        let rest = rest(total, context.last_checkpoint()?);
        let report = |progress: Progress| {
            // Three short fields are far below the limit.
            let _ = context.progress(&progress);
        };
        sleep(total, rest, context.stopped(), report).await.map_err(|left| Unfinished::leaving(&left))
    }
}

/// What is left of the whole time: all, unless an earlier attempt left a checkpoint.
fn rest(total: Duration, checkpoint: Option<Checkpoint>) -> Duration {
    checkpoint.map_or(total, |left| Duration::from_millis(left.remaining_ms).min(total))
}

async fn sleep(
    total: Duration,
    rest: Duration,
    stopped: impl Future<Output = StopReason>,
    report: impl Fn(Progress),
) -> Result<(), Checkpoint> {
    let begun = Instant::now();
    let end = begun + rest;
    let mut reports = interval_at(begun + REPORT_EVERY, REPORT_EVERY);
    reports.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tokio::pin!(stopped);
    loop {
        tokio::select! {
            biased;
            () = sleep_until(end) => return Ok(()),
            _ = &mut stopped => return Err(checkpoint(end)),
            now = reports.tick() => {
                let done = total.saturating_sub(end.saturating_duration_since(now));
                report(Progress { done: whole_ms(done), total: whole_ms(total), unit: "ms" });
            }
        }
    }
}

/// The rest in whole milliseconds, rounded up: interrupted or not, a sleep is never shorter than asked.
fn checkpoint(end: Instant) -> Checkpoint {
    let rest = end.saturating_duration_since(Instant::now());
    Checkpoint { remaining_ms: whole_ms(rest + Duration::from_nanos(999_999)) }
}

fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::future::{pending, ready};

    use steadfast_domain::RawJson;
    use steadfast_queue::{JobHandler, Typed};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn json(text: &str) -> RawJson {
        RawJson::parse(text).unwrap()
    }

    #[test]
    fn a_payload_is_whole_milliseconds_up_to_the_longest_attempt() {
        for good in [r#"{"ms":0}"#, r#"{"ms":604800000}"#] {
            assert_eq!(Typed(Sleep).check(&json(good)), Ok(()), "{good}");
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
            let faults = Typed(Sleep).check(&json(bad)).unwrap_err();
            assert_eq!(faults.iter().map(|f| f.pointer.as_str()).collect::<Vec<_>>(), [pointer], "{bad}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_sleeps_the_time_asked_for_and_reports() {
        let (begun, reports) = (Instant::now(), RefCell::new(Vec::new()));
        let report = |progress: Progress| reports.borrow_mut().push(progress);
        let finish = sleep(SECOND * 2, SECOND * 2, pending(), report).await;
        assert_eq!(finish, Ok(()));
        assert_eq!(begun.elapsed(), SECOND * 2);
        let expected = [500, 1_000, 1_500].map(|done| Progress { done, total: 2_000, unit: "ms" });
        assert_eq!(*reports.borrow(), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn stopped_it_leaves_the_rest_and_goes_on_with_it() {
        let stopped = async {
            tokio::time::sleep(Duration::from_micros(700_500)).await;
            StopReason::Shutdown
        };
        let begun = Instant::now();
        let left = sleep(SECOND, SECOND, stopped, |_| ()).await.unwrap_err();
        assert!(begun.elapsed() < SECOND);

        let left = rest(SECOND, Some(left));
        assert!(left < SECOND - Duration::from_millis(699), "{left:?}");
        sleep(SECOND, left, pending(), |_| ()).await.unwrap();
        assert!(begun.elapsed() >= SECOND, "an interrupted sleep is not shorter");
        assert!(begun.elapsed() <= SECOND + Duration::from_millis(3));
    }

    #[tokio::test(start_paused = true)]
    async fn told_before_it_begins_it_leaves_everything() {
        let finish = sleep(SECOND, SECOND, ready(StopReason::Cancelled), |_| ()).await;
        assert_eq!(finish, Err(Checkpoint { remaining_ms: 1_000 }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_checkpoint_rounds_up() {
        let left = checkpoint(Instant::now() + Duration::from_micros(1_001));
        assert_eq!(left, Checkpoint { remaining_ms: 2 });
    }

    #[test]
    fn a_checkpoint_never_lengthens_the_sleep() {
        assert_eq!(rest(SECOND, None), SECOND);
        for (remaining_ms, left) in [(5_000, SECOND), (0, Duration::ZERO)] {
            assert_eq!(rest(SECOND, Some(Checkpoint { remaining_ms })), left);
        }
    }
}
