//! In which order ready jobs are taken.

use std::time::Duration;

use steadfast_domain::{JobId, NewJob, Priority, Start};
use steadfast_queue::store::Want;

use super::Bench;
use super::subject::{Subject, echo, echoes, hand_back, ids, in_queue, of_kind, want, want_kinds};

/// Jobs of one priority are taken first in, first out, across submissions and kinds.
pub async fn one_class_is_first_in_first_out(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    let mut submitted = Vec::new();
    for n in 0..6 {
        let batch = vec![of_kind(&format!("k{}", n % 3)), of_kind("k1"), of_kind("k2")];
        submitted.extend(store.submit_all(batch).await.into_iter().map(|job| job.id));
    }
    let mut taken = Vec::new();
    while taken.len() < submitted.len() {
        let claimed = store.claim(4).await;
        assert!(!claimed.is_empty());
        taken.extend(ids(&claimed));
    }
    assert_eq!(taken, submitted);
}

/// Among jobs due at about the same time, the more urgent go first.
pub async fn the_more_urgent_go_first(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    let mut submitted = Vec::new();
    for priority in [Priority::Low, Priority::Normal, Priority::Critical, Priority::High, Priority::Normal] {
        submitted.push(store.submit(NewJob { priority, ..echo() }).await.id);
    }
    let expected = [2, 3, 1, 4, 0].map(|n: usize| submitted[n]);
    assert_eq!(ids(&store.claim(5).await), expected);
}

/// Ready order is due time plus the priority's penalty, then id: whatever was claimed together is in it.
pub async fn ready_order_is_due_time_plus_penalty_then_id(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    for n in 0..40_u32 {
        let priority = Priority::ALL[(n * 7 % 4) as usize];
        store.submit(NewJob { priority, ..of_kind(&format!("k{}", n % 5)) }).await;
    }
    let claimed = store.claim(40).await;
    let order: Vec<(i64, JobId)> = claimed.iter().map(|c| (c.job.ready_order(), c.id.job)).collect();
    assert!(order.is_sorted() && order.len() == 40, "{order:?}");
}

/// A job that became due later is taken later, though it was submitted earlier.
pub async fn a_later_due_time_is_a_later_place(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    let later = NewJob { start: Start::After(Duration::from_millis(50)), ..echo() };
    // In one commit, at one time: what is submitted after 50 ms is as late.
    let both = store.submit_all(vec![later, echo()]).await;
    store.until_past(both[0].run_at).await;
    assert_eq!(ids(&store.claim(2).await), [both[1].id, both[0].id]);
}

/// A job that is handed back keeps its place: a stop does not cost it its turn.
pub async fn what_is_handed_back_keeps_its_place(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    let first = store.submit(echo()).await;
    let claimed = store.claim_one().await;
    let second = store.submit(echo()).await;
    store.until_past(second.run_at).await;
    store.end(claimed.id, hand_back(Duration::ZERO)).await;
    assert_eq!(ids(&store.claim(2).await), [first.id, second.id]);
}

/// A job whose claim was lost keeps its place, too.
pub async fn what_was_interrupted_keeps_its_place(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    let first = store.submit(of_kind("k1")).await;
    let second = store.submit(echo()).await;
    store.until_past(second.run_at).await;
    store.interrupt(&first).await;
    assert_eq!(ids(&store.claim(2).await), [first.id, second.id]);
}

/// Each want has its share before any has more; then the rest goes in ready order.
pub async fn shares_come_first_and_then_ready_order(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    store.declare("a", None, None).await;
    store.declare("b", None, None).await;
    let mut submitted = store.submit_all(vec![in_queue("a"); 6]).await;
    submitted.extend(store.submit_all(vec![in_queue("b"); 6]).await);
    let id = |n: usize| submitted[n].id;

    let wants = vec![Want { share: 1, ..want("a") }, Want { share: 2, ..want("b") }];
    let mut taken = ids(&store.claim_from(wants.clone(), 3).await);
    taken.sort();
    assert_eq!(taken, [id(0), id(6), id(7)]);

    let mut taken = ids(&store.claim_from(wants, 5).await);
    taken.sort();
    assert_eq!(taken, [id(1), id(2), id(3), id(8), id(9)]);
}

/// A share that its queue cannot fill goes to the others, up to the whole.
pub async fn an_unused_share_goes_to_the_others(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    store.declare("empty", None, None).await;
    store.submit_all(echoes(5)).await;
    let wants = vec![Want { share: 3, ..want("empty") }, Want { share: 1, ..want("default") }];
    assert_eq!(store.claim_from(wants, 4).await.len(), 4);
}

/// Two wants for the same queue never give a job twice.
pub async fn overlapping_wants_take_a_job_once(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    let submitted = store.submit_all(echoes(3)).await;
    let wants = vec![want("default"), Want { share: 2, ..want_kinds("default", &["echo"]) }];
    let mut taken = ids(&store.claim_from(wants, 10).await);
    taken.sort();
    assert_eq!(taken, submitted.iter().map(|job| job.id).collect::<Vec<_>>());
}
