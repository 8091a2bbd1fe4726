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
