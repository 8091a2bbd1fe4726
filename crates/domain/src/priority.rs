use std::time::Duration;

use crate::Invalid;

/// How early a job is taken among the ready ones of its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Priority {
    /// Before everything else.
    Critical,
    /// Before `normal`.
    High,
    /// What a job has unless it says otherwise.
    #[default]
    Normal,
    /// When nothing else waits, or after ten minutes.
    Low,
}

impl Priority {
    /// Every priority, most urgent first.
    pub const ALL: [Self; 4] = [Self::Critical, Self::High, Self::Normal, Self::Low];

    /// Added to a job's due time to give its place in the queue. Ready order is static (STORE.md,
    /// "Order"): first in, first out within a class, and a job is overtaken only by those that became
    /// due less than the difference of the penalties after it, so `low` is never starved.
    pub const fn penalty(self) -> Duration {
        match self {
            Self::Critical => Duration::ZERO,
            Self::High => Duration::from_secs(30),
            Self::Normal => Duration::from_secs(2 * 60),
            Self::Low => Duration::from_secs(10 * 60),
        }
    }

    /// The name used in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }

    /// The priority of that name.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        Self::ALL
            .into_iter()
            .find(|p| p.as_str() == text)
            .ok_or_else(|| Invalid::value("priority", text, "critical, high, normal or low"))
    }
}
