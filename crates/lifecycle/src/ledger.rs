use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use tokio::time::Instant;

use crate::{EXIT_UNFINISHED, HookReport};

/// Names one tally repeats; the rest is counted.
pub const TALLY_NAMES_MAX: usize = 1_000;

/// The account of one drain: why it began, what became of what was under way, and how long each step took
/// of its share. A shared handle, so that whoever ends the process, however late, can say what is known.
///
/// As text it is a block for people; [`emit`](Self::emit) writes it as one event for programs.
#[derive(Debug, Clone, Default)]
pub struct Ledger(Arc<Mutex<Account>>);

#[derive(Debug, Default)]
struct Account {
    cause: Option<String>,
    began: Option<Instant>,
    ended: Option<Instant>,
    exit_code: Option<u8>,
    steps: Vec<Step>,
    tallies: Vec<Tally>,
    hooks: Vec<HookReport>,
    faults: Vec<String>,
}

/// One step of the drain.
#[derive(Debug)]
struct Step {
    name: &'static str,
    share: Duration,
    began: Instant,
    took: Option<Duration>,
}

/// How many there were of something and, where it matters, which.
#[derive(Debug)]
struct Tally {
    what: &'static str,
    count: u64,
    /// `None` where only the number is known.
    names: Option<Vec<String>>,
}

/// Times one step of the drain until it is dropped.
#[derive(Debug)]
pub struct StepTimer {
    ledger: Ledger,
    index: usize,
}

impl Ledger {
    /// An account of a drain that has not begun.
    pub fn new() -> Self {
        Self::default()
    }

    /// The drain begins, because of `cause`. Only the first beginning counts.
    pub fn begin(&self, cause: impl Into<String>) {
        let mut account = self.0.lock();
        if account.began.is_none() {
            account.began = Some(Instant::now());
            account.cause = Some(cause.into());
        }
    }

    /// A step begins, which should take no longer than `share`.
    #[must_use = "the step lasts until the timer is dropped"]
    pub fn step(&self, name: &'static str, share: Duration) -> StepTimer {
        let mut account = self.0.lock();
        account.steps.push(Step { name, share, began: Instant::now(), took: None });
        StepTimer { ledger: self.clone(), index: account.steps.len() - 1 }
    }

    /// There were `count` of `what`, a name in snake case.
    pub fn count(&self, what: &'static str, count: u64) {
        self.0.lock().tallies.push(Tally { what, count, names: None });
    }

    /// These were the `what`. Repeats at most [`TALLY_NAMES_MAX`] names, and counts them all.
    pub fn names(&self, what: &'static str, names: impl ExactSizeIterator<Item = impl fmt::Display>) {
        let count = names.len() as u64;
        let names = names.take(TALLY_NAMES_MAX).map(|name| name.to_string()).collect();
        self.0.lock().tallies.push(Tally { what, count, names: Some(names) });
    }

    /// How a hook went.
    pub fn hook(&self, report: HookReport) {
        self.0.lock().hooks.push(report);
    }

    /// Something that the drain owed could not be done.
    pub fn fault(&self, what: impl Into<String>) {
        self.0.lock().faults.push(what.into());
    }

    /// The drain is over. What to exit with: 0, or [`EXIT_UNFINISHED`] when there was any fault.
    pub fn finish(&self) -> u8 {
        let mut account = self.0.lock();
        account.ended.get_or_insert_with(Instant::now);
        let code = if account.faults.is_empty() { 0 } else { EXIT_UNFINISHED };
        account.exit_code = Some(code);
        code
    }

    /// How long the drain has gone on, or took; `None` before it begins.
    pub fn elapsed(&self) -> Option<Duration> {
        self.0.lock().elapsed()
    }

    /// How long each step has gone on, or took.
    pub fn steps(&self) -> Vec<(&'static str, Duration)> {
        self.0.lock().steps.iter().map(|step| (step.name, step.elapsed())).collect()
    }

    /// Writes the account as one structured event; its field `ledger` is a JSON document.
    pub fn emit(&self) {
        // The lock is given back before anything is written: the last resort needs it, whatever a writer does.
        let (ledger, cause, exit_code, duration_ms, faultless) = {
            let account = self.0.lock();
            let document = serde_json::to_string(&*account).unwrap_or_default();
            let cause = account.cause.clone().unwrap_or_default();
            let duration_ms = account.elapsed().map(millis);
            (document, cause, account.exit_code, duration_ms, account.faults.is_empty())
        };
        if faultless {
            tracing::info!(cause, exit_code, duration_ms, ledger, "drain ledger");
        } else {
            tracing::error!(cause, exit_code, duration_ms, ledger, "drain ledger");
        }
    }
}

impl Drop for StepTimer {
    fn drop(&mut self) {
        let mut account = self.ledger.0.lock();
        if let Some(step) = account.steps.get_mut(self.index) {
            step.took = Some(step.began.elapsed());
        }
    }
}

impl Account {
    fn elapsed(&self) -> Option<Duration> {
        let began = self.began?;
        Some(self.ended.unwrap_or_else(Instant::now) - began)
    }
}

impl Step {
    fn elapsed(&self) -> Duration {
        self.took.unwrap_or_else(|| self.began.elapsed())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let account = self.0.lock();
        let cause = account.cause.as_deref().unwrap_or("no cause given");
        let seconds = account.elapsed().unwrap_or_default().as_secs_f64();
        match account.exit_code {
            Some(code) => writeln!(f, "drained in {seconds:.3} s after {cause}, exit code {code}")?,
            None => writeln!(f, "draining for {seconds:.3} s after {cause}, not finished")?,
        }
        for step in &account.steps {
            let (took, share) = (step.elapsed().as_secs_f64(), step.share.as_secs_f64());
            let unfinished = if step.took.is_none() { ", not finished" } else { "" };
            writeln!(f, "  {:<26} {took:.3} s of {share:.3} s{unfinished}", in_words(step.name))?;
        }
        for tally in &account.tallies {
            writeln!(f, "  {tally}")?;
        }
        for hook in &account.hooks {
            writeln!(f, "  hook {:<21} {}", hook.name, hook.end)?;
        }
        for fault in &account.faults {
            writeln!(f, "  fault: {fault}")?;
        }
        Ok(())
    }
}

/// A name for programs as people read it.
fn in_words(name: &str) -> String {
    name.replace('_', " ")
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<26} {}", in_words(self.what), self.count)?;
        if let Some(names) = self.names.as_ref().filter(|names| !names.is_empty()) {
            write!(f, ": {}", names.join(", "))?;
            let more = self.count.saturating_sub(names.len() as u64);
            if more > 0 {
                write!(f, " and {more} more")?;
            }
        }
        Ok(())
    }
}

impl Serialize for Account {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("steps", &self.steps)?;
        for Tally { what, count, names } in &self.tallies {
            match names {
                None => map.serialize_entry(what, count)?,
                Some(names) => map.serialize_entry(what, names)?,
            }
        }
        map.serialize_entry("hooks", &self.hooks)?;
        map.serialize_entry("faults", &self.faults)?;
        map.end()
    }
}

impl Serialize for Step {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("name", self.name)?;
        map.serialize_entry("took_ms", &millis(self.elapsed()))?;
        map.serialize_entry("share_ms", &millis(self.share))?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HookEnd;

    #[tokio::test(start_paused = true)]
    async fn the_block_says_everything_that_is_known() {
        let ledger = Ledger::new();
        ledger.begin("SIGTERM");
        ledger.begin("a second cause");
        {
            let _timer = ledger.step("draining", Duration::from_secs(30));
            tokio::time::advance(Duration::from_millis(1_500)).await;
        }
        ledger.count("jobs_finished", 3);
        ledger.names("jobs_handed_back", ["a", "b"].iter());
        ledger.hook(HookReport { name: "deregister", end: HookEnd::Overran });
        ledger.fault("the last flush was not committed");
        assert_eq!(ledger.finish(), 75);
        assert_eq!(
            ledger.to_string(),
            "drained in 1.500 s after SIGTERM, exit code 75\n  \
             draining                   1.500 s of 30.000 s\n  \
             jobs finished              3\n  \
             jobs handed back           2: a, b\n  \
             hook deregister            overran its time\n  \
             fault: the last flush was not committed\n"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_step_that_has_not_ended_is_shown_as_such() {
        let ledger = Ledger::new();
        ledger.begin("SIGINT");
        let _timer = ledger.step("handback", Duration::from_secs(3));
        tokio::time::advance(Duration::from_secs(4)).await;
        let shown = ledger.to_string();
        assert!(shown.contains("4.000 s of 3.000 s, not finished"), "{shown}");
        assert!(shown.starts_with("draining for 4.000 s after SIGINT, not finished"), "{shown}");
        assert_eq!(ledger.steps(), [("handback", Duration::from_secs(4))]);
    }

    #[test]
    fn without_a_fault_the_exit_is_clean() {
        let ledger = Ledger::new();
        ledger.begin("SIGTERM");
        ledger.count("connections_cut", 3);
        assert_eq!(ledger.finish(), 0);
    }

    #[test]
    fn names_are_bounded_and_still_counted() {
        let ledger = Ledger::new();
        ledger.names("jobs_abandoned", 0..TALLY_NAMES_MAX + 7);
        let shown = ledger.to_string();
        assert!(shown.contains(" 1007: 0, 1, ") && shown.ends_with("999 and 7 more\n"));
    }

    #[test]
    fn the_document_has_each_tally_under_its_name() {
        let ledger = Ledger::new();
        ledger.count("connections_cut", 2);
        ledger.names("jobs_handed_back", ["a"].iter());
        ledger.names("jobs_abandoned", [""; 0].iter());
        let json = serde_json::to_string(&*ledger.0.lock()).unwrap();
        let expected = r#"{"steps":[],"connections_cut":2,"jobs_handed_back":["a"],"jobs_abandoned":[],"hooks":[],"faults":[]}"#;
        assert_eq!(json, expected);
    }
}
