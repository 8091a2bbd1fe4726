//! Jobs that were interrupted twice or more run one at a time per owner.

use steadfast_domain::JobId;
use steadfast_queue::store::{SUSPECT_ALONE_FOR, SUSPECT_INTERRUPTIONS, StoreLimits};
use tokio::time::Instant;

use super::Bench;
use super::subject::{LONG, Subject, completed, echo, ids, of_kind, only, want, want_kinds, worker};

/// So many that only [`LAST_CHANCE`] comes near.
const INTERRUPTIONS_MAX: u32 = 10;
/// One more interruption ends the job.
const LAST_CHANCE: u32 = INTERRUPTIONS_MAX - 1;

/// Makes a job of each kind that was interrupted so often.
async fn interrupted(bench: &mut dyn Bench, jobs: &[(&str, u32)]) -> (Subject, Vec<JobId>) {
    let limits = StoreLimits { interruptions_max: INTERRUPTIONS_MAX, ..StoreLimits::default() };
    let store = Subject::open_with(bench, limits).await;
    let mut made = Vec::new();
    for (kind, times) in jobs {
        let job = store.submit(of_kind(kind)).await;
        for _ in 0..*times {
            store.interrupt(&job).await;
        }
        made.push(job.id);
    }
    (store, made)
}

/// An owner is given one suspect at a time, and bystanders as ever; the next when the first has ended.
pub async fn an_owner_runs_one_suspect_at_a_time(bench: &mut dyn Bench) {
    let twice = SUSPECT_INTERRUPTIONS;
    let (store, suspects) = interrupted(bench, &[("a", twice), ("b", twice), ("c", twice)]).await;
    let bystander = store.submit(echo()).await;
    let mut first = store.claim(10).await;
    assert_eq!(first.len(), 2);
    assert!(ids(&first).contains(&bystander.id));
    first.retain(|claimed| claimed.id.job != bystander.id);
    store.submit(echo()).await;
    let more = store.claim(10).await;
    assert_eq!(more.iter().map(|claimed| claimed.job.kind.as_str()).collect::<Vec<_>>(), ["echo"]);

    let mut seen = ids(&first);
    let mut running = first.pop().expect("one suspect");
    for _ in 0..2 {
        store.end(running.id, completed()).await;
        running = only(store.claim(10).await);
        seen.push(running.id.job);
    }
    seen.sort();
    assert_eq!(seen, suspects);
}

/// Fewest interruptions first.
pub async fn the_least_interrupted_suspect_goes_first(bench: &mut dyn Bench) {
    let twice = SUSPECT_INTERRUPTIONS;
    let (store, suspects) = interrupted(bench, &[("a", twice + 2), ("b", twice), ("c", twice + 1)]).await;
    for n in [1, 2, 0] {
        let claimed = only(store.claim(10).await);
        assert_eq!(claimed.id.job, suspects[n]);
        store.end(claimed.id, completed()).await;
    }
}

/// A job interrupted once is no suspect.
pub async fn one_interruption_makes_no_suspect(bench: &mut dyn Bench) {
    let (store, jobs) = interrupted(bench, &[("a", 1), ("b", 1), ("c", 1)]).await;
    assert_eq!(store.claim(10).await.len(), jobs.len());
}

/// The rule is each owner's own: another may run a suspect of its own meanwhile.
pub async fn every_owner_may_run_a_suspect(bench: &mut dyn Bench) {
    let twice = SUSPECT_INTERRUPTIONS;
    let (store, _) = interrupted(bench, &[("a", twice), ("b", twice), ("c", twice)]).await;
    for owner in [store.owner.clone(), worker("w1"), worker("w2")] {
        assert_eq!(store.claim_as(&owner, vec![want("default")], 10, LONG).await.len(), 1);
    }
}

/// A suspect that does not end holds the next one back for its time alone, and no longer.
pub async fn a_suspect_is_alone_for_its_time_and_no_longer(bench: &mut dyn Bench) {
    let twice = SUSPECT_INTERRUPTIONS;
    let (store, _) = interrupted(bench, &[("a", twice), ("b", twice)]).await;
    let before = Instant::now();
    assert_eq!(store.claim(10).await.len(), 1);
    store.until("the next suspect is given", async || store.claim(10).await.pop()).await;
    assert!(before.elapsed() >= SUSPECT_ALONE_FOR);
}

/// Whoever was interrupted beside it would be condemned with it, or it with them: on its last chance a
/// suspect neither joins another nor is joined, however long that one runs.
pub async fn a_suspect_on_its_last_chance_is_alone_from_start_to_end(bench: &mut dyn Bench) {
    let twice = SUSPECT_INTERRUPTIONS;
    let jobs = [("a", LAST_CHANCE), ("b", LAST_CHANCE), ("c", twice), ("d", twice), ("e", twice)];
    let (store, _) = interrupted(bench, &jobs).await;
    let (one, other) = (store.owner.clone(), worker("w1"));
    let claim =
        async |owner, kind| store.claim_as(owner, vec![want_kinds("default", &[kind])], 1, LONG).await;
    let last_chance = only(claim(&other, "a").await);
    let first = only(claim(&one, "c").await);

    let second = store.until("the next suspect is given", async || claim(&one, "d").await.pop()).await;
    assert_eq!(claim(&one, "b").await.len(), 0, "it does not join others");
    assert_eq!(claim(&other, "e").await.len(), 0, "others do not join it");
    store.end(first.id, completed()).await;
    assert_eq!(claim(&one, "b").await.len(), 0, "one of them still runs");
    store.end(second.id, completed()).await;
    assert_eq!(claim(&one, "b").await.len(), 1);
    store.end(last_chance.id, completed()).await;
    assert_eq!(claim(&other, "e").await.len(), 1);
}
