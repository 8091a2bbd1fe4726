use std::mem;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use steadfast_domain::Job;
use steadfast_lifecycle::Phase;
use tokio::time::Instant;

use super::Pool;
use super::attempt::Attempt;
use super::slots::{Reservation, Slot};
use super::supervision::supervise;
use crate::handler::Reports;
use crate::store::{ClaimRequest, Claimed, Owner, StoreError, Want};
use crate::verdict::Verdict;

/// The first pause before a queue is looked at without a hint.
const POLL_FIRST: Duration = Duration::from_secs(1);
/// The longest such pause: what a lost hint can cost.
const POLL_MAX: Duration = Duration::from_secs(5);

/// A job that only a poll found, so long after it was due, was not hinted, or its hint was lost.
const HINTED_WITHIN: Duration = Duration::from_millis(500);
/// The shortest time between two log lines about that.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// Claims under way at once. Places come free one after another, and those that do when a claim has left need
/// not wait for its answer. Each beside others asks for twice as much as the one before it, so that a few of
/// them carry all.
const CLAIMS_MAX: usize = 8;

/// Claims jobs for free slots until the server is in [`Phase::LameDuck`] or results are no longer taken.
pub(super) async fn claim_jobs(pool: Arc<Pool>) {
    let mut poll = Poll::new();
    let mut under_way = FuturesUnordered::new();
    // Looked at before each claim and never during one: a claim, once sent, is waited for, or its jobs would
    // be processing with nobody to run them.
    while pool.claims() {
        let rate_allows_at = pool.slots.rate_allows_at();
        if !poll.rests
            && under_way.len() < CLAIMS_MAX
            && let Some(reservation) = pool.slots.reserve(1 << under_way.len())
        {
            under_way.push(pool.claim(reservation, poll.unhinted));
            continue;
        }
        tokio::select! {
            biased;
            () = pool.claims_end() => {}
            Some(answer) = under_way.next() => match answer {
                Ok(found) => poll.answered(&found),
                Err(error) => poll.failed(&error),
            },
            () = pool.slots.changed() => poll.unhinted = false,
            () = until(rate_allows_at) => poll.unhinted = false,
            () = pool.wait_for_poll(&mut poll) => {}
        }
    }
    while under_way.next().await.is_some() {}
}

/// When to look without a hint.
struct Poll {
    pause: Duration,
    at: Instant,
    failing: bool,
    /// After a failure nothing is claimed before then.
    rests: bool,
    /// Whether nothing but the time asks for the next claims: no hint, no slot that has come free, no rate that
    /// allows another start.
    unhinted: bool,
    said_at: Option<Instant>,
}

/// What a claim found.
struct Found {
    jobs: usize,
    /// Of them, those that a hint should have told of long ago.
    late: usize,
}

impl Poll {
    fn new() -> Self {
        let at = Instant::now() + POLL_FIRST;
        Self { pause: POLL_FIRST, at, failing: false, rests: false, unhinted: false, said_at: None }
    }

    fn answered(&mut self, found: &Found) {
        (self.failing, self.rests) = (false, false);
        if found.jobs > 0 {
            if found.late > 0 {
                self.say_late(found.late);
            }
            *self = Self { said_at: self.said_at, ..Self::new() };
        }
    }

    /// Polling finds every job in the end: this tells that it had to.
    fn say_late(&mut self, jobs: usize) {
        let now = Instant::now();
        if self.said_at.is_none_or(|at| now >= at + SAY_EVERY) {
            self.said_at = Some(now);
            tracing::warn!(jobs, "ready jobs were found by polling only: the store's hints are late or lost");
        }
    }

    fn failed(&mut self, error: &StoreError) {
        if !self.failing {
            tracing::warn!(%error, "jobs cannot be claimed; it is tried again until they can");
        }
        (self.failing, self.rests, self.unhinted) = (true, true, false);
        self.at = self.at.min(Instant::now() + POLL_FIRST);
    }

    fn polled(&mut self) {
        // What waited out an outage is not a hint's fault.
        self.unhinted = !mem::take(&mut self.rests);
        self.pause = (self.pause * 2).min(POLL_MAX);
        self.at = Instant::now() + self.pause;
    }
}

impl Pool {
    fn claims(&self) -> bool {
        self.phases.current() < Phase::LameDuck && !self.cut.is_cancelled()
    }

    async fn claims_end(&self) {
        tokio::select! {
            _ = self.phases.at_least(Phase::LameDuck) => {}
            () = self.cut.cancelled() => {}
        }
    }

    /// Waits for the next poll, or for the end of claiming, and then takes every queue for ready.
    async fn wait_for_poll(&self, poll: &mut Poll) {
        tokio::select! {
            biased;
            () = self.claims_end() => return,
            () = tokio::time::sleep_until(poll.at) => {}
        }
        poll.polled();
        self.slots.all_ready();
    }

    /// One claim for the reserved slots, and what it found. Slots without a job are free again.
    async fn claim(self: &Arc<Self>, reservation: Reservation, unhinted: bool) -> Result<Found, StoreError> {
        let max = reservation.slots.len();
        let want =
            Want { queue: reservation.queue.clone(), kinds: Some(Arc::clone(&self.kinds)), share: max };
        let owner = Owner::Process(self.config.boot);
        let request = ClaimRequest { owner, wants: vec![want], max, lease: self.config.lease };
        let (asked, claim) = (Instant::now(), self.attempts.ask());
        let claimed = self.store.claim(request).await;
        fail::fail_point!("pool::claim::after");
        self.slots.claimed(&reservation, claimed.as_ref().map_or(0, Vec::len));
        let mut found = Found { jobs: 0, late: 0 };
        let queue = reservation.queue;
        for (claimed, slot) in claimed?.into_iter().zip(reservation.slots) {
            found.jobs += 1;
            found.late += usize::from(unhinted && waited(&claimed.job) > HINTED_WITHIN);
            self.begin(claimed, slot, asked);
        }
        self.config.job_rates.started(&queue, found.jobs);
        self.metrics.found_late.inc_by(found.late as u64);
        if self.attempts.has_missed(claim) {
            // The answers tell of the cancels that came before their claims.
            self.renewals.renew_all();
        }
        Ok(found)
    }

    /// Makes an attempt of a claim that was asked for at `asked`.
    fn begin(self: &Arc<Self>, claimed: Claimed, slot: Slot, asked: Instant) {
        let reports = Reports::new(Arc::clone(&self.renewals.wake));
        let attempt = Attempt::new(claimed, asked, reports);
        if !self.attempts.begin(Arc::clone(&attempt), slot) {
            return;
        }
        // Entered first, looked second: whoever stops all attempts has either seen this one or is seen here. And a
        // claim that was long in coming may be another's by now.
        if self.phases.current() >= Phase::Cancelling || attempt.is_fenced(Instant::now()) {
            if !self.attempts.decide(attempt.id, Verdict::hand_back("handed_back")) {
                self.attempts.over(attempt.id);
            }
            return;
        }
        self.metrics.wait_seconds.observe(waited(&attempt.job).as_secs_f64());
        self.hub.report_processing(&attempt.job);
        self.spawn("attempt", supervise(Arc::clone(self), attempt));
    }
}

/// Waits for a moment, or for ever if there is none.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// For how long a job that was just claimed had been due.
fn waited(job: &Job) -> Duration {
    job.started_at.map_or(Duration::ZERO, |started_at| started_at.since(job.run_at))
}
