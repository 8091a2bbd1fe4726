use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use parking_lot::Mutex;
use steadfast_domain::{Change, JobId, RawJson};
use tokio::sync::watch;

/// The watched jobs, and for each the newest of everything. A slow watcher costs no memory: what it has not
/// seen is overwritten, and a gap in the versions tells it to read the row.
#[derive(Debug, Default)]
pub(super) struct Slots(Mutex<HashMap<JobId, Slot>>);

#[derive(Debug)]
struct Slot {
    news: watch::Sender<News>,
    watchers: usize,
}

/// The newest of everything about one job.
#[derive(Debug, Clone, Default)]
pub(super) struct News {
    /// The newest durable change. Whatever else is here came after it.
    pub(super) change: Option<Change>,
    /// Grows when changes may have been missed.
    pub(super) missed: u64,
    /// The attempt that has begun since.
    pub(super) processing: Option<u32>,
    /// What that attempt last reported, with a number that tells it from the one before.
    pub(super) progress: Option<(u64, RawJson)>,
    reports: u64,
}

impl News {
    /// A durable change ends the attempt that earlier news told of.
    pub(super) fn change(&mut self, change: Change) {
        if self.change.is_none_or(|newest| newest.version < change.version) {
            self.change = Some(change);
            self.processing = None;
            self.progress = None;
        }
    }

    pub(super) fn processing(&mut self, attempt: u32) {
        self.processing = Some(attempt);
        self.progress = None;
    }

    pub(super) fn progress(&mut self, progress: RawJson) {
        self.reports += 1;
        self.progress = Some((self.reports, progress));
    }

    /// Whether the job has ended, as far as this tells.
    pub(super) fn may_be_terminal(&self, seen: &Self) -> bool {
        self.missed != seen.missed || self.change.is_some_and(|change| change.state.is_terminal())
    }
}

impl Slots {
    /// Changes the news about `id`, if anybody watches it.
    pub(super) fn news(&self, id: JobId, change: impl FnOnce(&mut News)) {
        if let Some(slot) = self.0.lock().get(&id) {
            slot.news.send_modify(change);
        }
    }

    /// Tells every watcher that it may have missed something.
    pub(super) fn news_for_all(&self) {
        for slot in self.0.lock().values() {
            slot.news.send_modify(|news| news.missed += 1);
        }
    }

    /// Watches `id`: everything published from now on is seen, or newer news instead.
    pub(super) fn subscribe(slots: &Arc<Self>, id: JobId) -> Subscription {
        let mut watched = slots.0.lock();
        let slot = watched
            .entry(id)
            .or_insert_with(|| Slot { news: watch::Sender::new(News::default()), watchers: 0 });
        slot.watchers += 1;
        let news = slot.news.subscribe();
        Subscription { id, news, slots: Arc::clone(slots) }
    }
}

/// One watcher's place; its drop makes the job's slot go with the last one.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) id: JobId,
    news: watch::Receiver<News>,
    slots: Arc<Slots>,
}

impl Subscription {
    /// Takes what has been published so far as seen, and returns it.
    pub(super) fn mark_seen(&mut self) -> News {
        self.news.borrow_and_update().clone()
    }

    /// Waits for news that have not been seen. The subscription itself keeps the sender alive.
    pub(super) async fn changed(&mut self) {
        if self.news.changed().await.is_err() {
            std::future::pending().await
        }
    }

    /// Waits for news that have not been seen and of which `wanted(news, seen)` holds.
    pub(super) async fn wait_for(&mut self, wanted: fn(&News, &News) -> bool) {
        let seen = self.news.borrow().clone();
        loop {
            self.changed().await;
            if wanted(&self.news.borrow_and_update(), &seen) {
                return;
            }
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Entry::Occupied(mut slot) = self.slots.0.lock().entry(self.id) {
            slot.get_mut().watchers -= 1;
            if slot.get().watchers == 0 {
                slot.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_goes_with_its_last_watcher() {
        let slots = Arc::new(Slots::default());
        let id = JobId::from_u128(7);
        let (first, second) = (Slots::subscribe(&slots, id), Slots::subscribe(&slots, id));
        drop(first);
        assert_eq!(slots.0.lock().len(), 1);
        drop(second);
        assert!(slots.0.lock().is_empty());
        slots.news(id, |news| news.processing(1));
        assert!(slots.0.lock().is_empty());
    }
}
