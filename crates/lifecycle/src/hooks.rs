use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::time::Duration;

use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// What a hook that could not do its work says.
pub type HookError = Box<dyn Error + Send + Sync>;

/// Named steps of the program around this server, run once each during a drain: `pre` ones when
/// [`Phase::Draining`](crate::Phase::Draining) begins (take this server out of a registry, say), `post` ones
/// in [`Phase::Stopped`](crate::Phase::Stopped), after the last job. Each list runs in the order in which it
/// was written, one step after the other.
#[derive(Debug, Default)]
pub struct Hooks {
    /// Run when draining begins.
    pub pre: HookList,
    /// Run after the last job.
    pub post: HookList,
}

/// Steps to be run one after the other.
#[derive(Default)]
pub struct HookList(Vec<Hook>);

struct Hook {
    name: &'static str,
    limit: Duration,
    step: Pin<Box<dyn Future<Output = Result<(), HookError>> + Send>>,
}

/// How one hook went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HookReport {
    /// Its name.
    pub name: &'static str,
    /// How it ended.
    pub end: HookEnd,
}

/// How a hook ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HookEnd {
    /// It did its work.
    Done,
    /// It said why not, or panicked.
    Failed(String),
    /// It did not end in its time, and was dropped.
    Overran,
    /// Someone would not wait for it: it was dropped, or never begun.
    Cut,
}

impl Hooks {
    /// No steps.
    pub fn new() -> Self {
        Self::default()
    }
}

impl HookList {
    /// Adds a step that is given at most `limit`. The future is first polled when its turn comes.
    pub fn add<F>(&mut self, name: &'static str, limit: Duration, step: F)
    where
        F: Future<Output = Result<(), HookError>> + Send + 'static,
    {
        self.0.push(Hook { name, limit, step: Box::pin(step) });
    }

    /// Runs every step in its turn, none beyond `deadline` or after `cut` is ready, and hands each report to
    /// `report` as it comes.
    pub async fn run(
        self,
        deadline: Instant,
        cut: impl Future<Output = ()>,
        mut report: impl FnMut(HookReport),
    ) {
        let mut cut = pin!(cut);
        let mut is_cut = false;
        for Hook { name, limit, step } in self.0 {
            if is_cut {
                report(HookReport { name, end: HookEnd::Cut });
                continue;
            }
            let until = deadline.min(Instant::now() + limit);
            // A task of its own: a panic stays inside, and dropping the set aborts what overran.
            let mut running = JoinSet::new();
            running.spawn(step);
            let end = tokio::select! {
                biased;
                () = &mut cut => HookEnd::Cut,
                ended = running.join_next() => match ended {
                    Some(Ok(Ok(()))) => HookEnd::Done,
                    Some(Ok(Err(error))) => HookEnd::Failed(error.to_string()),
                    Some(Err(_)) | None => HookEnd::Failed("it panicked".to_owned()),
                },
                () = tokio::time::sleep_until(until) => HookEnd::Overran,
            };
            is_cut = end == HookEnd::Cut;
            report(HookReport { name, end });
        }
    }
}

impl fmt::Debug for HookList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|hook| hook.name)).finish()
    }
}

impl fmt::Display for HookEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::Failed(why) => write!(f, "failed: {why}"),
            Self::Overran => f.write_str("overran its time"),
            Self::Cut => f.write_str("cut short"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use parking_lot::Mutex;

    async fn reports(hooks: HookList, deadline: Duration) -> Vec<(&'static str, HookEnd)> {
        let mut reports = Vec::new();
        let deadline = Instant::now() + deadline;
        hooks.run(deadline, std::future::pending(), |report| reports.push((report.name, report.end))).await;
        reports
    }

    #[tokio::test(start_paused = true)]
    async fn each_step_has_its_turn_and_its_report() {
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut hooks = HookList::default();
        for name in ["first", "second"] {
            let order = Arc::clone(&order);
            hooks.add(name, Duration::from_secs(1), async move {
                order.lock().push(name);
                Ok(())
            });
        }
        hooks.add("refuses", Duration::from_secs(1), async { Err("no registry".into()) });
        hooks.add("panics", Duration::from_secs(1), async { panic!("boom") });
        assert_eq!(
            reports(hooks, Duration::from_secs(10)).await,
            [
                ("first", HookEnd::Done),
                ("second", HookEnd::Done),
                ("refuses", HookEnd::Failed("no registry".to_owned())),
                ("panics", HookEnd::Failed("it panicked".to_owned())),
            ]
        );
        assert_eq!(*order.lock(), ["first", "second"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_step_has_its_own_limit_and_leaves_time_for_the_next() {
        let mut hooks = HookList::default();
        hooks.add("hangs", Duration::from_secs(2), std::future::pending());
        hooks.add("next", Duration::from_secs(2), async { Ok(()) });
        let began = Instant::now();
        let reports = reports(hooks, Duration::from_secs(60)).await;
        assert_eq!(reports, [("hangs", HookEnd::Overran), ("next", HookEnd::Done)]);
        assert_eq!(began.elapsed().as_secs(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn no_step_goes_beyond_the_deadline_of_all() {
        let mut hooks = HookList::default();
        hooks.add("hangs", Duration::from_secs(60), std::future::pending());
        let began = Instant::now();
        assert_eq!(reports(hooks, Duration::from_secs(3)).await, [("hangs", HookEnd::Overran)]);
        assert_eq!(began.elapsed().as_secs(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cut_ends_what_runs_and_begins_nothing_more() {
        let mut hooks = HookList::default();
        hooks.add("done", Duration::from_secs(1), async { Ok(()) });
        hooks.add("hangs", Duration::from_secs(60), std::future::pending());
        hooks.add("never begun", Duration::from_secs(60), async { panic!("begun") });
        let (deadline, cut) = (Instant::now() + Duration::from_secs(60), Duration::from_secs(1));
        let mut ends = Vec::new();
        hooks.run(deadline, tokio::time::sleep(cut), |report| ends.push(report.end)).await;
        assert_eq!(ends, [HookEnd::Done, HookEnd::Cut, HookEnd::Cut]);
    }
}
