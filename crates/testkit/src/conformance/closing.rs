//! The end of a store's life.

use steadfast_domain::JobId;
use steadfast_queue::store::{
    ClaimRequest, ListQuery, Renewal, Settlement, Speaker, StoreError, Submission, SubmitError,
};
use tokio::task::{JoinSet, yield_now};
use tokio::time::Instant;

use super::Bench;
use super::subject::{LONG, Subject, completed, echo, queue_name, want};

/// A closed store refuses every call, does nothing, and may be closed again.
pub async fn a_closed_store_refuses_every_call(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    store.submit(echo()).await;
    let claimed = store.claim_one().await;
    let (owner, seam) = (store.owner.clone(), store.seam());
    let deadline = Instant::now() + LONG;
    seam.close(deadline).await.expect("closes");
    seam.close(deadline).await.expect("closes again");

    let submission = Submission { jobs: vec![echo()], key: None, give_up_at: deadline };
    let submitted = seam.submit(submission).await.map(drop);
    let reopened = seam.reopen(claimed.id.job).await.map(drop);
    for refused in [submitted, reopened] {
        assert!(matches!(refused, Err(SubmitError::Store(StoreError::Closed))), "{refused:?}");
    }
    let request = ClaimRequest { owner, wants: vec![want("default")], max: 1, lease: LONG };
    let renewal =
        Renewal { id: claimed.id, by: Speaker::Server, lease: LONG, progress: None, checkpoint: None };
    let settlement = Settlement { id: claimed.id, by: Speaker::Server, end: completed() };
    let ids: [JobId; 1] = [claimed.id.job];
    let refused = [
        seam.declare(&[]).await,
        seam.pause(&queue_name("default"), true).await.map(drop),
        seam.claim(request).await.map(drop),
        seam.renew(vec![renewal]).await.map(drop),
        seam.settle(vec![settlement]).await.map(drop),
        seam.cancel(claimed.id.job).await.map(drop),
        seam.upkeep(1).await.map(drop),
        seam.get(&ids).await.map(drop),
        seam.list(&ListQuery { limit: 1, ..ListQuery::default() }).await.map(drop),
        seam.queues().await.map(drop),
        seam.check().await,
    ];
    for (n, answer) in refused.iter().enumerate() {
        assert!(matches!(answer, Err(StoreError::Closed)), "call {n}: {answer:?}");
    }
}

/// Calls under way as the store is closed are answered: done, or refused because it is closed.
pub async fn calls_under_way_at_the_close_are_answered(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    let mut submits = JoinSet::new();
    for before in 0..50 {
        let store = store.clone();
        submits.spawn(async move {
            for _ in 0..before {
                yield_now().await;
            }
            let submission = Submission { jobs: vec![echo()], key: None, give_up_at: Instant::now() + LONG };
            store.seam().submit(submission).await
        });
    }
    for _ in 0..25 {
        yield_now().await;
    }
    store.seam().close(Instant::now() + LONG).await.expect("closes");
    for answer in submits.join_all().await {
        assert!(matches!(answer, Ok(_) | Err(SubmitError::Store(StoreError::Closed))), "{answer:?}");
    }
}
