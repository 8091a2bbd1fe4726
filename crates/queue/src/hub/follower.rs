use std::collections::VecDeque;
use std::sync::Arc;

use steadfast_domain::{Change, Job, JobState, RawJson, Version};
use tokio::time::Instant;

use super::slots::{News, Subscription};
use super::{REREAD_AFTER, read};
use crate::store::{JobStore, StoreError};

/// One thing that happened to a followed job.
#[derive(Debug, Clone, PartialEq)]
pub enum Followed {
    /// A durable change: each one once, in order.
    State(Change),
    /// An attempt has begun. A hint: it may be missing, and the newest wins.
    Processing {
        /// Its number, from 1.
        attempt: u32,
    },
    /// What the running attempt last reported. A hint: the newest wins.
    Progress(RawJson),
    /// The job has ended, and this is how. Nothing follows.
    End(Box<Job>),
}

/// Delivers what happens to one job, by one rule for races, lag, other replicas and resumption: version
/// n + 1 is delivered, what is not newer is dropped, and on a gap the row is read.
///
/// A job remembers its last 32 changes; a follower that was away for more of them goes on with the oldest of
/// those.
pub struct Follower {
    store: Arc<dyn JobStore>,
    subscription: Subscription,
    /// The version delivered last.
    delivered: Version,
    /// Hints delivered last, so that none is delivered twice.
    attempt: Option<u32>,
    report: u64,
    /// Read and not delivered yet: bounded by a job's history and three more.
    ready: VecDeque<Followed>,
    /// Whether the row has to be read before anything else can be said.
    stale: bool,
    missed: u64,
    read_at: Instant,
    ended: bool,
}

impl Follower {
    pub(super) fn new(store: Arc<dyn JobStore>, subscription: Subscription, delivered: Version) -> Self {
        Self {
            store,
            subscription,
            delivered,
            attempt: None,
            report: 0,
            ready: VecDeque::new(),
            stale: true,
            missed: 0,
            read_at: Instant::now(),
            ended: false,
        }
    }

    /// The version delivered last, or the one to begin after.
    pub fn delivered(&self) -> Version {
        self.delivered
    }

    /// What happens next. `None` after [`Followed::End`], or when there is no such job (any more). After an
    /// error it can be called again and goes on where it was. Cancelling it loses nothing.
    pub async fn next(&mut self) -> Result<Option<Followed>, StoreError> {
        loop {
            if let Some(next) = self.ready.pop_front() {
                self.ended = matches!(next, Followed::End(_));
                return Ok(Some(next));
            }
            if self.ended {
                return Ok(None);
            }
            if self.stale {
                self.read_row().await?;
                continue;
            }
            tokio::select! {
                () = self.subscription.changed() => {
                    let news = self.subscription.mark_seen();
                    self.take(news);
                }
                () = tokio::time::sleep_until(self.read_at + REREAD_AFTER) => self.stale = true,
            }
        }
    }

    /// Decides what news are worth without the row.
    fn take(&mut self, news: News) {
        if let Some(change) = news.change.filter(|change| change.version > self.delivered) {
            if change.version == self.delivered.next() && !change.state.is_terminal() {
                self.deliver(change);
            } else {
                // A gap, or an end, which is told with the whole job.
                self.stale = true;
            }
        }
        if news.missed != self.missed {
            self.missed = news.missed;
            self.stale = true;
        }
        // While the row is to be read, hints wait: they came after the changes it will tell of.
        if self.stale {
            return;
        }
        if let Some(attempt) = news.processing {
            self.begin_attempt(attempt);
        }
        if let Some((report, progress)) = news.progress.filter(|(report, _)| *report > self.report) {
            self.report = report;
            self.ready.push_back(Followed::Progress(progress));
        }
    }

    /// Reads the row and queues everything it tells that was not delivered.
    async fn read_row(&mut self) -> Result<(), StoreError> {
        let job = read(&*self.store, self.subscription.id).await?;
        self.read_at = Instant::now();
        self.stale = false;
        let Some(job) = job else {
            self.ended = true;
            return Ok(());
        };
        for change in &job.history {
            if change.version > self.delivered {
                self.deliver(*change);
            }
        }
        if job.state.is_terminal() {
            self.ready.push_back(Followed::End(Box::new(job)));
            return Ok(());
        }
        if job.state == JobState::Processing {
            self.begin_attempt(job.attempt);
        }
        // What was published before or while the row was read: newer than it, or not newer and dropped.
        let news = self.subscription.mark_seen();
        self.take(news);
        Ok(())
    }

    fn deliver(&mut self, change: Change) {
        self.delivered = change.version;
        self.attempt = None;
        self.ready.push_back(Followed::State(change));
    }

    fn begin_attempt(&mut self, attempt: u32) {
        if self.attempt != Some(attempt) {
            self.attempt = Some(attempt);
            self.ready.push_back(Followed::Processing { attempt });
        }
    }
}
