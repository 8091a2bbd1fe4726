use crate::Invalid;

/// Where a job is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum JobState {
    /// Accepted, for later. Reads as [`JobState::Queued`] from its time on.
    Scheduled,
    /// Ready to run.
    Queued,
    /// Claimed: an attempt runs.
    Processing,
    /// An attempt failed and the next one waits for its time. Reads as [`JobState::Queued`] from then on.
    Retryable,
    /// Ended well.
    Completed,
    /// Given up: a permanent failure, no attempts left, or interrupted too often.
    Dead,
    /// Ended by request.
    Cancelled,
    /// Ended by its `deadline`, or by `max_wait_ms` before its first start.
    Expired,
}

/// What can happen to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// A worker takes it.
    Claim,
    /// Its attempt succeeded.
    Complete,
    /// Its attempt failed in a way that may pass, with attempts left.
    Retry,
    /// Its attempt failed for good, was the last, or was interrupted too often.
    Die,
    /// Its attempt ended without a verdict: yield, hand-back, release, crash or lapsed lease.
    HandBack,
    /// A cancel request: at once while it waits, at the end of the attempt while it runs.
    Cancel,
    /// Its deadline or longest wait passed before it was started.
    Expire,
    /// An explicit retry.
    Reopen,
}

/// Every allowed change, and the only place that says so. The diagram in `docs/ARCHITECTURE.md` and
/// every store are held against it by tests.
pub const TRANSITIONS: &[(JobState, Event, JobState)] = {
    use Event::{Cancel, Claim, Complete, Die, Expire, HandBack, Reopen, Retry};
    use JobState::{Cancelled, Completed, Dead, Expired, Processing, Queued, Retryable, Scheduled};
    &[
        (Queued, Claim, Processing),
        (Processing, Complete, Completed),
        (Processing, Retry, Retryable),
        (Processing, Die, Dead),
        (Processing, HandBack, Queued),
        (Processing, Cancel, Cancelled),
        (Scheduled, Cancel, Cancelled),
        (Queued, Cancel, Cancelled),
        (Retryable, Cancel, Cancelled),
        (Scheduled, Expire, Expired),
        (Queued, Expire, Expired),
        (Retryable, Expire, Expired),
        (Dead, Reopen, Queued),
        (Cancelled, Reopen, Queued),
    ]
};

impl JobState {
    /// Every state, in the order of a job's life.
    pub const ALL: [Self; 8] = [
        Self::Scheduled,
        Self::Queued,
        Self::Processing,
        Self::Retryable,
        Self::Completed,
        Self::Dead,
        Self::Cancelled,
        Self::Expired,
    ];

    /// The state after `event`, or `None` where that may not happen.
    pub fn after(self, event: Event) -> Option<Self> {
        TRANSITIONS.iter().find(|(from, on, _)| (*from, *on) == (self, event)).map(|(_, _, to)| *to)
    }

    /// Whether the job has ended. Only an explicit retry leaves such a state.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Dead | Self::Cancelled | Self::Expired)
    }

    /// The name used in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Queued => "queued",
            Self::Processing => "processing",
            Self::Retryable => "retryable",
            Self::Completed => "completed",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }

    /// The state of that name.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        Self::ALL.into_iter().find(|s| s.as_str() == text).ok_or_else(|| {
            let allowed = Self::ALL.map(Self::as_str).join(", ");
            Invalid::value("state", text, allowed)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EVENTS: [Event; 8] = [
        Event::Claim,
        Event::Complete,
        Event::Retry,
        Event::Die,
        Event::HandBack,
        Event::Cancel,
        Event::Expire,
        Event::Reopen,
    ];

    #[test]
    fn no_state_and_event_lead_to_two_states() {
        for (i, (from, event, _)) in TRANSITIONS.iter().enumerate() {
            assert!(!TRANSITIONS[..i].iter().any(|(f, e, _)| (f, e) == (from, event)), "{from:?} {event:?}");
        }
    }

    #[test]
    fn every_live_state_can_end_and_be_reached() {
        for state in JobState::ALL {
            let ends = TRANSITIONS.iter().any(|(from, _, to)| *from == state && to.is_terminal());
            assert_eq!(ends, !state.is_terminal(), "{state:?}");
            let reached = TRANSITIONS.iter().any(|(_, _, to)| *to == state);
            assert!(reached || state == JobState::Scheduled, "{state:?}");
        }
    }

    proptest! {
        #[test]
        fn only_an_explicit_retry_leaves_a_terminal_state(
            events in proptest::collection::vec(proptest::sample::select(&EVENTS[..]), 0..60),
            start in proptest::sample::select(&[JobState::Scheduled, JobState::Queued][..]),
        ) {
            let mut state = start;
            for event in events {
                let Some(next) = state.after(event) else { continue };
                if state.is_terminal() {
                    prop_assert_eq!(event, Event::Reopen);
                    prop_assert!(matches!(state, JobState::Dead | JobState::Cancelled));
                    prop_assert_eq!(next, JobState::Queued);
                }
                if next == JobState::Processing {
                    prop_assert_eq!((state, event), (JobState::Queued, Event::Claim));
                }
                if next == JobState::Completed {
                    prop_assert_eq!(state, JobState::Processing);
                }
                state = next;
            }
        }
    }

    #[test]
    fn names_read_back() {
        for state in JobState::ALL {
            assert_eq!(JobState::parse(state.as_str()), Ok(state));
        }
        assert!(JobState::parse("running").unwrap_err().to_string().contains("processing"));
    }
}
