use std::fmt;
use std::io::{self, Write};

use crate::settings::{Loaded, SETTINGS, SettingsArgs, show_time};
use steadfast_lifecycle::KILL_MARGIN;

use super::{EXIT_FAILED, EXIT_USAGE, fail, load};

/// Validates the settings and prints what the server would run with.
pub(crate) fn run(flags: &SettingsArgs) -> u8 {
    let loaded = match load(flags) {
        Ok(loaded) => loaded,
        Err(error) => return fail(EXIT_USAGE, error),
    };
    match write!(io::stdout().lock(), "{}", Report(&loaded)) {
        Ok(()) => 0,
        Err(error) => fail(EXIT_FAILED, format_args!("cannot write to standard output: {error}")),
    }
}

/// The effective settings, the queues, the programs and the shutdown budget, for people.
struct Report<'a>(&'a Loaded);

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let loaded = self.0;
        for setting in SETTINGS {
            let (value, source) = (setting.show(&loaded.settings), loaded.source(setting));
            writeln!(f, "{:<28} {value:<32} {source}", setting.key)?;
        }
        for queue in &loaded.settings.queues {
            writeln!(f, "\n[queues.{}]", queue.name)?;
            for (key, value) in queue.shown() {
                writeln!(f, "{key:<28} {value}")?;
            }
        }
        for program in &loaded.settings.programs {
            writeln!(f, "\n[exec.{}]", program.0.name)?;
            for (key, value) in program.shown() {
                writeln!(f, "{key:<28} {value}")?;
            }
        }
        writeln!(f, "\nshutdown budget")?;
        for (phase, share) in loaded.budget.shares() {
            writeln!(f, "  {:<26} {}", phase.as_str(), show_time(share))?;
        }
        writeln!(f, "  {:<26} {}", "in all", show_time(loaded.budget.total()))?;
        writeln!(
            f,
            "  {:<26} {}",
            "with the margin for exit",
            show_time(loaded.budget.total() + KILL_MARGIN)
        )?;
        let cut = loaded.budget.graceful_cut();
        if !cut.is_zero() {
            let kill_after = loaded.settings.shutdown.kill_after.unwrap_or_default();
            let (cut, kill_after) = (show_time(cut), show_time(kill_after));
            writeln!(f, "graceful_timeout is cut by {cut}, so that all fits into kill_after ({kill_after})")?;
        }
        Ok(())
    }
}
