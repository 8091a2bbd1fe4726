//! Who waits for a job, and how they hear of it.
//!
//! ```text
//!  store.hints() ──▶ EventHub::run ──▶ one slot per watched job ──▶ Follower, wait_terminal
//!  WorkerPool ── processing, progress ──▲ │                            │ on a gap, a lag, or now and then
//!                                         ▼                            ▼
//!                    FeedReader ◀── one ring of all jobs' events     store.get(): the truth
//! ```
//!
//! Hints may be lost; the slot holds only the newest. So nothing is ever concluded from a hint alone but
//! "version n + 1 follows n": everything else is read from the row. Memory is bounded by the number of jobs
//! that someone watches: the entry of a job goes with its last watcher. Readers of all jobs share one ring, and one
//! that it overtakes is told that it missed something.

mod feed;
mod follower;
mod slots;

use std::sync::Arc;
use std::time::Duration;

use steadfast_domain::{Job, JobId, RawJson, Version};
use steadfast_lifecycle::{Phase, Phases};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

pub use feed::{FEED_EVENTS_MAX, FeedReader, Heard, JobEvent, JobNews};
pub use follower::{Followed, Follower};

use crate::store::{Hint, JobStore, StoreError};
use feed::Feed;
use slots::{News, Slots, Subscription};

/// How long a watcher trusts silence before it reads its job's row: hints are lossy.
const REREAD_AFTER: Duration = Duration::from_secs(5);

/// Passes on what happens to jobs. One per process.
pub struct EventHub {
    store: Arc<dyn JobStore>,
    slots: Arc<Slots>,
    feed: Arc<Feed>,
}

impl EventHub {
    /// A hub over `store`. Until [`run`](Self::run) runs, watchers live on their slow re-reading alone.
    pub fn new(store: Arc<dyn JobStore>) -> Arc<Self> {
        Arc::new(Self { store, slots: Arc::default(), feed: Arc::default() })
    }

    /// Reads the store's hints until [`Phase::Stopped`]. Everything it missed, by lag or because it had not
    /// begun, makes every watcher read its row, and is a gap to readers of all jobs.
    pub async fn run(self: Arc<Self>, phases: Phases) {
        let mut hints = self.store.hints();
        self.missed_something();
        let stopped = phases.at_least(Phase::Stopped);
        tokio::pin!(stopped);
        loop {
            let hint = tokio::select! {
                biased;
                _ = &mut stopped => return,
                hint = hints.recv() => hint,
            };
            match hint {
                Ok(Hint::Changed(change, queue)) => {
                    self.slots.news(change.id, |news| news.change(change));
                    self.feed.change(change, queue);
                }
                Ok(Hint::Everything) => self.missed_something(),
                Ok(_) => {}
                Err(RecvError::Lagged(missed)) => {
                    tracing::debug!(missed, "the event hub lagged behind the store's hints");
                    self.missed_something();
                }
                Err(RecvError::Closed) => return,
            }
        }
    }

    /// Tells the job's watchers that the attempt this claimed job is in has begun. A hint: it may be lost.
    pub fn report_processing(&self, job: &Job) {
        self.slots.news(job.id, |news| news.processing(job.attempt));
        self.feed.hint(job, || JobNews::Processing { attempt: job.attempt });
    }

    /// Tells the job's watchers how far its attempt is. A hint: the newest wins.
    pub fn report_progress(&self, job: &Job, progress: &RawJson) {
        self.slots.news(job.id, |news| news.progress(progress.clone()));
        self.feed.hint(job, || JobNews::Progress(progress.clone()));
    }

    /// Hears of all jobs from now on: every durable change that this process learns of, and hints about the
    /// attempts that it runs itself.
    pub fn feed(&self) -> FeedReader {
        Feed::subscribe(&self.feed)
    }

    /// Every durable change of the job after version `after`, once and in order; with `None` from the oldest
    /// it remembers. Subscribes before it reads.
    pub fn follow(self: &Arc<Self>, id: JobId, after: Option<Version>) -> Follower {
        Follower::new(Arc::clone(&self.store), self.subscribe(id), after.unwrap_or(Version(0)))
    }

    /// The job once it is terminal, or as it is at `until` or as soon as the server drains. `None` when there
    /// is no such job.
    pub async fn wait_terminal(
        &self,
        id: JobId,
        until: Instant,
        phases: &Phases,
    ) -> Result<Option<Job>, StoreError> {
        let mut subscription = self.subscribe(id);
        loop {
            subscription.mark_seen();
            let job = read(&*self.store, id).await?;
            let ended = job.as_ref().is_none_or(|job| job.state.is_terminal());
            if ended || Instant::now() >= until || phases.current() >= Phase::Draining {
                return Ok(job);
            }
            let reread_at = (Instant::now() + REREAD_AFTER).min(until);
            tokio::select! {
                () = subscription.wait_for(News::may_be_terminal) => {}
                () = tokio::time::sleep_until(reread_at) => {}
                _ = phases.at_least(Phase::Draining) => {}
            }
        }
    }

    fn missed_something(&self) {
        self.slots.news_for_all();
        self.feed.gap();
    }

    fn subscribe(&self, id: JobId) -> Subscription {
        Slots::subscribe(&self.slots, id)
    }
}

/// One job as its store has it.
async fn read(store: &dyn JobStore, id: JobId) -> Result<Option<Job>, StoreError> {
    Ok(store.get(&[id]).await?.pop().flatten())
}
