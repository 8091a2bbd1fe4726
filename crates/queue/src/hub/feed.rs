use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use steadfast_domain::{Change, Job, JobId, QueueName, RawJson, Version};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep_until};

/// Events that a reader may fall behind before it has missed some. All readers share them.
pub const FEED_EVENTS_MAX: usize = 4_096;
/// A reader that misses events again and again is told so this often: it is to read everything each time.
const GAPS_EVERY: Duration = Duration::from_secs(1);

/// What happens to all jobs, for whoever listens. Nothing is kept for those who come later, and nothing is done
/// while nobody listens.
#[derive(Debug)]
pub(super) struct Feed {
    items: broadcast::Sender<Item>,
    readers: AtomicUsize,
}

#[derive(Debug, Clone)]
enum Item {
    Event(Arc<JobEvent>),
    Gap,
}

/// One thing that happened to some job.
#[derive(Debug)]
pub struct JobEvent {
    /// Whose.
    pub id: JobId,
    /// Where it is.
    pub queue: QueueName,
    /// The job's version: of a hint, the one in which it was made.
    pub version: Version,
    /// What happened.
    pub news: JobNews,
    text: OnceLock<Bytes>,
}

/// What happened to a job.
#[derive(Debug, Clone, PartialEq)]
pub enum JobNews {
    /// A durable change.
    State(Change),
    /// An attempt has begun. A hint: it may be missing, and may come before the change it follows.
    Processing {
        /// Its number, from 1.
        attempt: u32,
    },
    /// What the running attempt last reported. A hint.
    Progress(RawJson),
}

/// What a reader hears next.
#[derive(Debug)]
pub enum Heard {
    /// Something happened.
    Event(Arc<JobEvent>),
    /// Something may have happened that was not heard: only the store knows.
    Gap,
}

/// Hears of every job from its creation on, or that it missed something.
#[derive(Debug)]
pub struct FeedReader {
    feed: Arc<Feed>,
    items: broadcast::Receiver<Item>,
    /// Whether it has missed something and was not told yet.
    missed: bool,
    told_at: Option<Instant>,
}

impl JobEvent {
    fn new(id: JobId, queue: QueueName, version: Version, news: JobNews) -> Self {
        Self { id, queue, version, news, text: OnceLock::new() }
    }

    /// The event as text, which `write` makes of it once for all readers.
    pub fn text(&self, write: impl FnOnce(&Self) -> Bytes) -> Bytes {
        self.text.get_or_init(|| write(self)).clone()
    }
}

impl Default for Feed {
    fn default() -> Self {
        Self { items: broadcast::Sender::new(FEED_EVENTS_MAX), readers: AtomicUsize::new(0) }
    }
}

impl Feed {
    pub(super) fn subscribe(feed: &Arc<Self>) -> FeedReader {
        feed.readers.fetch_add(1, Ordering::SeqCst);
        FeedReader { items: feed.items.subscribe(), feed: Arc::clone(feed), missed: false, told_at: None }
    }

    /// A durable change of a job of this queue.
    pub(super) fn change(&self, change: Change, queue: QueueName) {
        self.tell(|| {
            Item::Event(Arc::new(JobEvent::new(change.id, queue, change.version, JobNews::State(change))))
        });
    }

    /// A hint about a running attempt.
    pub(super) fn hint(&self, job: &Job, news: impl FnOnce() -> JobNews) {
        self.tell(|| Item::Event(Arc::new(JobEvent::new(job.id, job.queue.clone(), job.version, news()))));
    }

    /// There is more than was told.
    pub(super) fn gap(&self) {
        self.tell(|| Item::Gap);
    }

    fn tell(&self, item: impl FnOnce() -> Item) {
        if self.readers.load(Ordering::SeqCst) > 0 {
            // An error says that the last reader has just gone.
            let _ = self.items.send(item());
        }
    }
}

impl FeedReader {
    /// What happened next. Cancelling it loses nothing.
    pub async fn next(&mut self) -> Heard {
        loop {
            let tell_at = self.told_at.map_or_else(Instant::now, |told_at| told_at + GAPS_EVERY);
            if self.missed && tell_at <= Instant::now() {
                self.missed = false;
                self.told_at = Some(Instant::now());
                return Heard::Gap;
            }
            tokio::select! {
                biased;
                () = sleep_until(tell_at), if self.missed => {}
                item = self.items.recv() => match item {
                    Ok(Item::Event(event)) => return Heard::Event(event),
                    Ok(Item::Gap) | Err(RecvError::Lagged(_)) => self.missed = true,
                    // The feed, which this holds, keeps the sender.
                    Err(RecvError::Closed) => std::future::pending().await,
                },
            }
        }
    }
}

impl Drop for FeedReader {
    fn drop(&mut self) {
        self.feed.readers.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use steadfast_domain::{JobState, Timestamp};

    fn change(version: u64) -> Change {
        Change {
            id: JobId::from_u128(7),
            version: Version(version),
            state: JobState::Queued,
            at: Timestamp::from_unix_ms(0),
        }
    }

    fn tell(feed: &Feed, versions: std::ops::Range<u64>) {
        versions.for_each(|version| feed.change(change(version), QueueName::default_queue()));
    }

    async fn version(reader: &mut FeedReader) -> u64 {
        match reader.next().await {
            Heard::Event(event) => event.version.0,
            Heard::Gap => panic!("a gap"),
        }
    }

    #[tokio::test]
    async fn without_readers_nothing_is_made() {
        let feed = Arc::new(Feed::default());
        feed.tell(|| panic!("made for nobody"));
        drop(Feed::subscribe(&feed));
        feed.tell(|| panic!("made for nobody"));
    }

    #[tokio::test]
    async fn a_reader_that_lags_is_told_and_goes_on_with_the_oldest_kept() {
        let feed = Arc::new(Feed::default());
        let (mut slow, mut quick) = (Feed::subscribe(&feed), Feed::subscribe(&feed));
        let last = FEED_EVENTS_MAX as u64 + 10;
        for next in 0..last {
            tell(&feed, next..next + 1);
            assert_eq!(version(&mut quick).await, next);
        }
        assert!(matches!(slow.next().await, Heard::Gap));
        assert_eq!(version(&mut slow).await, 10);
    }

    #[tokio::test(start_paused = true)]
    async fn gaps_are_told_once_a_second_and_the_last_one_too() {
        let feed = Arc::new(Feed::default());
        let mut reader = Feed::subscribe(&feed);
        let began = Instant::now();
        feed.gap();
        assert!(matches!(reader.next().await, Heard::Gap));
        feed.gap();
        feed.gap();
        tell(&feed, 1..2);
        assert_eq!(version(&mut reader).await, 1);
        assert!(matches!(reader.next().await, Heard::Gap));
        assert_eq!(began.elapsed(), GAPS_EVERY);
    }

    #[test]
    fn readers_share_the_text() {
        let event =
            JobEvent::new(change(1).id, QueueName::default_queue(), Version(1), JobNews::State(change(1)));
        assert_eq!(event.text(|event| event.version.0.to_string().into()), "1");
        assert_eq!(event.text(|_| panic!("written twice")), "1");
    }
}
