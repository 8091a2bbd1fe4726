use std::time::Duration;

use serde::Serialize;
use steadfast_client::{JobFilter, Repeat};
use steadfast_domain::{JobId, JobState, limits};
use tokio::time::Instant;

use super::{Failure, Session};
use crate::commands::progress::Bar;

/// Between two looks at all jobs, at least.
const LOOK_AFTER_MIN: Duration = Duration::from_millis(500);
/// Between two looks, so many times as long as a look takes.
const LOOK_SHARE: u32 = 10;

/// How the jobs of a run have ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Ended {
    pub(super) completed: u64,
    pub(super) dead: u64,
    pub(super) cancelled: u64,
    pub(super) expired: u64,
    /// Ended, and stored no longer: the server keeps so many and so long.
    pub(super) removed: u64,
}

/// One look at all jobs of a run.
#[derive(Debug, Default)]
struct Look {
    ended: Ended,
    live: u64,
    /// The youngest job that has not ended: mostly the last to end.
    youngest: Option<JobId>,
}

/// Waits until all `jobs` that were made under keys with this prefix have ended. It keeps none of them in mind: it
/// reads the server's list, which has each job once, and rests for ten times as long as that took.
pub(super) async fn all_ended(session: &Session, key_prefix: &str, jobs: u64) -> Result<Ended, Failure> {
    let bar = Bar::of(jobs, "jobs ended");
    loop {
        let began = Instant::now();
        let look = look(session, key_prefix, jobs).await?;
        let found =
            look.ended.completed + look.ended.dead + look.ended.cancelled + look.ended.expired + look.live;
        let removed = jobs.saturating_sub(found);
        bar.at(jobs - look.live.min(jobs));
        let Some(youngest) = look.youngest else { return Ok(Ended { removed, ..look.ended }) };
        let rest = (began.elapsed() * LOOK_SHARE).clamp(LOOK_AFTER_MIN, limits::WAIT_MAX);
        session.call(Repeat::Safe, || session.client.job_when_ended(youngest, rest)).await?;
    }
}

/// Counts the run's jobs by state, newest first, until all are found or the list ends.
async fn look(session: &Session, key_prefix: &str, jobs: u64) -> Result<Look, Failure> {
    let mut look = Look::default();
    let mut found = 0;
    let mut filter = JobFilter { limit: Some(limits::LIST_LIMIT_MAX), ..JobFilter::default() };
    while found < jobs {
        let page = session.call(Repeat::Safe, || session.client.jobs(&filter)).await?;
        for job in page.jobs {
            if job.idempotency_key.as_deref().is_some_and(|key| key.starts_with(key_prefix)) {
                found += 1;
                look.count(job.id, job.state);
            }
        }
        match page.next_cursor {
            Some(cursor) => filter.cursor = Some(cursor),
            None => break,
        }
    }
    Ok(look)
}

impl Look {
    fn count(&mut self, id: JobId, state: JobState) {
        let count = match state {
            JobState::Completed => &mut self.ended.completed,
            JobState::Dead => &mut self.ended.dead,
            JobState::Cancelled => &mut self.ended.cancelled,
            JobState::Expired => &mut self.ended.expired,
            JobState::Scheduled | JobState::Queued | JobState::Processing | JobState::Retryable => {
                self.youngest = self.youngest.or(Some(id));
                &mut self.live
            }
        };
        *count += 1;
    }
}

impl Ended {
    /// Jobs that did not do what they were for.
    pub(super) const fn not_completed(&self) -> u64 {
        self.dead + self.cancelled + self.expired
    }
}
