use std::time::Duration;

use tokio::time::Instant;

use crate::Phase;

/// What must be left of [`ShutdownConfig::kill_after`] when the drain's own time is up: the process still
/// has to end, and the platform counts from a moment before the signal arrives.
pub const KILL_MARGIN: Duration = Duration::from_secs(2);
/// The shortest close timeout: a hand-back is a commit and cannot be done in no time.
pub const CLOSE_TIMEOUT_MIN: Duration = Duration::from_millis(100);
/// The longest share any phase may have.
pub const SHARE_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// At most this much of the close timeout is kept for the last flush, the ledger and telemetry.
const FLUSH_RESERVE_MAX: Duration = Duration::from_secs(2);
/// How long after the drain's end the last resort waits for an orderly exit; less than [`KILL_MARGIN`].
const LAST_RESORT_GRACE: Duration = Duration::from_millis(500);

/// How long a drain may take, phase by phase. The default is the settings' default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShutdownConfig {
    /// How long the server goes on accepting after it has said that it is not ready; never cut short.
    pub lame_duck: Duration,
    /// How long running work may go on undisturbed.
    pub graceful_timeout: Duration,
    /// How long work that was told to stop may take to return.
    pub cancel_timeout: Duration,
    /// Hand-back, connections, hooks, background tasks, store and telemetry together; at least
    /// [`CLOSE_TIMEOUT_MIN`].
    pub close_timeout: Duration,
    /// The background tasks' share of `close_timeout`.
    pub background_timeout: Duration,
    /// When the platform kills the process, counted from the stop's signal. A `preStop` hook's time counts
    /// against the platform's allowance too: subtract it.
    pub kill_after: Option<Duration>,
}

impl Default for ShutdownConfig {
    fn default() -> Self {
        Self {
            lame_duck: Duration::ZERO,
            graceful_timeout: Duration::from_secs(30),
            cancel_timeout: Duration::from_secs(5),
            close_timeout: Duration::from_secs(5),
            background_timeout: Duration::from_secs(2),
            kill_after: None,
        }
    }
}

/// Why these times make no drain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BudgetError {
    /// A share is larger than what it is a share of.
    #[error(
        "background_timeout ({background:?}) is larger than close_timeout ({close:?}), of which it is a share"
    )]
    BackgroundBeyondClose {
        /// `background_timeout`.
        background: Duration,
        /// `close_timeout`.
        close: Duration,
    },
    /// Too little time to hand anything back.
    #[error("close_timeout ({0:?}) is too short: allowed is {CLOSE_TIMEOUT_MIN:?} or more")]
    CloseTooShort(Duration),
    /// A time so long that it must be a mistake.
    #[error("{name} ({value:?}) is too long: allowed is {SHARE_MAX:?} or less")]
    TooLong {
        /// Which one.
        name: &'static str,
        /// What it is.
        value: Duration,
    },
    /// The platform kills before even an empty drain is over.
    #[error(
        "kill_after ({kill_after:?}) is too short: lame_duck, cancel_timeout, close_timeout and a margin of \
         {KILL_MARGIN:?} need {needed:?} without any graceful time"
    )]
    KillTooEarly {
        /// `kill_after`.
        kill_after: Duration,
        /// What must fit into it.
        needed: Duration,
    },
}

/// A drain's time, shared out so that the last steps always get theirs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    lame_duck: Duration,
    graceful: Duration,
    cancel: Duration,
    close: Duration,
    background: Duration,
    graceful_cut: Duration,
}

/// A drain's deadlines, as moments. Each is the latest one: a phase that ends early brings all later ones
/// forward ([`Budget::entering`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// The end of [`Phase::LameDuck`].
    pub lame_duck: Instant,
    /// The end of [`Phase::Draining`].
    pub draining: Instant,
    /// The end of [`Phase::Cancelling`].
    pub cancelling: Instant,
    /// The end of all but the flush: hand-back, connections, post hooks and background tasks.
    pub closing: Instant,
    /// The end of the store's flush; what is left until `end` is for the ledger and telemetry.
    pub flush: Instant,
    /// The end of the drain's budget.
    pub end: Instant,
    /// When the process is ended whatever it does. No work of this process runs after it.
    pub last_resort: Instant,
}

impl Budget {
    /// Holds the sum against what the platform allows:
    /// `kill_after >= lame_duck + graceful + cancel + close + KILL_MARGIN`. When that does not fit, the
    /// graceful time is cut until it does, so that cancelling and closing always run.
    ///
    /// # Errors
    /// When no graceful time at all would still not fit, or a time is out of range.
    pub fn plan(config: &ShutdownConfig) -> Result<Self, BudgetError> {
        config.check()?;
        let fixed = config.lame_duck + config.cancel_timeout + config.close_timeout + KILL_MARGIN;
        let graceful = match config.kill_after {
            None => config.graceful_timeout,
            Some(kill_after) => match kill_after.checked_sub(fixed) {
                Some(room) => config.graceful_timeout.min(room),
                None => {
                    return Err(BudgetError::KillTooEarly { kill_after, needed: fixed });
                }
            },
        };
        Ok(Self {
            lame_duck: config.lame_duck,
            graceful,
            cancel: config.cancel_timeout,
            close: config.close_timeout,
            background: config.background_timeout,
            graceful_cut: config.graceful_timeout - graceful,
        })
    }

    /// How much of the graceful time had to be cut for the sum to fit into `kill_after`.
    pub fn graceful_cut(&self) -> Duration {
        self.graceful_cut
    }

    /// All phases together.
    pub fn total(&self) -> Duration {
        self.lame_duck + self.graceful + self.cancel + self.close
    }

    /// The background tasks' share of the closing time.
    pub fn background(&self) -> Duration {
        self.background
    }

    /// The phases that take time, with the share of each; [`Phase::Stopped`] shares the close timeout with
    /// [`Phase::Handback`], and its own part is the reserve for the flush.
    pub fn shares(&self) -> [(Phase, Duration); 5] {
        let reserve = self.flush_reserve();
        [
            (Phase::LameDuck, self.lame_duck),
            (Phase::Draining, self.graceful),
            (Phase::Cancelling, self.cancel),
            (Phase::Handback, self.close - reserve),
            (Phase::Stopped, reserve),
        ]
    }

    /// A phase's share; zero for the phases before the drain.
    pub fn share(&self, phase: Phase) -> Duration {
        self.shares().into_iter().find(|(of, _)| *of == phase).map_or(Duration::ZERO, |(_, share)| share)
    }

    /// The deadlines of a drain that enters `phase` now: that phase and every later one have their whole
    /// share ahead of them, earlier ones are over.
    pub fn entering(&self, phase: Phase, now: Instant) -> Deadlines {
        let share = |of: Phase, share: Duration| if phase <= of { share } else { Duration::ZERO };
        let lame_duck = now + share(Phase::LameDuck, self.lame_duck);
        let draining = lame_duck + share(Phase::Draining, self.graceful);
        let cancelling = draining + share(Phase::Cancelling, self.cancel);
        let end = cancelling + self.close;
        let reserve = self.flush_reserve();
        Deadlines {
            lame_duck,
            draining,
            cancelling,
            closing: end - reserve,
            flush: end - reserve / 4,
            end,
            last_resort: end + LAST_RESORT_GRACE,
        }
    }

    /// Two fifths of the close timeout, at most 2 s.
    fn flush_reserve(&self) -> Duration {
        (self.close * 2 / 5).min(FLUSH_RESERVE_MAX)
    }
}

impl ShutdownConfig {
    fn check(&self) -> Result<(), BudgetError> {
        let times = [
            ("lame_duck", self.lame_duck),
            ("graceful_timeout", self.graceful_timeout),
            ("cancel_timeout", self.cancel_timeout),
            ("close_timeout", self.close_timeout),
        ];
        if let Some(&(name, value)) = times.iter().find(|(_, value)| *value > SHARE_MAX) {
            return Err(BudgetError::TooLong { name, value });
        }
        if self.close_timeout < CLOSE_TIMEOUT_MIN {
            return Err(BudgetError::CloseTooShort(self.close_timeout));
        }
        if self.background_timeout > self.close_timeout {
            return Err(BudgetError::BackgroundBeyondClose {
                background: self.background_timeout,
                close: self.close_timeout,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn without_a_kill_the_graceful_time_is_whole() {
        let budget = Budget::plan(&ShutdownConfig::default()).unwrap();
        assert_eq!((budget.total(), budget.graceful_cut()), (40 * SECOND, Duration::ZERO));
    }

    #[test]
    fn the_graceful_time_gives_way_so_that_the_rest_fits() {
        let fits = ShutdownConfig { kill_after: Some(42 * SECOND), ..ShutdownConfig::default() };
        assert_eq!(Budget::plan(&fits).unwrap().graceful_cut(), Duration::ZERO);
        let tight = ShutdownConfig { kill_after: Some(30 * SECOND), ..ShutdownConfig::default() };
        let budget = Budget::plan(&tight).unwrap();
        assert_eq!((budget.total(), budget.graceful_cut()), (28 * SECOND, 12 * SECOND));
        let none_left = ShutdownConfig { kill_after: Some(12 * SECOND), ..ShutdownConfig::default() };
        assert_eq!(Budget::plan(&none_left).unwrap().total(), 10 * SECOND);
    }

    #[test]
    fn what_cannot_fit_at_all_is_an_error() {
        let config = ShutdownConfig { kill_after: Some(11 * SECOND), ..ShutdownConfig::default() };
        assert_eq!(
            Budget::plan(&config),
            Err(BudgetError::KillTooEarly { kill_after: 11 * SECOND, needed: 12 * SECOND })
        );
    }

    #[test]
    fn a_background_share_beyond_the_whole_names_both() {
        let config = ShutdownConfig { background_timeout: 6 * SECOND, ..ShutdownConfig::default() };
        let error = Budget::plan(&config).unwrap_err().to_string();
        assert!(error.contains("background_timeout (6s)") && error.contains("close_timeout (5s)"), "{error}");
    }

    #[test]
    fn times_out_of_range_are_errors() {
        let short = ShutdownConfig {
            close_timeout: Duration::from_millis(99),
            background_timeout: Duration::ZERO,
            ..ShutdownConfig::default()
        };
        assert!(matches!(Budget::plan(&short), Err(BudgetError::CloseTooShort(_))));
        let long = ShutdownConfig { graceful_timeout: Duration::MAX, ..ShutdownConfig::default() };
        assert!(matches!(Budget::plan(&long), Err(BudgetError::TooLong { name: "graceful_timeout", .. })));
    }

    #[tokio::test(start_paused = true)]
    async fn deadlines_follow_one_another_and_keep_time_for_the_flush() {
        let config = ShutdownConfig { lame_duck: 3 * SECOND, ..ShutdownConfig::default() };
        let budget = Budget::plan(&config).unwrap();
        let now = Instant::now();
        let deadlines = budget.entering(Phase::LameDuck, now);
        assert_eq!(deadlines.lame_duck, now + 3 * SECOND);
        assert_eq!(deadlines.draining, now + 33 * SECOND);
        assert_eq!(deadlines.cancelling, now + 38 * SECOND);
        assert_eq!(deadlines.closing, now + 41 * SECOND);
        assert_eq!(deadlines.end, now + 43 * SECOND);
        assert!(deadlines.closing < deadlines.flush && deadlines.flush < deadlines.end);
        assert!(deadlines.last_resort < deadlines.end + KILL_MARGIN);
    }

    #[tokio::test(start_paused = true)]
    async fn a_jump_forward_brings_the_end_forward() {
        let budget = Budget::plan(&ShutdownConfig::default()).unwrap();
        let now = Instant::now();
        assert_eq!(budget.entering(Phase::Handback, now).end, now + 5 * SECOND);
        assert_eq!(budget.entering(Phase::Cancelling, now).draining, now);
    }

    #[test]
    fn a_short_close_keeps_a_share_for_the_flush_too() {
        let config =
            ShutdownConfig { close_timeout: SECOND, background_timeout: SECOND, ..ShutdownConfig::default() };
        let shares = Budget::plan(&config).unwrap().shares();
        assert_eq!(
            shares[3..],
            [(Phase::Handback, Duration::from_millis(600)), (Phase::Stopped, Duration::from_millis(400))]
        );
    }
}
