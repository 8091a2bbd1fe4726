use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Deserialize;
use steadfast_client::JobEvent;
use steadfast_domain::RawJson;

use super::human;

const TICK_EVERY: Duration = Duration::from_millis(100);
/// Characters of a progress report that are shown.
const REPORT_CHARS_MAX: usize = 60;
/// What a bar is cut into.
const PARTS: &str = "=> ";

/// A bar on standard error, if that is a terminal; else nothing. It is gone from the terminal when dropped.
#[derive(Debug)]
pub(crate) struct Bar(ProgressBar);

/// What the built-in kinds report, and others may: how much of how much.
#[derive(Deserialize)]
struct Share {
    done: f64,
    total: f64,
}

impl Bar {
    /// For a job: its state, and how far it is when its handler reports that.
    pub(crate) fn of_job() -> Self {
        let bar = Self::new(0, "{spinner} {msg}");
        bar.0.enable_steady_tick(TICK_EVERY);
        bar
    }

    /// For so many of something.
    pub(crate) fn of(total: u64, what: &str) -> Self {
        Self::new(total, &format!("[{{bar:30}}] {{human_pos}}/{{human_len}} {what} {{eta}} {{msg}}"))
    }

    /// For something of which nobody knows how much there is.
    pub(crate) fn of_unknown() -> Self {
        Self::new(0, "{spinner} {human_pos} jobs accepted {msg}")
    }

    fn new(total: u64, template: &str) -> Self {
        let bar = ProgressBar::new(total);
        bar.set_style(style(template));
        Self(bar)
    }

    /// So many of all are done.
    pub(crate) fn at(&self, position: u64) {
        self.0.set_position(position);
    }

    /// What is being waited for.
    pub(crate) fn say(&self, message: impl Into<String>) {
        self.0.set_message(message.into());
    }

    /// What happened to the job.
    pub(crate) fn show(&self, event: &JobEvent) {
        match event {
            JobEvent::State(state) => self.say(state.state.as_str()),
            JobEvent::Processing { attempt } => self.say(format!("processing, attempt {attempt}")),
            JobEvent::Progress(report) => self.report(report),
            JobEvent::End(_) => {}
        }
    }

    fn report(&self, report: &RawJson) {
        match report.decode::<Share>() {
            Ok(Share { done, total }) if total > 0.0 => {
                self.0.set_style(style("{spinner} [{bar:30}] {percent}% {msg}"));
                self.0.set_length(1_000);
                self.0.set_position((1_000.0 * (done / total).clamp(0.0, 1.0)) as u64);
            }
            _ => self.say(human::cut(report.as_str(), REPORT_CHARS_MAX)),
        }
    }

    /// Prints while the bar is out of the way.
    pub(crate) fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        self.0.suspend(print)
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// The templates are ours, and valid.
fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars(PARTS)
}
