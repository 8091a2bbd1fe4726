//! The ordered stop: every step of it, in order, under one deadline.
//!
//! ```text
//!  LameDuck ──▶ Draining ──▶ Cancelling ──▶ Handback ─────────────▶ Stopped
//!  accept on,   pre hooks;   attempts are   unfinished jobs go      post hooks, background
//!  claim no     what runs    told to        back; then the          tasks, store, ledger,
//!  more         may end      checkpoint     listener closes         telemetry
//! ```
//!
//! Each step has a deadline and ends early when nothing is left to wait for. The time of the steps from
//! Handback on is reserved: nothing before them can use it up. When a stop has become urgent
//! ([`Urgency::Handback`]) the earlier phases are passed without waiting in them.
//!
//! **Invariant:** the listener closes after the last job has settled. Until then whoever asks gets an
//! answer, if only a 503 that says when to come back (ADR 0002).

mod course;
mod figures;

use steadfast_lifecycle::{Hooks, LastResort, Phase};
use steadfast_queue::WorkerPool;

pub(crate) use course::Course;

use crate::front::Front;
use crate::store::{Opened, Opening};
use crate::work::Work;

/// Everything that has to end.
pub(crate) struct Shutdown {
    pub(crate) front: Front,
    pub(crate) hooks: Hooks,
    pub(crate) store: Store,
    pub(crate) work: Work,
}

/// The store, as far as it had come.
pub(crate) enum Store {
    Opening(Opening),
    Open(Opened),
}

/// A drain that is over; only the process has not ended yet.
pub(crate) struct Drained {
    /// What to exit with: 0, or 75 when something owed could not be done.
    pub(crate) code: u8,
    /// Ends the process if it does not end by itself.
    pub(crate) last_resort: Option<LastResort>,
}

impl Shutdown {
    /// The whole stop, once one is asked for.
    pub(crate) async fn run(self, mut course: Course) -> Drained {
        let Self { front, hooks: Hooks { pre, post }, store, work } = self;
        let Front { app, connections, admin, telemetry } = front;
        let Work { pool, mutations, background } = work;
        let urgency = course.begin().await;

        let (step, deadlines) = course.enter(Phase::LameDuck);
        course.lame_duck(urgency, deadlines).await;
        drop(step);

        let (step, deadlines) = course.enter(Phase::Draining);
        let idle = async {
            // Once idle the pool stays so, since it claims no more; what ends last are the requests.
            pool_idle(pool.as_ref()).await;
            mutations.idle().await;
            app.requests().idle().await;
        };
        tokio::join!(course.pre_hooks(pre, deadlines), course.until(deadlines.draining, idle));
        drop(step);

        let (step, deadlines) = course.enter(Phase::Cancelling);
        course.until(deadlines.cancelling, pool_idle(pool.as_ref())).await;
        drop(step);

        let (step, deadlines) = course.enter(Phase::Handback);
        course.hand_back(pool, deadlines).await;
        course.close_connections(connections, admin, deadlines).await;
        drop(step);

        let step = course.stopped();
        // Side by side, so that a hook which takes all the time does not make the tasks look overdue.
        tokio::join!(course.post_hooks(post, deadlines), course.join([mutations, background], deadlines));
        app.close_read_cache();
        course.last_figures(&app, &store, deadlines).await;
        course.close_store(store, deadlines).await;
        drop(step);
        course.end(telemetry, deadlines).await
    }
}

/// Waits until no attempt runs.
async fn pool_idle(pool: Option<&WorkerPool>) {
    if let Some(pool) = pool {
        pool.idle().await;
    }
}
