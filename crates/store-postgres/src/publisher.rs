use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use steadfast_domain::{Change, Fence, JobId, JobState, QueueName, Timestamp, Version};
use steadfast_queue::store::{ClaimId, HINTS_MAX, Hint};
use tokio::sync::{Notify, broadcast};

use crate::counts::Counts;
use crate::effects::Effects;

/// Tells what commits have changed: this process at once, the others by way of the database, later and together.
#[derive(Debug)]
pub(crate) struct Publisher {
    local: broadcast::Sender<Hint>,
    outbox: Mutex<News>,
    has_news: Notify,
    pub(crate) counts: Counts,
}

/// Bytes of one notification, at most: PostgreSQL takes less than 8,000.
const PAYLOAD_BYTES_MAX: usize = 7_900;
/// Changes of jobs in one notification, at most; each takes about 75 bytes, beside its queue's name.
const CHANGES_MAX: usize = 64;
/// Requested cancels and ready queues in one notification, at most.
const OTHERS_MAX: usize = 24;

/// What one process tells the others.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct News {
    /// Who tells it.
    #[serde(rename = "from")]
    pub(crate) from: u64,
    ready: BTreeSet<String>,
    cancels: Vec<(String, u64)>,
    /// By the jobs' queue.
    changes: BTreeMap<String, Vec<(String, u64, String, i64)>>,
    queues: bool,
    /// There is more than could be told: look at everything.
    more: bool,
    #[serde(skip)]
    changes_told: usize,
}

impl Publisher {
    pub(crate) fn new() -> Self {
        let (local, _) = broadcast::channel(HINTS_MAX);
        Self { local, outbox: Mutex::default(), has_news: Notify::new(), counts: Counts::default() }
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Hint> {
        self.local.subscribe()
    }

    /// Tells everybody what a commit has changed.
    pub(crate) fn publish(&self, effects: Effects) {
        let hints = effects.into_hints();
        if hints.is_empty() {
            return;
        }
        {
            let mut outbox = self.outbox.lock();
            hints.iter().for_each(|hint| outbox.add(hint));
        }
        self.has_news.notify_one();
        self.here(hints);
    }

    /// Tells this process.
    pub(crate) fn here(&self, hints: impl IntoIterator<Item = Hint>) {
        for hint in hints {
            // An error says that nobody listens, which is fine.
            let _ = self.local.send(hint);
        }
    }

    /// Waits until there is something to tell the others.
    pub(crate) async fn has_news(&self) {
        self.has_news.notified().await;
    }

    /// What there is to tell the others, as `from`.
    pub(crate) fn take(&self, from: u64) -> Option<News> {
        let mut outbox = self.outbox.lock();
        (*outbox != News::default()).then(|| News { from, ..std::mem::take(&mut *outbox) })
    }

    /// What was taken did not reach the others.
    pub(crate) fn lost(&self) {
        self.outbox.lock().more = true;
    }
}

impl News {
    fn add(&mut self, hint: &Hint) {
        match hint {
            Hint::Queues => self.queues = true,
            Hint::Everything => self.more = true,
            Hint::Ready(queue) if self.ready.contains(queue.as_str()) => {}
            Hint::Ready(queue) if self.ready.len() < OTHERS_MAX => {
                self.ready.insert(queue.as_str().to_owned());
            }
            Hint::CancelRequested(id) if self.cancels.len() < OTHERS_MAX => {
                self.cancels.push((id.job.to_string(), id.fence.0));
            }
            Hint::Changed(change, queue) if self.changes_told < CHANGES_MAX => {
                let Change { id, version, state, at } = change;
                let change = (id.to_string(), version.0, state.as_str().to_owned(), at.unix_ms());
                self.changes_told += 1;
                match self.changes.get_mut(queue.as_str()) {
                    Some(changes) => changes.push(change),
                    None => _ = self.changes.insert(queue.as_str().to_owned(), vec![change]),
                }
            }
            Hint::Ready(_) | Hint::CancelRequested(_) | Hint::Changed(..) => self.more = true,
        }
    }

    /// As the payload of a notification.
    pub(crate) fn encode(&self) -> String {
        match serde_json::to_string(self) {
            Ok(text) if text.len() <= PAYLOAD_BYTES_MAX => text,
            _ => format!(
                r#"{{"from":{},"ready":[],"cancels":[],"changes":{{}},"queues":true,"more":true}}"#,
                self.from
            ),
        }
    }

    /// Out of the payload of a notification; what cannot be read says that there is something to look at.
    pub(crate) fn decode(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or(Self { more: true, ..Self::default() })
    }

    /// As hints.
    pub(crate) fn hints(&self) -> Vec<Hint> {
        let mut hints = Vec::new();
        for (queue, changes) in &self.changes {
            let Ok(queue) = QueueName::new(queue) else { continue };
            let changes = changes.iter().filter_map(|(id, version, state, at)| {
                let (id, state) = (id.parse().ok()?, JobState::parse(state).ok()?);
                let (version, at) = (Version(*version), Timestamp::from_unix_ms(*at));
                Some(Hint::Changed(Change { id, version, state, at }, queue.clone()))
            });
            hints.extend(changes);
        }
        let cancels = self.cancels.iter().filter_map(|(job, fence)| {
            let job: JobId = job.parse().ok()?;
            Some(Hint::CancelRequested(ClaimId { job, fence: Fence(*fence) }))
        });
        hints.extend(cancels);
        hints.extend(self.queues.then_some(Hint::Queues));
        hints.extend(self.ready.iter().filter_map(|queue| QueueName::new(queue).ok().map(Hint::Ready)));
        hints.extend(self.more.then_some(Hint::Everything));
        hints
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(n: u128) -> Hint {
        change_in(QueueName::default_queue(), n)
    }

    fn change_in(queue: QueueName, n: u128) -> Hint {
        let change = Change {
            id: JobId::from_u128(n),
            version: Version(u64::MAX),
            state: JobState::Processing,
            at: Timestamp::from_unix_ms(i64::MAX),
        };
        Hint::Changed(change, queue)
    }

    fn told(hints: &[Hint]) -> Vec<Hint> {
        let mut news = News::default();
        hints.iter().for_each(|hint| news.add(hint));
        let text = news.encode();
        assert!(text.len() <= PAYLOAD_BYTES_MAX, "{}", text.len());
        News::decode(&text).hints()
    }

    #[test]
    fn hints_arrive_as_they_were_sent() {
        let claim = ClaimId { job: JobId::from_u128(7), fence: Fence(9) };
        let hints =
            [change(1), Hint::CancelRequested(claim), Hint::Queues, Hint::Ready(QueueName::default_queue())];
        assert_eq!(told(&hints), hints);
        let fit: Vec<Hint> = (0..CHANGES_MAX as u128).map(change).collect();
        assert_eq!(told(&fit), fit);
    }

    #[test]
    fn what_is_too_much_says_look_at_everything() {
        let hints: Vec<Hint> = (0..1_000).map(change).collect();
        assert_eq!(told(&hints).last(), Some(&Hint::Everything));
        let name = |n| QueueName::new(&format!("{n:064}")).unwrap();
        let hints: Vec<Hint> = (0..CHANGES_MAX as u128).map(|n| change_in(name(n), n)).collect();
        assert_eq!(told(&hints).last(), Some(&Hint::Everything));
        let queues: Vec<Hint> = (0..100).map(|n| Hint::Ready(name(n))).collect();
        assert_eq!(told(&queues).last(), Some(&Hint::Everything));
        assert_eq!(News::decode("nonsense").hints(), [Hint::Everything]);
    }
}
