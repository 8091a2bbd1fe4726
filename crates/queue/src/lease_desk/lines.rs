use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use steadfast_domain::QueueName;
use steadfast_lifecycle::{Phase, Phases};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};

use super::order::KindOfWork;
use super::{LeaseDesk, Leases, Order};
use crate::admission::Rejection;
use crate::store::{Hint, JobStore};

/// Those at the head of a line who may look at once. The others wait for their turn, so that they cost the store
/// nothing.
const TURNS: usize = 4;
/// Claims at once of all who were woken: what many lines for one queue cost when it has a job.
const CLAIMS_MAX: usize = 64;
/// How often each line looks without a hint: what a lost hint can cost.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Everybody who waits for a job. Bounded by the slots of held answers.
pub(super) struct Lines {
    table: Mutex<HashMap<KindOfWork, Entry>>,
    /// Somebody waits where nobody did.
    first: Notify,
    claims: Semaphore,
}

struct Entry {
    line: Arc<Line>,
    waiters: usize,
}

/// Those who want the same, first come first served.
struct Line {
    turns: Semaphore,
    /// Wakes the one that has had its turn for longest; kept for the next one when all of them look already.
    ready: Notify,
}

/// One who waits. Its drop makes the line go with the last one.
pub struct Waiter<'a> {
    desk: &'a LeaseDesk,
    order: &'a Order,
    line: Arc<Line>,
    /// Whether as many as may look are in line before it: what is ready is for them.
    is_behind: bool,
}

/// A wake-up that was not made use of yet: it is passed on when its waiter goes.
struct Woken<'a> {
    line: &'a Line,
    used: bool,
}

impl Lines {
    pub(super) fn new() -> Self {
        Self { table: Mutex::default(), first: Notify::new(), claims: Semaphore::new(CLAIMS_MAX) }
    }

    /// Wakes whom the store's hints concern, until nobody waits any more. The hints are heard only while somebody
    /// does.
    pub(super) async fn serve(&self, store: &dyn JobStore, phases: &Phases) {
        let mut over = pin!(phases.at_least(Phase::LameDuck));
        loop {
            tokio::select! {
                biased;
                _ = &mut over => return,
                () = self.somebody() => {}
            }
            let mut hints = store.hints();
            // What became ready since the first of them looked.
            self.all_ready();
            let mut look = interval_at(Instant::now() + LOOK_EVERY, LOOK_EVERY);
            look.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while !self.table.lock().is_empty() {
                tokio::select! {
                    biased;
                    _ = &mut over => return,
                    hint = hints.recv() => match hint {
                        Ok(Hint::Ready(queue)) => self.ready(&queue),
                        Ok(Hint::Queues | Hint::Everything) | Err(RecvError::Lagged(_)) => self.all_ready(),
                        Ok(Hint::Changed(..) | Hint::CancelRequested(_)) => {}
                        Err(RecvError::Closed) => return,
                    },
                    _ = look.tick() => self.all_ready(),
                }
            }
        }
    }

    /// Every line looks: there may be work of any kind.
    pub(super) fn all_ready(&self) {
        self.table.lock().values().for_each(|entry| entry.line.ready.notify_one());
    }

    /// A queue has a job, or more.
    fn ready(&self, queue: &QueueName) {
        for (work, entry) in self.table.lock().iter() {
            if work.queues.contains(queue) {
                entry.line.ready.notify_one();
            }
        }
    }

    async fn somebody(&self) {
        while self.table.lock().is_empty() {
            self.first.notified().await;
        }
    }

    /// The line for this kind of work, and how many are in it already.
    fn join(&self, work: &KindOfWork) -> (Arc<Line>, usize) {
        let mut table = self.table.lock();
        if table.is_empty() {
            self.first.notify_one();
        }
        let entry = table.entry(work.clone()).or_insert_with(|| Entry {
            line: Arc::new(Line { turns: Semaphore::new(TURNS), ready: Notify::new() }),
            waiters: 0,
        });
        entry.waiters += 1;
        (Arc::clone(&entry.line), entry.waiters - 1)
    }

    fn leave(&self, work: &KindOfWork) {
        let mut table = self.table.lock();
        if let Some(entry) = table.get_mut(work) {
            entry.waiters -= 1;
            if entry.waiters == 0 {
                table.remove(work);
            }
        }
    }
}

impl<'a> Waiter<'a> {
    pub(super) fn new(desk: &'a LeaseDesk, order: &'a Order) -> Self {
        let (line, ahead) = desk.shared.lines.join(&order.kind_of_work);
        Self { desk, order, line, is_behind: ahead >= TURNS }
    }

    /// What is ready now, unless enough others wait for the same: then it is theirs, or there is none.
    pub async fn look(&self, holding: impl Send + 'static) -> Result<Leases, Rejection> {
        if self.is_behind {
            return Ok(self.none());
        }
        let leases = self.desk.take(self.order, holding).await?;
        self.tell_of_more(&leases);
        Ok(leases)
    }

    /// Waits for jobs, at most until `until` or until the server drains; none then.
    pub async fn wait(&self, until: Instant) -> Result<Leases, Rejection> {
        let lines = &self.desk.shared.lines;
        // Nothing closes it: without a turn the time is over.
        let Some(Ok(_turn)) = self.in_time(until, self.line.turns.acquire()).await else {
            return Ok(self.none());
        };
        while self.in_time(until, self.line.ready.notified()).await.is_some() {
            let mut woken = Woken { line: &self.line, used: false };
            let _claim = lines.claims.acquire().await;
            let leases = self.desk.take(self.order, ()).await;
            woken.used = true;
            let leases = leases?;
            self.tell_of_more(&leases);
            if !leases.is_empty() {
                return Ok(leases);
            }
        }
        Ok(self.none())
    }

    /// Wakes others where there may be more than was taken: two of them, so that many idle workers are soon at many
    /// jobs.
    fn tell_of_more(&self, leases: &Leases) {
        if leases.more {
            self.line.ready.notify_one();
            self.line.ready.notify_one();
        }
    }

    fn none(&self) -> Leases {
        Leases::none(self.desk.shared.hand_back.clone(), self.order.lease)
    }

    /// What is waited for, if it comes in time. Never around a claim.
    async fn in_time<T>(&self, until: Instant, waited_for: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            _ = self.desk.shared.admission.phases.at_least(Phase::LameDuck) => None,
            () = sleep_until(until) => None,
            came = waited_for => Some(came),
        }
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.desk.shared.lines.leave(&self.order.kind_of_work);
    }
}

impl Drop for Woken<'_> {
    fn drop(&mut self) {
        if !self.used {
            self.line.ready.notify_one();
        }
    }
}
