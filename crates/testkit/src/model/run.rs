//! Does what a sequence says.

use steadfast_queue::store::StoreLimits;
use tokio::task::JoinSet;

use super::known::INTERRUPTIONS_MAX;
use super::step::{Act, Span, Step};
use super::submitting::CAPACITY;
use super::world::{Disagreement, World};
use crate::conformance::Bench;
use crate::conformance::counters::assert_figures;
use crate::conformance::subject::Subject;

/// Does the steps, and panics at the first answer that the model cannot explain.
pub(super) async fn run(bench: &mut dyn Bench, steps: &[Step]) {
    let mut world = World::default();
    let mut store = open(bench).await;
    for step in steps {
        let mut in_doubt = None;
        let explained = match step {
            Step::One(act) => one(&store, &mut world, act).await,
            Step::Both(a, b) => both(&store, &mut world, a, b).await,
            Step::TimePasses => {
                pass_time(&store, &mut world).await;
                Ok(())
            }
            Step::Crash => {
                drop(store);
                store = reopen(bench, &mut world).await;
                Ok(())
            }
            Step::CrashDuring(act) => {
                in_doubt = world.call(act, &store).await;
                if let Some(call) = in_doubt.clone() {
                    let store = store.clone();
                    let mut caller = JoinSet::new();
                    caller.spawn(async move { call.make(&store).await });
                    tokio::task::yield_now().await;
                    // Aborted or done, it has let go of the store then.
                    caller.shutdown().await;
                }
                drop(store);
                store = reopen(bench, &mut world).await;
                Ok(())
            }
            Step::Close => {
                store.close().await;
                store = reopen(bench, &mut world).await;
                Ok(())
            }
        };
        let agreed = match (explained, in_doubt) {
            (Err(error), _) => Err(error),
            (Ok(()), Some(call)) => world.recover(call, &store).await,
            (Ok(()), None) => world.agree(&store).await,
        };
        if let Err(error) = agreed {
            panic!("{step:?}: {error}");
        }
    }
    pass_time(&store, &mut world).await;
    world.agree(&store).await.expect("in the end");
    assert_figures(&store).await;
    store.close().await;
}

async fn open(bench: &mut dyn Bench) -> Subject {
    let limits = StoreLimits {
        capacity_jobs: CAPACITY,
        interruptions_max: INTERRUPTIONS_MAX,
        ..StoreLimits::default()
    };
    Subject::open_with(bench, limits).await
}

/// The next process.
async fn reopen(bench: &mut dyn Bench, world: &mut World) -> Subject {
    world.lose_process();
    open(bench).await
}

async fn one(store: &Subject, world: &mut World, act: &Act) -> Result<(), Disagreement> {
    let Some(call) = world.call(act, store).await else { return Ok(()) };
    let answer = call.make(store).await;
    world.judge((&call, &answer), None)
}

/// Two calls at once: one of the two orders must explain both answers, and what is stored then.
async fn both(store: &Subject, world: &mut World, a: &Act, b: &Act) -> Result<(), Disagreement> {
    let (Some(a), Some(b)) = (world.call(a, store).await, world.call(b, store).await) else { return Ok(()) };
    let (to_a, to_b) = tokio::join!(a.make(store), b.make(store));
    let mut against = Vec::new();
    for [first, second] in [[(&a, &to_a), (&b, &to_b)], [(&b, &to_b), (&a, &to_a)]] {
        match world.after_both(first, second, store).await {
            Ok(after) => {
                *world = after;
                return Ok(());
            }
            Err(error) => against.push(error),
        }
    }
    Err(against.join("\nand in the other order: "))
}

async fn pass_time(store: &Subject, world: &mut World) {
    let now = store.now().await;
    store.until_past(now.plus(Span::Brief.duration())).await;
    store.upkeep().await;
    world.pass_time();
}
