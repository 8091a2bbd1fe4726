//! Hints: after the commit, of everything that changed.

use std::collections::BTreeSet;
use std::time::Duration;

use steadfast_domain::{Change, Version};
use steadfast_queue::store::Hint;
use tokio::sync::broadcast::Receiver;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Bench;
use super::subject::{Subject, completed, echo, hand_back, in_queue, of_kind, queue_name, retry, want};
use crate::PATIENCE;

/// Waits for the hint that `wanted` finds.
async fn hinted<T>(hints: &mut Receiver<Hint>, wanted: impl Fn(&Hint) -> Option<T>) -> T {
    let found = async {
        loop {
            let hint = hints.recv().await.expect("hints go on and nobody lags");
            if let Some(found) = wanted(&hint) {
                return found;
            }
        }
    };
    timeout(PATIENCE, found).await.expect("hinted in time")
}

async fn changed(hints: &mut Receiver<Hint>, queue: &str, expected: Change) {
    let expected = Hint::Changed(expected, queue_name(queue));
    hinted(hints, |hint| (*hint == expected).then_some(())).await;
}

/// Every durable change is hinted as it was answered, with the job's queue: submits, ends, cancels, reopenings.
pub async fn every_change_is_hinted(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    store.declare("q", None, None).await;
    let mut hints = store.seam().hints();
    for queue in ["q", "default"] {
        let job = store.submit(in_queue(queue)).await;
        changed(&mut hints, queue, job.history[0]).await;
        let claimed = store.claim_from(vec![want(queue)], 1).await.remove(0);
        let change = store.end(claimed.id, retry(Duration::ZERO)).await;
        changed(&mut hints, queue, change).await;
        store.cancel(job.id).await;
        changed(&mut hints, queue, *store.job(job.id).await.history.last().expect("a history")).await;
        let change = store.reopen(job.id).await.expect("opened again");
        changed(&mut hints, queue, change).await;
    }
}

/// What housekeeping changes is hinted, too.
pub async fn what_housekeeping_changes_is_hinted(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    let mut hints = store.seam().hints();
    let job = store.submit(of_kind("k")).await;
    store.interrupt(&job).await;
    let job = store.job(job.id).await;
    changed(&mut hints, "default", *job.history.last().expect("a history")).await;
    hinted(&mut hints, ready("default")).await;
}

/// Work that becomes ready wakes whoever takes from its queue: a submit, a hand-back, a resumed queue.
pub async fn ready_work_is_hinted(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    store.declare("q", None, None).await;
    let mut hints = store.seam().hints();
    store.submit(in_queue("q")).await;
    hinted(&mut hints, ready("q")).await;
    store.submit(echo()).await;
    hinted(&mut hints, ready("default")).await;
    let claimed = store.claim_one().await;
    store.end(claimed.id, hand_back(Duration::ZERO)).await;
    hinted(&mut hints, ready("default")).await;
    store.end(store.claim_one().await.id, retry(Duration::from_millis(20))).await;
    // A read finds the job due before housekeeping does, and the hint comes with the latter.
    store
        .until("the due job is hinted", async || {
            let mut news = std::iter::from_fn(|| hints.try_recv().ok());
            news.find_map(|hint| ready("default")(&hint))
        })
        .await;
}

fn ready(queue: &str) -> impl Fn(&Hint) -> Option<()> {
    let queue = queue_name(queue);
    move |hint| (*hint == Hint::Ready(queue.clone())).then_some(())
}

/// The holder of a claim is hinted at once that it is to stop.
pub async fn a_requested_cancel_is_hinted(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    store.submit(echo()).await;
    let claimed = store.claim_one().await;
    let mut hints = store.seam().hints();
    store.cancel(claimed.id.job).await;
    hinted(&mut hints, |hint| (*hint == Hint::CancelRequested(claimed.id)).then_some(())).await;
}

/// A declared, paused or resumed queue is hinted; resumed work is ready.
pub async fn queues_that_change_are_hinted(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    store.submit(echo()).await;
    let mut hints = store.seam().hints();
    let queues = |hint: &Hint| (*hint == Hint::Queues).then_some(());
    store.pause("default", true).await;
    hinted(&mut hints, queues).await;
    store.pause("default", false).await;
    hinted(&mut hints, |hint| matches!(hint, Hint::Queues | Hint::Ready(_)).then_some(())).await;
    store.declare("new", None, None).await;
    hinted(&mut hints, queues).await;
}

/// Whoever reads on a hint finds the change: it comes after the commit, never before.
pub async fn a_hint_comes_after_its_commit(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    let mut hints = store.seam().hints();
    let mut work = JoinSet::new();
    for _ in 0..4 {
        let store = store.clone();
        work.spawn(async move {
            for _ in 0..25 {
                store.submit(echo()).await;
                for claimed in store.claim(3).await {
                    store.end(claimed.id, completed()).await;
                }
            }
            for claimed in store.claim(100).await {
                store.end(claimed.id, completed()).await;
            }
        });
    }
    let mut seen = BTreeSet::new();
    while seen.len() < 200 {
        let change = hinted(&mut hints, |hint| match hint {
            Hint::Changed(change, _) => Some(*change),
            _ => None,
        })
        .await;
        let job = store.find(change.id).await.expect("what is hinted is committed");
        assert!(job.version >= change.version && job.history.contains(&change));
        assert!(change.version <= Version(2));
        seen.insert((change.id, change.version));
    }
    work.join_all().await;
}
