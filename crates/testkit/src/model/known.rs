//! What is known of one job, and what may have become of it since.

use steadfast_domain::{Change, Event, Fence, Job, JobId, JobState, KindName, Priority, UniqueKey, Version};

use super::step::Span;

/// The second interruption is the last, so that there is never a suspect: those have properties of their own.
pub(super) const INTERRUPTIONS_MAX: u32 = 2;

/// One job.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) id: JobId,
    pub(super) kind: KindName,
    pub(super) priority: Priority,
    pub(super) unique: Option<UniqueKey>,
    pub(super) state: JobState,
    /// While it waits: when it is due, from the last call on.
    pub(super) due: Span,
    /// Its place in ready order, once read.
    pub(super) place: Option<(i64, JobId)>,
    pub(super) attempt: u32,
    pub(super) interruptions: u32,
    pub(super) version: Version,
    pub(super) cancel_requested: bool,
    /// Its deadline has passed.
    pub(super) late: bool,
    pub(super) held: Option<Held>,
    /// The newest token of a claim of it.
    pub(super) newest: Fence,
    /// The newest token under which an attempt ended, and the answer.
    pub(super) settled: Option<(Fence, Change)>,
}

/// The claim of a job that is being processed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    pub(super) fence: Fence,
    /// The lease ends at once.
    pub(super) brief: bool,
    /// The lease was found to have ended. Housekeeping has not been told yet.
    pub(super) lapsed: bool,
    /// It belongs to a worker, and outlives every process.
    pub(super) of_worker: bool,
    /// The process that held it is gone.
    pub(super) orphan: bool,
}

impl Known {
    pub(super) fn is_live(&self) -> bool {
        !self.state.is_terminal()
    }

    pub(super) fn waits(&self) -> bool {
        self.is_live() && self.state != JobState::Processing
    }

    pub(super) fn is_named(&self, unique_key: &str) -> bool {
        self.unique.as_ref().is_some_and(|name| name.as_str() == unique_key)
    }

    /// Whether a claim may take it, if the queue is not paused.
    pub(super) fn is_ready(&self) -> bool {
        self.state == JobState::Queued && self.due == Span::None && !self.late
    }

    /// The claim, while whoever has this token may speak.
    pub(super) fn holds(&self, fence: Fence) -> Option<Held> {
        self.held.filter(|held| held.fence == fence && !held.lapsed)
    }

    /// Itself, and what may have become of it unseen.
    pub(super) fn may_be(&self) -> Vec<Self> {
        let mut all = vec![self.clone()];
        let mut next = 0;
        while let Some(known) = all.get(next).cloned() {
            all.extend(known.due_now());
            all.extend(known.expired());
            all.extend(
                known
                    .interrupted()
                    .filter(|_| known.held.is_some_and(|held| held.brief || held.lapsed || held.orphan)),
            );
            next += 1;
        }
        all
    }

    /// What has become of it when every brief time has passed and housekeeping is done.
    pub(super) fn after_brief_times(&self) -> Self {
        let known = self.due_now().unwrap_or_else(|| self.clone());
        if let Some(expired) = known.expired() {
            return expired;
        }
        match known.held {
            Some(held) if held.brief || held.lapsed => known.interrupted().unwrap_or(known),
            _ => known,
        }
    }

    fn due_now(&self) -> Option<Self> {
        let due = self.waits() && self.due == Span::Brief;
        due.then(|| Self { state: JobState::Queued, due: Span::None, ..self.clone() })
    }

    fn expired(&self) -> Option<Self> {
        let state = self.state.after(Event::Expire).filter(|_| self.late)?;
        Some(Self { state, version: self.version.next(), ..self.clone() })
    }

    fn interrupted(&self) -> Option<Self> {
        self.held?;
        let interruptions = self.interruptions + 1;
        let event = if self.cancel_requested {
            Event::Cancel
        } else if interruptions >= INTERRUPTIONS_MAX {
            Event::Die
        } else {
            Event::HandBack
        };
        Some(Self {
            state: self.state.after(event)?,
            due: Span::None,
            attempt: self.attempt - 1,
            interruptions,
            version: self.version.next(),
            cancel_requested: false,
            held: None,
            ..self.clone()
        })
    }

    /// Whether the stored job is this one.
    pub(super) fn is(&self, job: &Job) -> bool {
        (self.id, &self.kind, &self.unique) == (job.id, &job.kind, &job.unique_key)
            && self.priority == job.priority
            && (self.state, self.version) == (job.state, job.version)
            && (self.attempt, self.interruptions) == (job.attempt, job.interruptions)
            && self.cancel_requested == job.cancel_requested
    }
}

/// A job's place in ready order (STORE.md, "Order").
pub(super) fn place_of(job: &Job) -> (i64, JobId) {
    (job.run_at.plus(job.priority.penalty()).unix_ms(), job.id)
}
