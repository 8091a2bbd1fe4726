use std::future::Future;
use std::time::Duration;

use steadfast_api::{App, ConnectionReport, Connections};
use steadfast_lifecycle::{
    Budget, Deadlines, HookEnd, HookList, HookReport, LastResort, Ledger, Phase, PhaseSender, StepTimer,
    Tasks, last_word,
};
use steadfast_queue::WorkerPool;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::figures::totals;
use super::{Drained, Store};
use crate::stop::{Stop, Urgency};
use crate::store::Opened;
use crate::systemd::Supervisor;
use crate::telemetry::Exporting;

/// How long answers go on saying `Connection: close` after the last job has settled, before idle
/// connections are closed: a client that is about to use one is told, not cut off.
const LAST_ANSWERS: Duration = Duration::from_millis(100);

/// Leads through the phases: knows when each one ends, and writes down how it went.
pub(crate) struct Course {
    phases: PhaseSender,
    supervisor: Supervisor,
    budget: Budget,
    stop: Stop,
    ledger: Ledger,
    drain_ends: watch::Sender<Option<Instant>>,
    last_resort: Option<LastResort>,
}

impl Course {
    /// A course not yet begun. `drain_ends` tells clients when this process will be gone.
    pub(crate) fn new(
        phases: PhaseSender,
        supervisor: Supervisor,
        budget: Budget,
        stop: Stop,
        ledger: Ledger,
        drain_ends: watch::Sender<Option<Instant>>,
    ) -> Self {
        Self { phases, supervisor, budget, stop, ledger, drain_ends, last_resort: None }
    }

    /// Goes forward to a phase before the drain.
    pub(crate) fn advance(&self, phase: Phase) {
        self.phases.advance(phase);
        self.supervisor.entered(phase);
    }

    /// Waits until a stop is asked for, and begins it; how urgent it is.
    pub(super) async fn begin(&mut self) -> Urgency {
        let (urgency, cause) = self.stop.at_least(Urgency::LameDuck).await;
        self.ledger.begin(cause);
        let deadlines = self.budget.entering(Phase::LameDuck, Instant::now());
        match LastResort::arm(deadlines.last_resort, self.ledger.clone()) {
            Ok(last_resort) => self.last_resort = Some(last_resort),
            Err(error) => {
                tracing::warn!(%error, "no thread for the last resort: nothing enforces the budget")
            }
        }
        urgency
    }

    /// Enters a phase of the drain: the deadlines from here, and the timer of its step.
    pub(super) fn enter(&self, phase: Phase) -> (StepTimer, Deadlines) {
        let deadlines = self.budget.entering(phase, Instant::now());
        if let Some(last_resort) = &self.last_resort {
            last_resort.tighten(deadlines.last_resort);
        }
        self.drain_ends.send_replace(Some(deadlines.end));
        (self.step(phase), deadlines)
    }

    /// Enters [`Phase::Stopped`], which shares its deadlines with [`Phase::Handback`].
    pub(super) fn stopped(&self) -> StepTimer {
        self.step(Phase::Stopped)
    }

    fn step(&self, phase: Phase) -> StepTimer {
        self.advance(phase);
        tracing::info!(phase = phase.as_str(), "phase entered");
        self.ledger.step(phase.as_str(), self.budget.share(phase))
    }

    /// Waits for `done`, until `deadline` or until the stop has become urgent.
    pub(super) async fn until(&self, deadline: Instant, done: impl Future<Output = ()>) {
        tokio::select! {
            biased;
            () = self.urgent() => {}
            () = done => {}
            () = sleep_until(deadline) => {}
        }
    }

    async fn urgent(&self) {
        self.stop.at_least(Urgency::Handback).await;
    }

    /// The lame duck's whole time, if the stop wants one.
    pub(super) async fn lame_duck(&self, urgency: Urgency, deadlines: Deadlines) {
        if urgency == Urgency::LameDuck {
            self.until(deadlines.lame_duck, std::future::pending()).await;
        }
    }

    pub(super) async fn pre_hooks(&self, hooks: HookList, deadlines: Deadlines) {
        hooks.run(deadlines.draining, self.urgent(), |report| self.note_hook(report)).await;
    }

    pub(super) async fn post_hooks(&self, hooks: HookList, deadlines: Deadlines) {
        hooks.run(deadlines.closing, std::future::pending(), |report| self.note_hook(report)).await;
    }

    fn note_hook(&self, report: HookReport) {
        if report.end == HookEnd::Overran {
            self.ledger.fault(format!("the hook {} overran its time", report.name));
        }
        self.ledger.hook(report);
    }

    /// Gives back what still runs. What cannot be ended may be run by another only when this process is
    /// certainly gone.
    pub(super) async fn hand_back(&self, pool: Option<WorkerPool>, deadlines: Deadlines) {
        let Some(pool) = pool else { return };
        let rest_after = deadlines.last_resort.saturating_duration_since(Instant::now());
        let report = pool.hand_back(deadlines.closing, rest_after).await;
        self.ledger.count("jobs_finished", report.finished);
        self.ledger.names("jobs_checkpointed", report.checkpointed.iter());
        self.ledger.names("jobs_handed_back", report.handed_back.iter());
        self.ledger.names("jobs_abandoned", report.abandoned.iter());
        if !report.unsettled.is_empty() {
            self.ledger.names("jobs_unsettled", report.unsettled.iter());
            self.ledger.fault(
                "results or hand-backs were not committed: these jobs run again at the next start, or when their \
                 leases end",
            );
        }
    }

    /// Closes the connections within half of the time that is left: clients that are stuck must leave the
    /// hooks and the background tasks theirs.
    pub(super) async fn close_connections(
        &self,
        connections: Connections,
        admin: Option<Connections>,
        deadlines: Deadlines,
    ) {
        let now = Instant::now();
        let deadline = now + deadlines.closing.saturating_duration_since(now) / 2;
        if connections.open_count() + admin.as_ref().map_or(0, Connections::open_count) > 0 {
            sleep_until(deadline.min(now + LAST_ANSWERS)).await;
        }
        let close_admin = async {
            match admin {
                Some(admin) => admin.close(deadline).await,
                None => ConnectionReport::default(),
            }
        };
        let (report, of_admin) = tokio::join!(connections.close(deadline), close_admin);
        self.ledger.count("connections_closed", (report.closed + of_admin.closed) as u64);
        self.ledger.count("connections_cut", (report.cut + of_admin.cut) as u64);
    }

    /// Joins tracked tasks within the background's share of the time.
    pub(super) async fn join(&self, tasks: [Tasks; 2], deadlines: Deadlines) {
        let until = deadlines.closing.min(Instant::now() + self.budget.background());
        let mut overdue = Vec::new();
        for tasks in &tasks {
            overdue.extend(tasks.join(until).await);
        }
        self.ledger.names("background_tasks_overdue", overdue.iter());
    }

    /// Reads the store's figures once more, for the ledger; and what the collector gets at the end, when the store is
    /// closed, is as of now.
    pub(super) async fn last_figures(&self, app: &App, store: &Store, deadlines: Deadlines) {
        let Store::Open(Opened { live_at_start, .. }) = store else { return };
        let Ok(Some(queues)) = timeout_at(deadlines.closing, app.last_queues()).await else { return };
        for (what, total) in totals(*live_at_start, &queues) {
            self.ledger.count(what, total);
        }
    }

    /// Closes the store. One that is still opening is waited for: it has nothing of this process in it.
    pub(super) async fn close_store(&self, store: Store, deadlines: Deadlines) {
        let Opened { store, .. } = match store {
            Store::Open(opened) => opened,
            Store::Opening(mut opening) => match timeout_at(deadlines.closing, opening.opened()).await {
                Ok(Ok(opened)) => opened,
                Ok(Err(_)) => return,
                Err(_) => return self.ledger.count("stores_still_opening", 1),
            },
        };
        match timeout_at(deadlines.flush, store.close(deadlines.flush)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.ledger.fault(format!("the store's last flush is in doubt: {error}")),
            Err(_) => self.ledger.fault("the store did not close in its time; its last flush is in doubt"),
        }
    }

    /// The account of it all, what the collector has not yet got of it, and what to exit with. A collector that does
    /// not answer takes no more than the flush's share, whatever was left of the rest, and is no fault of the drain.
    pub(super) async fn end(self, telemetry: Exporting, deadlines: Deadlines) -> Drained {
        let now = Instant::now();
        if now > deadlines.end {
            self.ledger.fault(format!("closing overran its time by {:?}", now - deadlines.end));
        }
        let code = self.ledger.finish();
        self.ledger.emit();
        last_word(self.ledger.to_string());
        telemetry.finish(deadlines.end.min(Instant::now() + self.budget.share(Phase::Stopped))).await;
        Drained { code, last_resort: self.last_resort }
    }
}
